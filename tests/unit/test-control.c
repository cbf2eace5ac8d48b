/* SPDX-License-Identifier: Apache-2.0 */
/* The client of fetchd's control socket, against a thread that plays the daemon. */
#include "tests/unit/test.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/control.h"
#include "lib/log.h"

struct daemon {
	char dir[32], path[64];
	int listener;
	pthread_t thread;
	const char *answer; /* sent after one line was read; NULL: hang up at once */
	size_t answer_len;
	char request[256];
};

static void *daemon_main(void *context)
{
	struct daemon *daemon = context;
	int fd = accept(daemon->listener, NULL, NULL);
	size_t used = 0;

	while (daemon->answer && used < sizeof(daemon->request) - 1) {
		ssize_t n = read(fd, daemon->request + used, sizeof(daemon->request) - 1 - used);

		if (n <= 0)
			break;
		used += (size_t)n;
		if (daemon->request[used - 1] == '\n')
			break;
	}
	for (size_t done = 0; daemon->answer && done < daemon->answer_len;) {
		ssize_t n =
			send(fd, daemon->answer + done, daemon->answer_len - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	close(fd);
	return NULL;
}

static void daemon_start(struct daemon *daemon, const char *answer, size_t answer_len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*daemon = (struct daemon){
		.dir = "/tmp/control-XXXXXX",
		.answer = answer,
		.answer_len = answer_len,
	};
	assert_non_null(mkdtemp(daemon->dir));
	snprintf(daemon->path, sizeof(daemon->path), "%s/socket", daemon->dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", daemon->path);
	daemon->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(
		bind(daemon->listener, (const struct sockaddr *)&address, sizeof(address)), errno);
	assert_return_code(listen(daemon->listener, 1), errno);
	assert_int_equal(pthread_create(&daemon->thread, NULL, daemon_main, daemon), 0);
}

static void daemon_stop(struct daemon *daemon)
{
	pthread_join(daemon->thread, NULL);
	close(daemon->listener);
	unlink(daemon->path);
	rmdir(daemon->dir);
}

/* One call against one answer. */
static int call(const char *answer, size_t len, json_t **reply, struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{ss}", "op", "ping");
	struct control *control;
	struct daemon daemon;
	int r;

	daemon_start(&daemon, answer, len);
	assert_int_equal(control_connect(daemon.path, &control, problem), 0);
	assert_true(control_fd(control) >= 0);
	r = control_call(control, request, reply, problem);
	control_close(control);
	daemon_stop(&daemon);
	if (answer)
		assert_string_equal(daemon.request, "{\"op\":\"ping\"}\n");
	return r;
}

static int call_text(const char *answer, struct problem *problem)
{
	return call(answer, answer ? strlen(answer) : 0, NULL, problem);
}

static void an_answer_that_is_ok_is_handed_over(void **state)
{
	static const char answer[] = "{\"ok\":true,\"pid\":17}\n";
	cleanup_json json_t *reply = NULL;
	uint64_t pid;

	(void)state;
	assert_int_equal(call(answer, strlen(answer), &reply, NULL), 0);
	assert_int_equal(json_get_size(reply, "pid", &pid), 0);
	assert_int_equal(pid, 17);
}

static void an_error_comes_back_as_errno_and_text(void **state)
{
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(
		call_text("{\"ok\":false,\"error\":\"ENOSPC\",\"problem\":\"disk\\nfull\"}\n",
			  &problem),
		-ENOSPC);
	assert_string_equal(problem.text, "disk\\x0afull");
	assert_int_equal(call_text("{\"ok\":false,\"error\":\"EWHATEVER\"}\n", &problem), -EIO);
	assert_int_equal(call_text("{\"error\":\"ENOENT\"}\n", &problem), -ENOENT);
}

static void a_daemon_that_goes_away_is_epipe(void **state)
{
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(call_text(NULL, &problem), -EPIPE);
	assert_int_equal(call_text("{\"ok\":true", &problem), -EPIPE);
	assert_non_null(strstr(problem.text, "went away"));
}

static void what_is_not_one_object_a_line_is_refused(void **state)
{
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(call_text("hello\n", &problem), -EBADMSG);
	assert_int_equal(call_text("[true]\n", &problem), -EBADMSG);
	assert_int_equal(call_text("\n", &problem), -EBADMSG);
}

static void a_line_may_be_one_mebibyte_and_not_a_byte_more(void **state)
{
	cleanup_free char *line = malloc(CONTROL_LINE_MAX + 1);

	(void)state;
	assert_non_null(line);
	memset(line, ' ', CONTROL_LINE_MAX + 1);
	memcpy(line, "{\"ok\":true}", 11);
	line[CONTROL_LINE_MAX - 1] = '\n';
	assert_int_equal(call(line, CONTROL_LINE_MAX, NULL, NULL), 0);
	line[CONTROL_LINE_MAX - 1] = ' ';
	line[CONTROL_LINE_MAX] = '\n';
	assert_int_equal(call(line, CONTROL_LINE_MAX + 1, NULL, NULL), -EBADMSG);
}

static void a_missing_daemon_is_named_with_how_to_start_it(void **state)
{
	struct problem problem = { "" };
	struct control *control;

	(void)state;
	assert_int_equal(control_connect("/nonexistent/socket", &control, &problem), -ENOENT);
	assert_non_null(strstr(problem.text, "/nonexistent/socket"));
	assert_non_null(strstr(problem.text, "systemctl start"));
}

static void the_environment_names_the_socket(void **state)
{
	struct problem problem = { "" };
	struct control *control;

	(void)state;
	setenv("INTINODE_SOCKET", "/nonexistent/from-environment", 1);
	assert_int_equal(control_connect(NULL, &control, &problem), -ENOENT);
	assert_non_null(strstr(problem.text, "/nonexistent/from-environment"));
	unsetenv("INTINODE_SOCKET");
}

static void errors_cross_the_socket_by_name(void **state)
{
	(void)state;
	assert_string_equal(control_errno_name(-ENOSPC), "ENOSPC");
	assert_string_equal(control_errno_name(-12345), "EIO");
	assert_int_equal(control_errno_parse("ETIMEDOUT"), -ETIMEDOUT);
	assert_int_equal(control_errno_parse("nonsense"), -EIO);
	assert_int_equal(control_errno_parse(NULL), -EIO);
}

static void an_asynchronous_connection_never_blocks(void **state)
{
	cleanup_json json_t *reply = NULL;
	struct control *controls[16] = { NULL };
	struct daemon daemon;
	int r = 0;

	(void)state;
	daemon_start(&daemon, "{\"ok\":true}\n", 12);
	assert_int_equal(control_connect_async(daemon.path, &controls[0], NULL), 0);
	/* The daemon waits for a request: there is nothing to receive. */
	assert_int_equal(control_receive(controls[0], &reply), -EAGAIN);
	/* It accepts one; the queue behind that fills. */
	for (size_t i = 1; !r && i < ARRAY_SIZE(controls); i++)
		r = control_connect_async(daemon.path, &controls[i], NULL);
	assert_int_equal(r, -EAGAIN);
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++)
		control_close(controls[i]);
	daemon_stop(&daemon);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_that_is_ok_is_handed_over),
		cmocka_unit_test(an_error_comes_back_as_errno_and_text),
		cmocka_unit_test(a_daemon_that_goes_away_is_epipe),
		cmocka_unit_test(what_is_not_one_object_a_line_is_refused),
		cmocka_unit_test(a_line_may_be_one_mebibyte_and_not_a_byte_more),
		cmocka_unit_test(a_missing_daemon_is_named_with_how_to_start_it),
		cmocka_unit_test(the_environment_names_the_socket),
		cmocka_unit_test(errors_cross_the_socket_by_name),
		cmocka_unit_test(an_asynchronous_connection_never_blocks),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
