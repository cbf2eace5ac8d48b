/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns fetchd's side of fd keeping: what is kept, and the way to the one who keeps it. Loop
 * thread.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fetchd/keep-internal.h"
#include "lib/fdpass.h"
#include "lib/log.h"

enum { RESTART_PAUSE_S = 1 };

struct kept {
	char name[KEEP_NAME_MAX];
	int fd;
};

struct keeper {
	struct event_base *base; /* borrowed */
	char *path;		 /* owned: of the holder's socket */
	int64_t grace_ms, started_ms;
	int sock;	     /* owned: to the holder, or -1 */
	struct event *ended; /* owned: the holder hung up */
	struct event *retry; /* owned: start it again */
	char *notify_socket; /* owned: the service manager's, or NULL */
	size_t max;
	struct kept kept[KEEP_FDS_MAX]; /* owned: the same descriptors, to put them again */
	size_t n_kept;
};

/* ---- what is kept ---- */

static struct kept *find_kept(struct keeper *keeper, const char *name)
{
	for (size_t i = 0; i < keeper->n_kept; i++) {
		if (!strcmp(keeper->kept[i].name, name))
			return &keeper->kept[i];
	}
	return NULL;
}

static void forget(struct keeper *keeper, const char *name)
{
	struct kept *kept = find_kept(keeper, name);

	if (!kept)
		return;
	close(kept->fd);
	*kept = keeper->kept[--keeper->n_kept];
}

/* @fd is the keeper's from here on, also on failure. */
static int remember(struct keeper *keeper, const char *name, int fd)
{
	struct kept *kept;

	forget(keeper, name);
	if (keeper->n_kept >= keeper->max || strlen(name) >= KEEP_NAME_MAX) {
		close(fd);
		return strlen(name) >= KEEP_NAME_MAX ? -ENAMETOOLONG : -EMFILE;
	}
	kept = &keeper->kept[keeper->n_kept++];
	memcpy(kept->name, name, strlen(name) + 1);
	kept->fd = fd;
	return 0;
}

/* ---- service manager ---- */

static int notify(const struct keeper *keeper, const char *text, int fd)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(keeper->notify_socket);

	if (sock < 0)
		return -errno;
	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, keeper->notify_socket, len);
	if (address.sun_path[0] == '@')
		address.sun_path[0] = '\0';
	if (connect(sock, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		return -errno;
	return fdpass_send(sock, text, strlen(text), fd);
}

/* LISTEN_FDS and LISTEN_FDNAMES, sd_listen_fds_with_names(3). */
static void adopt_listen_fds(struct keeper *keeper)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	char name[KEEP_NAME_MAX];
	long n;

	if (!pid || !fds || !names || strtol(pid, NULL, 10) != (long)getpid())
		return;
	n = strtol(fds, NULL, 10);
	for (int fd = 3; n <= KEEP_FDS_MAX && fd < 3 + n; fd++) {
		size_t len = strcspn(names, ":");

		fcntl(fd, F_SETFD, FD_CLOEXEC);
		snprintf(name, sizeof(name), "%.*s", (int)len, names);
		names += len + (names[len] == ':');
		if (remember(keeper, name, fd))
			log_warning("the service manager's descriptor '%s' is one too many", name);
	}
}

static int open_store(struct keeper *keeper, const char *notify_socket, const char *max)
{
	long n = max ? strtol(max, NULL, 10) : 0;

	/* What goes beyond its maximum the service manager would drop without a word. */
	if (n > 0 && n < KEEP_FDS_MAX)
		keeper->max = (size_t)n;
	keeper->notify_socket = strdup(notify_socket);
	if (!keeper->notify_socket)
		return -ENOMEM;
	adopt_listen_fds(keeper);
	return 0;
}

/* ---- client of the holder ---- */

static bool is_hangup(int r)
{
	return r == -EPIPE || r == -ECONNRESET;
}

