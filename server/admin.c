/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the socket: one thread that accepts, one for each connection. None of them is a thread
 * that serves HTTP. The slots are touched by the accepting thread alone, but for their done.
 */
#include "server/admin.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "lib/control.h"
#include "lib/log.h"
#include "server/admin_run.h"

enum { ACCEPT_PAUSE_MS = 100 };

struct slot {
	struct admin *admin; /* borrowed */
	pthread_t thread;
	bool used;
	atomic_bool done; /* the thread is about to end */
	int fd;		  /* owned; closed when the thread was joined */
};

struct admin {
	struct services *services; /* borrowed */
	int listen_fd;		   /* owned */
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t fsck; /* one at a time */
	struct slot slots[ADMIN_CONNECTIONS_MAX];
};

static int send_line(int fd, const json_t *line, int flags)
{
	cleanup_free char *text = json_dumps(line, JSON_COMPACT);
	size_t len, done = 0;

	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* takes the place of the NUL */
	while (done < len) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL | flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) /* EAGAIN: nobody has read for ADMIN_ANSWER_MS */
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		done += (size_t)n;
	}
	return 0;
}

static void send_error(int fd, int error, const char *text, int flags)
{
	cleanup_json json_t *line = json_pack("{s:b, s:s, s:s}", "ok", 0, "error",
					      control_errno_name(error), "problem",
					      text && *text ? text : strerror(-error));

	if (line && send_line(fd, line, flags))
		log_debug("control socket: nobody waits for the answer");
}

static int put_line(void *context, const json_t *line)
{
	return send_line(((const struct slot *)context)->fd, line, 0);
}

