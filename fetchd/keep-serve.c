/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the answers of the miss layers while there is no fetchd. The holder's only thread.
 *
 * The messages are those of linux/fuse.h, by hand: this process must not fail, and needs four
 * of them. What it answers is what fetchd/miss.c would.
 */
#include "fetchd/keep-serve.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "fetchd/caller.h"
#include "fetchd/keep.h"

enum {
	DIR_INO = 2, /* "sha256", as in fetchd/miss.c */
	HEX_LEN = 64,
	FOREVER_S = 86400,
	WAITING_MAX = 4096,
	MESSAGE_MAX_BYTES = 16384, /* the kernel wants room for 8 KiB at least */
	BATCH = 64,
	KILL_POLL_MS = 50,
	NOTIFY_RESEND = 7, /* FUSE_NOTIFY_RESEND, Linux 6.9, not yet in older headers */
};

/* A lookup that has no answer yet. */
struct waiting {
	int fd;
	uint64_t unique, pid;
	bool interrupted;
};

struct server {
	struct pollfd polls[1 + KEEP_FDS_MAX];
	struct waiting waiting[WAITING_MAX];
	size_t n_waiting, n_interrupted;
	int64_t until_ms;
	bool is_over; /* it is later than that */
	bool can_resend;
};

union message {
	struct fuse_in_header header;
	char bytes[MESSAGE_MAX_BYTES];
};

/* ---- answers ---- */

/* An answer that nobody waits for any more is refused with ENOENT: that is fine. */
static void answer(int fd, uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + len),
		.error = -error,
		.unique = unique,
	};
	struct iovec iov[2] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)body, .iov_len = len },
	};
	ssize_t n = writev(fd, iov, len ? 2 : 1);

	(void)n;
}

static struct fuse_attr dir_attr(uint64_t ino)
{
	return (struct fuse_attr){ .ino = ino, .mode = S_IFDIR | 0755, .nlink = 2 };
}

static void answer_entry(int fd, uint64_t unique)
{
	const struct fuse_entry_out entry = {
		.nodeid = DIR_INO,
		.entry_valid = FOREVER_S,
		.attr_valid = FOREVER_S,
		.attr = dir_attr(DIR_INO),
	};

	answer(fd, unique, 0, &entry, sizeof(entry));
}

static void answer_getattr(int fd, const struct fuse_in_header *header)
{
	const struct fuse_attr_out attr = {
		.attr_valid = FOREVER_S,
		.attr = dir_attr(header->nodeid),
	};

	answer(fd, header->unique, 0, &attr, sizeof(attr));
}

static void answer_statfs(int fd, uint64_t unique)
{
	const struct fuse_statfs_out statfs = { .st = { .namelen = 255 } };

	answer(fd, unique, 0, &statfs, sizeof(statfs));
}

/* ---- who waits ---- */

static void end_waiting(struct server *server, struct waiting *waiting, int error)
{
	answer(waiting->fd, waiting->unique, error, NULL, 0);
	server->n_interrupted -= waiting->interrupted;
	*waiting = server->waiting[--server->n_waiting];
}

static void end_waiting_of(struct server *server, int fd)
{
	for (size_t i = server->n_waiting; i-- > 0;) {
		if (server->waiting[i].fd == fd)
			end_waiting(server, &server->waiting[i], EIO);
	}
}

static void end_all(struct server *server)
{
	while (server->n_waiting)
		end_waiting(server, &server->waiting[server->n_waiting - 1], EIO);
}

static void end_dying(struct server *server)
{
	for (size_t i = server->n_waiting; server->n_interrupted && i-- > 0;) {
		struct waiting *waiting = &server->waiting[i];

		if (waiting->interrupted && waiting->pid && caller_is_dying(waiting->pid))
			end_waiting(server, waiting, EINTR);
	}
}

static void lookup(struct server *server, int fd, const struct fuse_in_header *header,
		   const char *name)
{
	if (header->nodeid == FUSE_ROOT_ID && !strcmp(name, "sha256")) {
		answer_entry(fd, header->unique);
	} else if (header->nodeid != DIR_INO || strlen(name) != HEX_LEN) {
		answer(fd, header->unique, ENOENT, NULL, 0);
	} else if (server->is_over || server->n_waiting == WAITING_MAX) {
		answer(fd, header->unique, EIO, NULL, 0);
	} else {
		server->waiting[server->n_waiting++] = (struct waiting){
			.fd = fd,
			.unique = header->unique,
			.pid = header->pid,
		};
	}
}