/* @path is only shown in the process list: whose holder is this? */
static int start_holder(int listen_fd, const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* Twice, so that the holder is nobody's child, with only its socket as fd 3. */
		if (setsid() < 0 || fork() != 0)
			_exit(0);
		if (listen_fd == 3)
			fcntl(3, F_SETFD, 0);
		else if (dup2(listen_fd, 3) < 0)
			_exit(1);
		execl("/proc/self/exe", "intinode-keep", "--keep", path, (char *)NULL);
		_exit(1);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

static int connect_holder(const char *path, int *out)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (sock < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	*out = steal_fd(&sock);
	return 0;
}

static int listen_at(const char *path, int *out)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t old;
	int r;

	if (sock < 0)
		return -errno;
	memcpy(address.sun_path, path, strlen(path));
	unlink(path);
	old = umask(0177);
	r = bind(sock, (struct sockaddr *)&address, sizeof(address));
	umask(old);
	if (r || listen(sock, 4))
		return -errno;
	*out = steal_fd(&sock);
	return 0;
}

/* With @answer: one message, with a descriptor or -1. Return: 0 or negative errno. */
static int ask_holder(struct keeper *keeper, char letter, const char *text, int fd, char *answer,
		      int *answer_fd)
{
	char message[KEEP_MESSAGE_MAX];
	ssize_t n;
	int r;

	if (keeper->sock < 0)
		return -EPIPE;
	if (strlen(text) >= KEEP_NAME_MAX)
		return -ENAMETOOLONG;
	message[0] = letter;
	memcpy(message + 1, text, strlen(text) + 1);
	r = fdpass_send(keeper->sock, message, strlen(text) + 2, fd);
	if (r || !answer)
		return r;
	n = fdpass_receive(keeper->sock, answer, KEEP_MESSAGE_MAX, answer_fd);
	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	answer[n < KEEP_MESSAGE_MAX ? n : KEEP_MESSAGE_MAX - 1] = '\0';
	return 0;
}

static int put_to_holder(struct keeper *keeper, const char *name, int fd)
{
	char answer[KEEP_MESSAGE_MAX];
	int none = -1;
	int r = ask_holder(keeper, KEEP_PUT, name, fd, answer, &none);

	if (none >= 0)
		close(none);
	return r ? r : answer[0] == KEEP_YES ? 0 : -EMFILE;
}

static int put_all(struct keeper *keeper)
{
	int r = 0;

	for (size_t i = 0; !r && i < keeper->n_kept; i++)
		r = put_to_holder(keeper, keeper->kept[i].name, keeper->kept[i].fd);
	return r;
}

static int take_all(struct keeper *keeper)
{
	char number[32], answer[KEEP_MESSAGE_MAX];
	int r = 0;

	for (unsigned int i = 0; !r; i++) {
		int fd = -1;

		snprintf(number, sizeof(number), "%u", i);
		r = ask_holder(keeper, KEEP_LIST, number, -1, answer, &fd);
		if (r || answer[0] != KEEP_YES || fd < 0)
			break;
		r = remember(keeper, answer + 1, fd);
	}
	return r;
}

static void disconnect_holder(struct keeper *keeper)
{
	if (keeper->ended)
		event_free(keeper->ended);
	keeper->ended = NULL;
	if (keeper->sock >= 0)
		close(steal_fd(&keeper->sock));
}

static void on_ended(evutil_socket_t fd, short what, void *context);

static int watch_holder(struct keeper *keeper)
{
	char grace[32];

	keeper->ended =
		event_new(keeper->base, keeper->sock, EV_READ | EV_PERSIST, on_ended, keeper);
	if (!keeper->ended || event_add(keeper->ended, NULL))
		return -ENOMEM;
	snprintf(grace, sizeof(grace), "%lld", (long long)keeper->grace_ms);
	return ask_holder(keeper, KEEP_GRACE, grace, -1, NULL, NULL);
}

static int new_holder(struct keeper *keeper)
{
	cleanup_close int listen_fd = -1;
	int r = listen_at(keeper->path, &listen_fd);

	keeper->started_ms = now_ms();
	if (!r)
		r = start_holder(listen_fd, keeper->path);
	/* Works at once: the socket listens already, whoever accepts later. */
	if (!r)
		r = connect_holder(keeper->path, &keeper->sock);
	return r ? r : put_all(keeper);
}

static int open_holder(struct keeper *keeper)
{
	int r = connect_holder(keeper->path, &keeper->sock);

	/* One that has nothing to hold may just have ended. */
	if (!r) {
		r = take_all(keeper);
		if (r)
			disconnect_holder(keeper);
	}
	if (r == -ENOENT || r == -ECONNREFUSED || is_hangup(r))
		r = new_holder(keeper);
	return r ? r : watch_holder(keeper);
}

