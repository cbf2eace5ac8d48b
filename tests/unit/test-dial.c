/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers whose connections another process makes, or does not. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/dial.h"
#include "lib/fdpass.h"
#include "lib/http.h"
#include "lib/log.h"

enum { TRANSFERS = 100, CONNECT_MS = 300 };

static int theirs; /* the dialer's end */
static int ours;
static struct http *http;
static struct http_transfer transfers[TRANSFERS];
static unsigned int n_done, n_answers, n_restarts;

static int on_body(struct http_transfer *transfer, const void *bytes, size_t len)
{
	(void)transfer;
	(void)bytes;
	(void)len;
	return 0;
}

static void on_done(struct http_transfer *transfer)
{
	n_done++;
	n_answers += !transfer->answer.error && transfer->answer.status == 200;
	if (!n_restarts)
		return;
	n_restarts--;
	n_done--;
	assert_int_equal(http_start(http, transfer), 0);
}

static int set_up(void **state)
{
	const struct http_options options = { .connect_timeout_ms = CONNECT_MS,
					      .stall_timeout_ms = 2000,
					      .dialer_fd = 0 };
	struct http_options with_dialer = options;
	struct problem problem = { "" };
	int pair[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		return -1;
	theirs = pair[0];
	ours = with_dialer.dialer_fd = pair[1];
	memset(transfers, 0, sizeof(transfers));
	n_done = n_answers = n_restarts = 0;
	return http_new(&with_dialer, &http, &problem);
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < TRANSFERS; i++)
		http_answer_clear(&transfers[i].answer);
	http_free(http);
	close(theirs);
	close(ours);
	return 0;
}

static void begin(size_t n, const char *url, int64_t deadline_ms)
{
	for (size_t i = 0; i < n; i++) {
		transfers[i].request = (struct http_request){ .url = url, .body_fd = -1 };
		transfers[i].request.deadline_ms = deadline_ms ? now_ms() + deadline_ms : 0;
		transfers[i].on_body = on_body;
		transfers[i].on_done = on_done;
		assert_int_equal(http_start(http, &transfers[i]), 0);
	}
}

/* Until @n are done, or so long. */
static void run(unsigned int n, int64_t ms)
{
	int64_t end = now_ms() + ms;

	while (n_done < n && now_ms() < end)
		assert_int_equal(http_run(http, NULL, 0, 20), 0);
}

static unsigned int questions(void)
{
	struct dial_request request;
	unsigned int n = 0;

	while (dial_receive_request(theirs, &request) > 0)
		n++;
	return n;
}

static void a_silent_dialer_costs_the_time_and_no_more(void **state)
{
	(void)state;
	n_restarts = 3; /* each begins anew from on_done() */
	begin(1, "http://registry.example:5000/a", 0);
	run(1, 10000);
	assert_int_equal(n_done, 1);
	assert_int_equal(transfers[0].answer.error, -EHOSTUNREACH);
	assert_int_equal(questions(), 4);
	/* One that comes late is of no interest. */
	assert_int_equal(dial_send(theirs, &(struct dial_answer){ .error = -ECONNREFUSED }, -1), 0);
	begin(1, "http://registry.example:5000/a", 0);
	run(2, 10000);
	assert_int_equal(n_done, 2);
}

static void many_wait_for_their_turn_until_their_deadline(void **state)
{
	(void)state;
	begin(TRANSFERS, "http://registry.example:5000/a", 200);
	run(TRANSFERS, 5000);
	assert_int_equal(n_done, TRANSFERS);
	assert_true(questions() <= 2 * HTTP_HOST_CONNECTIONS_MAX);
	for (size_t i = 0; i < TRANSFERS; i++)
		assert_true(transfers[i].answer.error < 0);
}

static void cancelled_ones_leave_no_trace(void **state)
{
	(void)state;
	begin(TRANSFERS, "http://registry.example:5000/a", 0);
	run(1, 50);
	for (size_t i = 0; i < TRANSFERS; i += 2)
		http_cancel(&transfers[i]);
	run(TRANSFERS / 2, 10000);
	assert_int_equal(n_done, TRANSFERS / 2);
}

/* ---- a dialer that answers ---- */

static int listen_fd;

static void listen_somewhere(char url[static 64])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(listen_fd >= 0);
	assert_int_equal(bind(listen_fd, (void *)&address, len), 0);
	assert_int_equal(listen(listen_fd, 256), 0);
	assert_int_equal(getsockname(listen_fd, (void *)&address, &len), 0);
	/* The name says nothing: where it leads the dialer knows. */
	snprintf(url, 64, "http://registry.example:%u/a", ntohs(address.sin_port));
}