static void interrupt(struct server *server, int fd, const struct fuse_interrupt_in *in)
{
	for (size_t i = 0; i < server->n_waiting; i++) {
		struct waiting *waiting = &server->waiting[i];

		if (waiting->fd != fd || waiting->unique != in->unique)
			continue;
		server->n_interrupted += !waiting->interrupted;
		waiting->interrupted = true;
		return;
	}
	/* Read by the last fetchd, from a kernel that cannot resend it. */
	if (server->is_over)
		answer(fd, in->unique, EIO, NULL, 0);
}

static void handle(struct server *server, int fd, const union message *message)
{
	const struct fuse_in_header *header = &message->header;
	const char *body = message->bytes + sizeof(*header);

	switch (header->opcode) {
	case FUSE_LOOKUP:
		lookup(server, fd, header, body);
		break;
	case FUSE_GETATTR:
		answer_getattr(fd, header);
		break;
	case FUSE_STATFS:
		answer_statfs(fd, header->unique);
		break;
	case FUSE_INTERRUPT:
		interrupt(server, fd, (const struct fuse_interrupt_in *)(const void *)body);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break; /* have no answer */
	default:
		answer(fd, header->unique, ENOSYS, NULL, 0);
	}
}

/* ---- the loop ---- */

/* Room for a full batch, or EIO for what is too much; before that, unread requests just wait. */
static bool may_read(const struct server *server)
{
	return server->is_over || (server->can_resend && server->n_waiting + BATCH <= WAITING_MAX);
}

/* Return: false when the file system is gone. */
static bool serve_fd(struct server *server, struct pollfd *slot)
{
	static union message message;

	for (int i = 0; i < BATCH && may_read(server); i++) {
		ssize_t n = read(slot->fd, message.bytes, sizeof(message) - 1);

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue; /* ENOENT: the caller gave up meanwhile */
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0 && (errno == ENODEV || errno == ECONNABORTED))
			return false;
		if (n < (ssize_t)sizeof(message.header)) {
			slot->fd = -1; /* nothing of ours: leave it alone, and do not spin */
			return true;
		}
		message.bytes[n] = '\0';
		handle(server, slot->fd, &message);
	}
	return true;
}

static void start(struct server *server, int listen_fd, const int *fds, size_t n, int64_t until_ms)
{
	const struct fuse_out_header resend = { .len = sizeof(resend), .error = NOTIFY_RESEND };

	server->n_waiting = server->n_interrupted = 0;
	server->until_ms = until_ms;
	server->can_resend = true;
	server->polls[0] = (struct pollfd){ .fd = listen_fd, .events = POLLIN };
	for (size_t i = 0; i < n; i++) {
		server->polls[1 + i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		if (write(fds[i], &resend, sizeof(resend)) < 0 && errno == EINVAL)
			server->can_resend = false;
	}
}

static int timeout_ms(const struct server *server)
{
	int64_t left_ms = server->until_ms - now_ms();

	if (server->is_over)
		return -1;
	if (left_ms < 0)
		return 0;
	if (server->n_interrupted && left_ms > KILL_POLL_MS)
		return KILL_POLL_MS;
	return left_ms < INT32_MAX ? (int)left_ms : INT32_MAX;
}

void keep_serve(int listen_fd, int *fds, size_t n, int64_t until_ms)
{
	static struct server server;
	bool closed = false;

	if (n > KEEP_FDS_MAX)
		n = KEEP_FDS_MAX;
	start(&server, listen_fd, fds, n, until_ms);
	while (!closed) {
		server.is_over = now_ms() >= until_ms;
		if (server.is_over)
			end_all(&server);
		end_dying(&server);
		if (poll(server.polls, may_read(&server) ? 1 + n : 1, timeout_ms(&server)) < 0)
			continue;
		if (server.polls[0].revents)
			return;
		for (size_t i = 0; i < n && may_read(&server); i++) {
			struct pollfd *slot = &server.polls[1 + i];

			if (!slot->revents || serve_fd(&server, slot))
				continue;
			end_waiting_of(&server, fds[i]);
			close(fds[i]);
			fds[i] = slot->fd = -1;
			closed = true;
		}
	}
}
