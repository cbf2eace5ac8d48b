/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the dialer's loop, which hosts are named, and a thread for each connection that is being
 * made. Nothing that a server sends is read here but what the resolver of the system reads.
 */
#include "fetchd/dialer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>

#include "fetchd/names.h"
#include "fetchd/sandbox.h"
#include "lib/dial.h"
#include "lib/fdpass.h"
#include "lib/log.h"
#include "lib/reference.h"

enum {
	DIALS_MAX = 256, /* at a time; the worker's http.h allows no more connections */
	NAMED_MAX = 1024,
	TIMEOUT_MAX_MS = 60 * 1000,
	ATTEMPT_DELAY_MS = 250, /* RFC 8305, 5 */
	STACK_BYTES = 128 * 1024,
};

struct named {
	char *host; /* owned; "HOST[:PORT]" */
	/*
	 * Of the address that was connected to first. Who rules over its name servers may not lead
	 * us closer later (DNS rebinding). ADDRESS_NEVER: it was not connected to.
	 */
	atomic_uint class;
};

/* Of those hosts one thread hears, all ask. */
static pthread_rwlock_t named_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct named named[NAMED_MAX];
static unsigned int n_named, next_named;

static atomic_uint n_dials;
/* Bits: classes of addresses that named hosts were connected to at. */
static atomic_uint seen_classes;

struct dial {
	int sock; /* borrowed */
	struct dial_request request;
};

/* Under lock. Return: its entry, or NULL. */
static struct named *find_named(const struct dial_request *request)
{
	char with_port[DIAL_HOST_SIZE + 16];
	bool default_port = request->port == 80 || request->port == 443;
	bool is_v6 = strchr(request->host, ':');
	size_t len = strlen(request->host) + (is_v6 ? 2 : 0);

	snprintf(with_port, sizeof(with_port), "%s%s%s:%u", is_v6 ? "[" : "", request->host,
		 is_v6 ? "]" : "", request->port);
	for (unsigned int i = 0; i < n_named; i++) {
		const char *host = named[i].host;

		if (!strcasecmp(host, with_port) ||
		    (default_port && !strncasecmp(host, with_port, len) && !host[len]))
			return &named[i];
	}
	return NULL;
}

/* Return: is it named? *@class: the closest that it may lead to; ADDRESS_NEVER: any. */
static bool is_named(const struct dial_request *request, enum address_class *class)
{
	struct named *entry;

	pthread_rwlock_rdlock(&named_lock);
	entry = find_named(request);
	*class = entry ? entry->class : ADDRESS_NEVER;
	pthread_rwlock_unlock(&named_lock);
	return entry;
}

static bool is_local_name(const char *host)
{
	size_t len = strlen(host);

	return address_is_literal(host) || !strcasecmp(host, "localhost") ||
	       (len > 10 && !strcasecmp(host + len - 10, ".localhost"));
}

/*
 * It was connected to, at an address of @class. The supervisor remembers it for the next dialer.
 * Return: false when that is closer than the first time, which another thread noted meanwhile.
 */
static bool note_class(const struct dial_request *request, enum address_class class)
{
	char message[HOST_MAX + 32] = "";
	struct named *entry;
	bool good = true;

	pthread_rwlock_wrlock(&named_lock);
	entry = find_named(request);
	if (entry && entry->class == ADDRESS_NEVER) {
		entry->class = class;
		snprintf(message, sizeof(message), "%s %u", entry->host, (unsigned int)class);
	}
	good = !entry || class >= entry->class;
	pthread_rwlock_unlock(&named_lock);
	if (*message && fdpass_send(DIALER_SUPERVISOR_FD, message, strlen(message), -1))
		log_debug("dialer: the supervisor does not listen");
	/* Whose name says that it is this host may be anybody. */
	if (good && (class != ADDRESS_LOOPBACK || is_local_name(request->host)))
		seen_classes |= 1U << class;
	return good;
}

static void add_named(const char *host, enum address_class class)
{
	char *copy = strdup(host);
	bool known = false;

	if (!copy)
		return;
	pthread_rwlock_wrlock(&named_lock);
	for (unsigned int i = 0; i < n_named && !known; i++)
		known = !strcasecmp(named[i].host, host);
	if (known) {
		free(copy);
	} else if (n_named < NAMED_MAX) {
		named[n_named].host = copy;
		named[n_named++].class = class;
	} else {
		struct named *entry = &named[next_named++ % NAMED_MAX];

		free(entry->host);
		entry->host = copy;
		entry->class = class;
	}
	pthread_rwlock_unlock(&named_lock);
}

/* Was a named host connected to that may lead to where who leads us there says that it is? */
static bool was_seen(enum address_class led_by)
{
	unsigned int seen = seen_classes;

	for (unsigned int class = ADDRESS_LOOPBACK; class <= ADDRESS_PUBLIC; class ++) {
		if ((seen & 1U << class) && address_may_lead(class, led_by))
			return true;
	}
	return false;
}