/* The whole of a request, without its newline. Return: its length, or -errno. */
static int read_request(const struct slot *slot, char text[static ADMIN_REQUEST_MAX])
{
	int64_t until_ms = now_ms() + ADMIN_REQUEST_MS;
	size_t used = 0;

	for (;;) {
		struct pollfd fd = { .fd = slot->fd, .events = POLLIN };
		int64_t left_ms = until_ms - now_ms();
		char *newline;
		ssize_t n;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		if (poll(&fd, 1, (int)left_ms) <= 0)
			continue;
		n = recv(slot->fd, text + used, ADMIN_REQUEST_MAX - used, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		newline = memchr(text + used, '\n', (size_t)n);
		used += (size_t)n;
		if (newline)
			return (int)(newline - text);
		if (used == ADMIN_REQUEST_MAX)
			return -EMSGSIZE;
	}
}

static int peer_may(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

static int run(struct slot *slot, const struct admin_request *request, json_t **report,
	       struct problem *problem)
{
	struct admin *admin = slot->admin;
	const struct admin_output output = {
		.line = put_line, .context = slot, .live = true, .stop = &admin->stop
	};
	bool alone = request->op == ADMIN_FSCK;
	int r;

	if (alone && pthread_mutex_trylock(&admin->fsck))
		return problem_set(problem, -EBUSY, "another fsck is at work in this store");
	r = admin_run(request, admin->services, &output, report, problem);
	if (alone)
		pthread_mutex_unlock(&admin->fsck);
	return r;
}

static void answer(struct slot *slot)
{
	cleanup_json json_t *report = NULL, *line = NULL;
	struct problem problem = { "" };
	struct admin_request request;
	char text[ADMIN_REQUEST_MAX];
	int r = peer_may(slot->fd), n;

	if (r) {
		send_error(slot->fd, r, "only root and the user of the server may ask this", 0);
		return;
	}
	n = read_request(slot, text);
	r = n < 0 ? n : admin_request_parse(text, (size_t)n, &request, &problem);
	if (!r)
		r = run(slot, &request, &report, &problem);
	if (r) {
		send_error(slot->fd, r, problem.text, 0);
		return;
	}
	line = json_pack("{s:b, s:O}", "ok", 1, "report", report);
	if (!line || send_line(slot->fd, line, 0))
		log_debug("control socket: nobody waits for the answer");
}

static void *slot_main(void *argument)
{
	struct slot *slot = argument;
	const struct timeval timeout = { .tv_sec = ADMIN_ANSWER_MS / 1000 };

	if (!setsockopt(slot->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		answer(slot);
	shutdown(slot->fd, SHUT_RDWR);
	slot->done = true;
	return NULL;
}

static void reap(struct slot *slot)
{
	pthread_join(slot->thread, NULL);
	close(steal_fd(&slot->fd));
	slot->used = false;
}

static void take(struct admin *admin, int fd)
{
	struct slot *free_slot = NULL;
	int r = -EBUSY;

	for (size_t i = 0; i < ARRAY_SIZE(admin->slots); i++) {
		struct slot *slot = &admin->slots[i];

		if (slot->used && slot->done)
			reap(slot);
		if (!slot->used)
			free_slot = slot;
	}
	if (free_slot) {
		free_slot->admin = admin;
		free_slot->fd = fd;
		free_slot->done = false;
		r = -pthread_create(&free_slot->thread, NULL, slot_main, free_slot);
		free_slot->used = !r;
	}
	if (r) {
		send_error(fd, r, "there are too many connections here; try again later",
			   MSG_DONTWAIT);
		close(fd);
	}
}

static void *accept_main(void *argument)
{
	static const struct timespec pause = { .tv_nsec = ACCEPT_PAUSE_MS * 1000000L };
	struct admin *admin = argument;

	while (!admin->stop) {
		int fd = accept4(admin->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			take(admin, fd);
		else if (!admin->stop && errno != EINTR && errno != ECONNABORTED)
			nanosleep(&pause, NULL); /* out of descriptors, most likely */
	}
	return NULL;
}

/* By the directory's descriptor, so that the length of the store's path does not matter. */
static int listen_at(int root_fd, int *out)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" ADMIN_SOCKET,
		 root_fd);
	if (unlinkat(root_fd, ADMIN_SOCKET, 0) && errno != ENOENT)
		return -errno;
	/* The name takes the socket's mode, so that there is no time when it has another. */
	if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, ADMIN_CONNECTIONS_MAX))
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

/* On a disk that takes no name the registry serves what it has, without a socket. */
static bool is_of_the_disk(int r)
{
	return r == -EROFS || r == -ENOSPC || r == -EDQUOT;
}

int admin_start(struct services *services, struct admin **out, struct problem *problem)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	int r;

	if (!admin)
		return -ENOMEM;
	admin->services = services;
	admin->listen_fd = -1;
	pthread_mutex_init(&admin->fsck, NULL);
	r = listen_at(services->store->root_fd, &admin->listen_fd);
	if (!r)
		r = -pthread_create(&admin->thread, NULL, accept_main, admin);
	if (r) {
		if (admin->listen_fd >= 0)
			close(admin->listen_fd);
		pthread_mutex_destroy(&admin->fsck);
		free(admin);
		if (is_of_the_disk(r)) {
			log_warning("the socket 'control' in the store: %s; gc, fsck and stat "
				    "cannot reach this server",
				    strerror(-r));
			return 0;
		}
		return problem_set(problem, r, "the socket 'control' in the store: %s",
				   strerror(-r));
	}
	*out = admin;
	return 0;
}

void admin_stop(struct admin *admin)
{
	if (!admin)
		return;
	admin->stop = true;
	unlinkat(admin->services->store->root_fd, ADMIN_SOCKET, 0);
	shutdown(admin->listen_fd, SHUT_RDWR); /* wakes accept */
	pthread_join(admin->thread, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(admin->slots); i++) {
		if (admin->slots[i].used) {
			shutdown(admin->slots[i].fd, SHUT_RDWR);
			reap(&admin->slots[i]);
		}
	}
	close(admin->listen_fd);
	pthread_mutex_destroy(&admin->fsck);
	free(admin);
}
