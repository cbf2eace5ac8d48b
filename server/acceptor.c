/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the listening socket and the thread that accepts. */
#include "server/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "lib/log.h"
#include "server/connections.h"

enum {
	ROUND = 64, /* accepted before the next look at whether to stop */
	AHEAD = 16, /* given to a daemon that has not begun with them */
	AHEAD_MS = 1,
	FULL_MS = 10,
	LAST_MS = 100,
	LAST_MAX_MS = 1000,
	BEGIN_MAX_MS = 10 * 1000,
};

/*
 * Drops what begins a connection; whatever else comes to the listening socket belongs to one
 * that has begun. The code sees the TCP header; byte 13 is its flags.
 */
static const struct sock_filter no_new[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
	BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
};

struct acceptor {
	struct connections *connections;   /* borrowed */
	struct MHD_Daemon *const *daemons; /* borrowed */
	unsigned int n_daemons;
	unsigned int max;
	int fd_max;   /* from here on descriptors are kept for files */
	bool crowded; /* that was reached */
	uint64_t n;   /* given to the daemons */
	int64_t lost; /* of them: had no memory to begin */
	uint64_t begun;
	int64_t begun_ms; /* when that was seen to change */
	int listen_fd;
	int stop_fd; /* readable: take who waits, and end */
	pthread_t thread;
};

/* Which descriptor would the next connection have? */
static bool is_crowded(const struct acceptor *acceptor)
{
	cleanup_close int fd = fcntl(acceptor->listen_fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 || fd >= acceptor->fd_max;
}

/* How many were given to the daemons, and are not in the table yet? */
static uint64_t waiting(struct acceptor *acceptor)
{
	uint64_t begun = connections_begun(acceptor->connections);
	int64_t n = (int64_t)(acceptor->n - begun) - acceptor->lost, now = now_ms();

	if (begun != acceptor->begun || !n) {
		acceptor->begun = begun;
		acceptor->begun_ms = now;
	}
	/* The library closes what it has no memory for, and tells nobody. */
	if (n < 0 || now - acceptor->begun_ms > BEGIN_MAX_MS) {
		acceptor->lost += n;
		n = 0;
	}
	return (uint64_t)n;
}

/*
 * How long may nobody be accepted? 0: somebody may. What the threads of the daemons have not begun
 * with stays in the kernel's queue: they would begin with all of it before they go on with who is
 * there.
 */
static int busy_ms(struct acceptor *acceptor)
{
	uint64_t n = waiting(acceptor);

	if (acceptor->crowded)
		acceptor->crowded = is_crowded(acceptor);
	if (acceptor->crowded || connections_now(acceptor->connections) + n >= acceptor->max)
		return FULL_MS;
	return n < (uint64_t)acceptor->n_daemons * AHEAD ? 0 : AHEAD_MS;
}

/* Return: 0; -EAGAIN: nobody waits; other: not now. */
static int accept_one(struct acceptor *acceptor)
{
	struct MHD_Daemon *daemon = acceptor->daemons[acceptor->n % acceptor->n_daemons];
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int fd = accept4(acceptor->listen_fd, (struct sockaddr *)&address, &len,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	/* The daemon owns the socket from now on, whether it takes it or not. */
	if (MHD_add_connection(daemon, fd, (struct sockaddr *)&address, len) == MHD_YES)
		acceptor->n++;
	else
		log_debug("a connection was not taken");
	acceptor->crowded = fd >= acceptor->fd_max;
	return 0;
}

/* A connection that was reset while it waited is the next one's turn, not an error. */
static bool is_passing(int r)
{
	return r == -EINTR || r == -ECONNABORTED || r == -EPROTO;
}

/* @last: at any price. Return: when to come again, in milliseconds; 0: when somebody waits. */
static int accept_some(struct acceptor *acceptor, bool last)
{
	for (unsigned int i = 0; i < ROUND; i++) {
		int ms = last ? 0 : busy_ms(acceptor), r;

		if (ms)
			return ms;
		r = accept_one(acceptor);
		if (r == -EAGAIN)
			return 0;
		if (r && !is_passing(r)) {
			log_debug("accept: %s", strerror(-r));
			return FULL_MS;
		}
	}
	return 0;
}

/*
 * A connection that the kernel makes after we have looked for the last time, and before the
 * socket is closed, would be reset. A client whose SYN is lost tries again.
 */
static void stop_new(struct acceptor *acceptor)
{
	struct sock_fprog program = {
		.len = ARRAY_SIZE(no_new),
		.filter = (struct sock_filter *)(uintptr_t)no_new,
	};

	if (setsockopt(acceptor->listen_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
		       sizeof(program)))
		log_debug("connections that come now may be reset: %s", strerror(errno));
}

/*
 * The last packet of a connection's beginning may be on its way: until none has come for a while.
 * Who is farther away than that is reset.
 */
static void accept_last(struct acceptor *acceptor)
{
	struct pollfd fd = { .fd = acceptor->listen_fd, .events = POLLIN };
	int64_t until = now_ms() + LAST_MAX_MS;
	int again_ms;

	stop_new(acceptor);
	do {
		again_ms = accept_some(acceptor, true);
		if (again_ms) /* where descriptors were missing, some come back */
			poll(NULL, 0, again_ms);
	} while (now_ms() < until && (again_ms || poll(&fd, 1, LAST_MS) > 0));
}

static void *acceptor_main(void *argument)
{
	struct acceptor *acceptor = argument;
	int again_ms = 0;
	bool stop;

	do {
		/* Where it must try again the socket stays readable: wait for the time only. */
		struct pollfd fds[] = {
			{ .fd = acceptor->stop_fd, .events = POLLIN },
			{ .fd = again_ms ? -1 : acceptor->listen_fd, .events = POLLIN },
		};

		stop = poll(fds, ARRAY_SIZE(fds), again_ms ? again_ms : -1) > 0 && fds[0].revents;
		again_ms = stop ? 0 : accept_some(acceptor, false);
	} while (!stop);
	accept_last(acceptor);
	return NULL;
}

static int fd_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)(limit.rlim_cur - limit.rlim_cur / 16);
}

static void close_acceptor(struct acceptor *acceptor)
{
	close(acceptor->listen_fd);
	if (acceptor->stop_fd >= 0)
		close(acceptor->stop_fd);
	free(acceptor);
}

int acceptor_new(int listen_fd, struct connections *connections, struct MHD_Daemon *const *daemons,
		 unsigned int n_daemons, unsigned int max, struct acceptor **out)
{
	struct acceptor *acceptor = malloc(sizeof(*acceptor));
	int r;

	if (!acceptor) {
		close(listen_fd);
		return -ENOMEM;
	}
	*acceptor = (struct acceptor){
		.connections = connections,
		.daemons = daemons,
		.n_daemons = n_daemons,
		.max = max,
		.begun_ms = now_ms(),
		.fd_max = fd_max(),
		.listen_fd = listen_fd,
		.stop_fd = eventfd(0, EFD_CLOEXEC),
	};
	r = acceptor->stop_fd < 0
		    ? errno
		    : pthread_create(&acceptor->thread, NULL, acceptor_main, acceptor);
	if (r) {
		close_acceptor(acceptor);
		return -r;
	}
	*out = acceptor;
	return 0;
}

uint64_t acceptor_free(struct acceptor *acceptor)
{
	uint64_t n;

	if (!acceptor)
		return 0;
	if (eventfd_write(acceptor->stop_fd, 1))
		log_error("the acceptor cannot be told to stop: %s", strerror(errno));
	pthread_join(acceptor->thread, NULL);
	n = acceptor->n;
	close_acceptor(acceptor);
	return n;
}