/* @first: of a named host, see is_named(). */
static bool may_connect(const struct dial_request *request, bool is_named_host,
			enum address_class first, enum address_class class)
{
	enum address_class led_by = request->led_by;

	if (is_named_host) {
		if (class == ADDRESS_NEVER || class < first ||
		    (class == ADDRESS_LINK_LOCAL && !address_is_literal(request->host)))
			return false;
		return led_by == ADDRESS_NEVER || address_may_lead(led_by, class);
	}
	if (led_by == ADDRESS_NEVER || !was_seen(led_by))
		led_by = ADDRESS_PUBLIC;
	return address_may_lead(led_by, class);
}

/* ---- One connection, to whichever address answers first (RFC 8305) ---- */

struct attempts {
	struct pollfd polls[NAMES_ADDRESSES_MAX];
	enum address_class classes[NAMES_ADDRESSES_MAX];
	unsigned int n;
	int error; /* of the last that failed */
};

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
	if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
}

static socklen_t address_len(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					      : sizeof(struct sockaddr_in);
}

static void begin_attempt(struct attempts *attempts, const struct sockaddr_storage *address)
{
	const struct sockaddr *any = (const void *)address;
	cleanup_close int fd =
		socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

	if (fd < 0 || (connect(fd, any, address_len(address)) && errno != EINPROGRESS)) {
		attempts->error = -errno;
		return;
	}
	attempts->classes[attempts->n] = address_classify(any);
	attempts->polls[attempts->n++] = (struct pollfd){ .fd = steal_fd(&fd), .events = POLLOUT };
}

/* Return: an attempt that is connected; -1. Those that failed are closed. */
static int look_at_attempts(struct attempts *attempts, int timeout_ms)
{
	if (poll(attempts->polls, attempts->n, timeout_ms) <= 0)
		return -1;
	for (unsigned int i = 0; i < attempts->n; i++) {
		int error = 0;
		socklen_t len = sizeof(error);

		if (attempts->polls[i].fd < 0 || !attempts->polls[i].revents)
			continue;
		if (getsockopt(attempts->polls[i].fd, SOL_SOCKET, SO_ERROR, &error, &len))
			error = errno;
		if (!error)
			return (int)i;
		attempts->error = -error;
		close(steal_fd(&attempts->polls[i].fd));
	}
	return -1;
}

static bool any_open(const struct attempts *attempts)
{
	for (unsigned int i = 0; i < attempts->n; i++) {
		if (attempts->polls[i].fd >= 0)
			return true;
	}
	return false;
}

/* Return: 0 with *@fd, or negative errno. */
static int connect_any(const struct names_result *names, int64_t deadline_ms, int *fd,
		       enum address_class *class)
{
	struct attempts attempts = { .error = -EHOSTUNREACH };
	unsigned int next = 0;
	int winner = -1;

	while (winner < 0 && now_ms() < deadline_ms) {
		int64_t left = deadline_ms - now_ms();

		if (next < names->n)
			begin_attempt(&attempts, &names->addresses[next++]);
		if (next < names->n && (!any_open(&attempts) || left > ATTEMPT_DELAY_MS))
			left = any_open(&attempts) ? ATTEMPT_DELAY_MS : 0;
		else if (!any_open(&attempts))
			break;
		winner = look_at_attempts(&attempts, (int)(left > 0 ? left : 0));
	}
	if (winner >= 0) {
		*fd = steal_fd(&attempts.polls[winner].fd);
		*class = attempts.classes[winner];
	}
	for (unsigned int i = 0; i < attempts.n; i++) {
		if (attempts.polls[i].fd >= 0)
			close(attempts.polls[i].fd);
	}
	if (winner >= 0)
		return 0;
	return now_ms() >= deadline_ms && next > 0 && any_open(&attempts) ? -ETIMEDOUT
									  : attempts.error;
}

/* Leaves those that may be connected to. Return: was there another one? */
static bool drop_forbidden(const struct dial_request *request, bool is_named_host,
			   enum address_class first, struct names_result *names)
{
	unsigned int n = 0, all = names->n;

	for (unsigned int i = 0; i < all; i++) {
		struct sockaddr_storage *address = &names->addresses[i];

		if (!may_connect(request, is_named_host, first, address_classify((void *)address)))
			continue;
		set_port(address, request->port);
		names->addresses[n++] = *address;
	}
	names->n = n;
	return n < all;
}

static int forbidden(struct dial_answer *answer)
{
	snprintf(answer->problem, sizeof(answer->problem),
		 "the address is one that this host may not lead to");
	return -EACCES;
}

