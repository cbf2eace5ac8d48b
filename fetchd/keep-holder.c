/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the kept descriptors while fetchd is away: the holder, a process of its own with one
 * thread. It allocates nothing after its start.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "fetchd/keep-internal.h"
#include "fetchd/keep-serve.h"
#include "lib/fdpass.h"

enum { CLIENTS_MAX = 8, GRACE_MS = 30000 };

struct holder {
	char names[KEEP_FDS_MAX][KEEP_NAME_MAX];
	int fds[KEEP_FDS_MAX];
	size_t n_kept;
	struct pollfd polls[1 + CLIENTS_MAX];
	nfds_t n_polls;
	int64_t grace_ms, alone_ms; /* since when there is no client */
};

static void forget(struct holder *holder, size_t i)
{
	size_t last = --holder->n_kept;

	if (holder->fds[i] >= 0)
		close(holder->fds[i]);
	holder->fds[i] = holder->fds[last];
	memcpy(holder->names[i], holder->names[last], KEEP_NAME_MAX);
}

static void drop(struct holder *holder, const char *name)
{
	for (size_t i = holder->n_kept; i-- > 0;) {
		if (!strcmp(holder->names[i], name))
			forget(holder, i);
	}
}

/* Return: whether there was room. @fd is the holder's. */
static bool put(struct holder *holder, const char *name, int fd)
{
	drop(holder, name);
	if (fd < 0 || holder->n_kept == KEEP_FDS_MAX) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	snprintf(holder->names[holder->n_kept], KEEP_NAME_MAX, "%s", name);
	holder->fds[holder->n_kept++] = fd;
	return true;
}

static int list(const struct holder *holder, int sock, const char *number)
{
	unsigned long i = strtoul(number, NULL, 10);
	char message[KEEP_MESSAGE_MAX] = { KEEP_NO };

	if (i >= holder->n_kept)
		return fdpass_send(sock, message, 2, -1);
	message[0] = KEEP_YES;
	memcpy(message + 1, holder->names[i], KEEP_NAME_MAX);
	return fdpass_send(sock, message, strlen(message) + 1, holder->fds[i]);
}

/* Return: false when the client is gone. */
static bool serve_client(struct holder *holder, int sock)
{
	char message[KEEP_MESSAGE_MAX + 1], reply[2] = "";
	int fd = -1, r = 0;
	ssize_t n = fdpass_receive(sock, message, sizeof(message) - 1, &fd);

	if (n <= 0)
		return n == -EAGAIN || n == -EMSGSIZE;
	message[n] = '\0';
	switch (message[0]) {
	case KEEP_PUT:
		reply[0] = put(holder, message + 1, steal_fd(&fd)) ? KEEP_YES : KEEP_NO;
		r = fdpass_send(sock, reply, sizeof(reply), -1);
		break;
	case KEEP_DROP:
		drop(holder, message + 1);
		break;
	case KEEP_LIST:
		r = list(holder, sock, message + 1);
		break;
	case KEEP_GRACE:
		holder->grace_ms = strtoll(message + 1, NULL, 10);
		break;
	}
	if (fd >= 0)
		close(fd);
	return r == 0;
}

static void accept_client(struct holder *holder)
{
	int sock = accept4(holder->polls[0].fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0)
		return;
	if (holder->n_polls == ARRAY_SIZE(holder->polls)) {
		close(sock);
		return;
	}
	holder->polls[holder->n_polls++] = (struct pollfd){ .fd = sock, .events = POLLIN };
}

static void serve_clients(struct holder *holder, int timeout_ms)
{
	if (poll(holder->polls, holder->n_polls, timeout_ms) < 0)
		return;
	for (nfds_t i = holder->n_polls; i-- > 1;) {
		if (!holder->polls[i].revents || serve_client(holder, holder->polls[i].fd))
			continue;
		close(holder->polls[i].fd);
		holder->polls[i] = holder->polls[--holder->n_polls];
		holder->alone_ms = now_ms();
	}
	if (holder->polls[0].revents)
		accept_client(holder);
}

static void serve_files(struct holder *holder)
{
	keep_serve(holder->polls[0].fd, holder->fds, holder->n_kept,
		   holder->alone_ms + holder->grace_ms);
	for (size_t i = holder->n_kept; i-- > 0;) {
		if (holder->fds[i] < 0)
			forget(holder, i);
	}
}

void keeper_main(int fd)
{
	static struct holder holder;

	/* A terminal's signals and a service's stop are not for us: we outlive fetchd. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "intinode-keep");
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (chdir("/"))
		_exit(1);
	holder.polls[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
	holder.n_polls = 1;
	holder.grace_ms = GRACE_MS;
	while (holder.n_polls == 1)
		serve_clients(&holder, -1);
	while (holder.n_kept || holder.n_polls > 1) {
		if (holder.n_polls == 1)
			serve_files(&holder);
		serve_clients(&holder, holder.n_polls == 1 ? 0 : -1);
	}
	_exit(0);
}