static int connect_there(void)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(getsockname(listen_fd, (void *)&address, &len), 0);
	/* As the dialer does it: it is looked at when it is connected, and not connected again. */
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	if (connect(fd, (void *)&address, len))
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

/* One round of both others: the dialer, and a server that answers each request at once. */
static void answer_some(int *connections, unsigned int *n)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct dial_request request;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char bytes[4096];
	int fd;

	while (dial_receive_request(theirs, &request) > 0) {
		struct dial_answer dialed = { .id = request.id, .class = ADDRESS_LOOPBACK };

		fd = connect_there();
		assert_int_equal(dial_send(theirs, &dialed, fd), 0);
		close(fd);
	}
	while ((fd = accept4(listen_fd, (void *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		connections[(*n)++] = fd;
	for (unsigned int i = 0; i < *n; i++) {
		if (recv(connections[i], bytes, sizeof(bytes), 0) > 0)
			assert_int_equal(send(connections[i], answer, strlen(answer), MSG_NOSIGNAL),
					 (ssize_t)strlen(answer));
	}
}

static void many_share_the_connections_that_are_made(void **state)
{
	int connections[TRANSFERS];
	unsigned int n = 0;
	char url[64];
	int64_t end = now_ms() + 10000;

	(void)state;
	listen_somewhere(url);
	begin(TRANSFERS, url, 0);
	while (n_done < TRANSFERS && now_ms() < end) {
		assert_int_equal(http_run(http, NULL, 0, 5), 0);
		answer_some(connections, &n);
	}
	assert_int_equal(n_done, TRANSFERS);
	assert_int_equal(n_answers, TRANSFERS);
	assert_true(n <= 2 * HTTP_HOST_CONNECTIONS_MAX);
	assert_int_equal(transfers[0].answer.peer, ADDRESS_LOOPBACK);
	/* One that was led there from outside may not use them either. */
	transfers[0].request.led_by = ADDRESS_PUBLIC;
	assert_int_equal(http_start(http, &transfers[0]), 0);
	while (n_done < TRANSFERS + 1 && now_ms() < end) {
		assert_int_equal(http_run(http, NULL, 0, 5), 0);
		answer_some(connections, &n);
	}
	assert_int_equal(transfers[0].answer.error, -EACCES);
	for (unsigned int i = 0; i < n; i++)
		close(connections[i]);
	close(listen_fd);
}

static void a_dialer_that_is_gone_ends_the_run(void **state)
{
	int r = 0;

	(void)state;
	begin(1, "http://registry.example:5000/a", 0);
	shutdown(theirs, SHUT_RDWR);
	for (int i = 0; i < 50 && !r; i++)
		r = http_run(http, NULL, 0, 20);
	assert_int_equal(r, -EPIPE);
	http_cancel(&transfers[0]);
}

static void nonsense_is_refused(void **state)
{
	struct dial_answer answer;
	int fd;

	(void)state;
	assert_int_equal(fdpass_send(theirs, "short", 5, -1), 0);
	assert_int_equal(dial_receive(ours, &answer, &fd), -EBADMSG);
	answer = (struct dial_answer){ .error = 0 }; /* and no socket */
	assert_int_equal(dial_send(theirs, &answer, -1), 0);
	assert_int_equal(dial_receive(ours, &answer, &fd), -EBADMSG);
	answer = (struct dial_answer){ .error = -EACCES }; /* and one all the same */
	assert_int_equal(dial_send(theirs, &answer, 0), 0);
	assert_int_equal(dial_receive(ours, &answer, &fd), -EBADMSG);
	assert_int_equal(fd, -1);
	answer = (struct dial_answer){ .error = -EACCES, .class = 99 };
	assert_int_equal(dial_send(theirs, &answer, -1), 0);
	assert_int_equal(dial_receive(ours, &answer, &fd), -EBADMSG);
	assert_int_equal(dial_receive(ours, &answer, &fd), -EAGAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_silent_dialer_costs_the_time_and_no_more),
		TEST(many_wait_for_their_turn_until_their_deadline),
		TEST(cancelled_ones_leave_no_trace),
		TEST(many_share_the_connections_that_are_made),
		TEST(a_dialer_that_is_gone_ends_the_run),
		TEST(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