static int dial(const struct dial_request *request, struct dial_answer *answer, int *fd)
{
	unsigned int timeout_ms = request->timeout_ms < TIMEOUT_MAX_MS ? request->timeout_ms
								       : TIMEOUT_MAX_MS;
	int64_t deadline_ms = now_ms() + timeout_ms;
	enum address_class class = ADDRESS_NEVER, first;
	bool is_named_host = is_named(request, &first), dropped;
	struct names_result names;
	int r = names_resolve(request->host, is_named_host, deadline_ms, &names);

	if (r) {
		snprintf(answer->problem, sizeof(answer->problem), "%s", names.problem);
		return r;
	}
	is_named_host =
		is_named(request, &first); /* another thread may have been first meanwhile */
	dropped = drop_forbidden(request, is_named_host, first, &names);
	if (!names.n && dropped)
		return forbidden(answer);
	r = connect_any(&names, deadline_ms, fd, &class);
	if (r) {
		snprintf(answer->problem, sizeof(answer->problem), "%s", strerror(-r));
		return r;
	}
	answer->class = class;
	if (is_named_host && !note_class(request, class)) {
		close(steal_fd(fd));
		return forbidden(answer);
	}
	return 0;
}

static void *dial_thread(void *argument)
{
	struct dial *job = argument;
	struct dial_answer answer = { .id = job->request.id };
	cleanup_close int fd = -1;
	int r;

	answer.error = dial(&job->request, &answer, &fd);
	r = dial_send(job->sock, &answer, fd);
	if (r && r != -EPIPE && r != -ECONNRESET)
		log_error("dialer: an answer could not be sent: %s", strerror(-r));
	free(job);
	n_dials--;
	return NULL;
}

static void refuse(int sock, const struct dial_request *request)
{
	struct dial_answer answer = { .id = request->id, .error = -EAGAIN };

	snprintf(answer.problem, sizeof(answer.problem), "too many connections are being made");
	if (dial_send(sock, &answer, -1))
		log_debug("dialer: the worker is gone");
}

static void begin_dial(int sock, const struct dial_request *request)
{
	struct dial *job = n_dials < DIALS_MAX ? malloc(sizeof(*job)) : NULL;
	pthread_attr_t attr;
	pthread_t thread;
	int r = ENOMEM;

	if (!job) {
		refuse(sock, request);
		return;
	}
	*job = (struct dial){ .sock = sock, .request = *request };
	n_dials++;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, dial_thread, job);
	pthread_attr_destroy(&attr);
	if (!r)
		return;
	n_dials--;
	free(job);
	refuse(sock, request);
}

/* Return: 0; -EAGAIN (no more for now); -EPIPE (the supervisor is gone); -errno. */
static int read_named(int sock)
{
	char host[HOST_MAX + 16], *class;
	int fd = -1;
	ssize_t n = fdpass_receive(sock, host, sizeof(host) - 1, &fd);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return n ? (int)n : -EPIPE;
	host[n] = '\0';
	class = strchr(host, ' ');
	if (class)
		*class ++ = '\0';
	add_named(host, class && *class >= '0' && *class <= '0' + ADDRESS_PUBLIC ? *class - '0'
										 : ADDRESS_NEVER);
	return 0;
}

static int read_all_named(int sock)
{
	int r;

	do
		r = read_named(sock);
	while (!r);
	return r == -EAGAIN ? 0 : r;
}

static int serve(int supervisor_fd, int worker_fd)
{
	struct pollfd polls[] = { { .fd = supervisor_fd, .events = POLLIN },
				  { .fd = worker_fd, .events = POLLIN } };
	struct dial_request request;
	int r;

	for (;;) {
		if (poll(polls, ARRAY_SIZE(polls), -1) < 0 && errno != EINTR)
			return -errno;
		r = polls[1].revents ? dial_receive_request(worker_fd, &request) : -EAGAIN;
		if (r == 0)
			return 0;
		if (r < 0 && r != -EAGAIN)
			return r;
		/* What the worker asks for it heard of behind us: named hosts are read first. */
		if (read_all_named(supervisor_fd))
			return 0;
		if (r > 0)
			begin_dial(worker_fd, &request);
	}
}

int dialer_main(bool elsewhere)
{
	int r;

	close_from(elsewhere ? DIALER_NETWORK_FD + 1 : DIALER_WORKER_FD + 1, false);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "intinode-dial");
	/* 2 s for each try, unless the system's settings say otherwise (SAFETY.md, fault 29). */
	setenv("RES_OPTIONS", "timeout:2", 0);
	if (fcntl(DIALER_SUPERVISOR_FD, F_SETFL, O_NONBLOCK) ||
	    fcntl(DIALER_SUPERVISOR_FD, F_SETFD, FD_CLOEXEC) ||
	    fcntl(DIALER_WORKER_FD, F_SETFD, FD_CLOEXEC))
		return -errno;
	r = sandbox_dialer(elsewhere ? DIALER_NETWORK_FD : -1);
	if (!r)
		r = serve(DIALER_SUPERVISOR_FD, DIALER_WORKER_FD);
	if (r)
		log_error("dialer: %s", strerror(-r));
	return r;
}