static int replace_holder(struct keeper *keeper)
{
	const struct timeval pause = { .tv_sec = RESTART_PAUSE_S };
	int r;

	disconnect_holder(keeper);
	r = new_holder(keeper);
	if (!r)
		r = watch_holder(keeper);
	if (!r) {
		log_warning("%s: the holder of file descriptors had ended; a new one has them",
			    keeper->path);
		return 0;
	}
	disconnect_holder(keeper);
	log_error("%s: the holder of file descriptors had ended, and a new one cannot be started: "
		  "%s; were fetchd to end now, files that are missing would stay so",
		  keeper->path, strerror(-r));
	evtimer_add(keeper->retry, &pause);
	return r;
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
	struct keeper *keeper = context;

	(void)fd;
	(void)what;
	if (keeper->sock < 0 && replace_holder(keeper))
		return; /* which has logged it, and comes again */
}

static void on_ended(evutil_socket_t fd, short what, void *context)
{
	const struct timeval pause = { .tv_sec = RESTART_PAUSE_S };
	struct keeper *keeper = context;
	char byte;

	(void)what;
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return;
	/* Not in a tight loop, should each one end at once. */
	disconnect_holder(keeper);
	if (now_ms() - keeper->started_ms < RESTART_PAUSE_S * 1000)
		evtimer_add(keeper->retry, &pause);
	else
		on_retry(-1, 0, keeper);
}

int keeper_open(const struct keeper_options *options, struct keeper **out, struct problem *problem)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	const char *notify_socket = getenv("NOTIFY_SOCKET"), *max = getenv("FDSTORE");
	int r;

	if (!keeper)
		return -ENOMEM;
	keeper->base = options->base;
	keeper->grace_ms = options->grace_ms;
	keeper->sock = -1;
	keeper->max = KEEP_FDS_MAX;
	keeper->path = format_text("%s/keep.sock", options->run);
	keeper->retry = evtimer_new(keeper->base, on_retry, keeper);
	if (!keeper->path || !keeper->retry)
		r = -ENOMEM;
	else if (notify_socket && (max || getenv("INTINODE_FDSTORE")))
		r = open_store(keeper, notify_socket, max);
	else
		r = open_holder(keeper);
	if (r) {
		keeper_close(keeper);
		return problem_set(problem, r,
				   "%s/keep.sock: cannot start the holder of file descriptors: %s",
				   options->run, strerror(-r));
	}
	*out = keeper;
	return 0;
}

void keeper_close(struct keeper *keeper)
{
	if (!keeper)
		return;
	disconnect_holder(keeper);
	if (keeper->retry)
		event_free(keeper->retry);
	for (size_t i = 0; i < keeper->n_kept; i++)
		close(keeper->kept[i].fd);
	free(keeper->path);
	free(keeper->notify_socket);
	free(keeper);
}

int keeper_put(struct keeper *keeper, const char *name, int fd)
{
	char text[KEEP_NAME_MAX + 32];
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r;

	if (copy < 0)
		return -errno;
	r = remember(keeper, name, copy);
	if (r)
		return r;
	if (keeper->notify_socket) {
		snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
		r = notify(keeper, text, fd);
	} else {
		r = put_to_holder(keeper, name, fd);
		if (is_hangup(r))
			r = replace_holder(keeper); /* with this one */
	}
	if (r)
		forget(keeper, name);
	return r;
}

int keeper_take(struct keeper *keeper, const char *name)
{
	const struct kept *kept = find_kept(keeper, name);
	int fd = kept ? fcntl(kept->fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (!kept)
		return -ENOENT;
	return fd < 0 ? -errno : fd;
}

void keeper_drop(struct keeper *keeper, const char *name)
{
	char text[KEEP_NAME_MAX + 32];
	int r;

	forget(keeper, name);
	if (keeper->notify_socket) {
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
		r = notify(keeper, text, -1);
	} else {
		r = ask_holder(keeper, KEEP_DROP, name, -1, NULL, NULL);
		if (is_hangup(r))
			r = replace_holder(keeper); /* without this one */
	}
	if (r)
		log_warning("'%s' is still kept: %s", name, strerror(-r));
}

const char *keeper_name(const struct keeper *keeper, size_t i)
{
	return i < keeper->n_kept ? keeper->kept[i].name : NULL;
}

void keeper_notify_ready(const struct keeper *keeper)
{
	if (keeper->notify_socket && notify(keeper, "READY=1", -1))
		log_warning("the service manager could not be told that fetchd is ready");
}
