/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns both ends of fd keeping: the client (in the supervisor) and the holder process.
 *
 * Messages to the holder: one letter and a name; 'P' with a descriptor puts, 'D' drops,
 * 'T' takes and is answered by 'Y' with a descriptor or 'N'. One thread in each process.
 */
#include "fetchd/keep.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/fdpass.h"
#include "lib/log.h"

struct kept {
	char name[KEEP_NAME_MAX];
	int fd;
};

struct keeper {
	int sock;	     /* owned: to the holder, or -1 with the service manager */
	char *notify_socket; /* owned: the service manager's, or NULL */
	struct kept *kept;   /* owned: what the service manager handed over at start */
	size_t n_kept;
};

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
static int adopt_listen_fds(struct keeper *keeper)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	long n;

	if (!pid || !fds || !names || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	n = strtol(fds, NULL, 10);
	if (n < 1 || n > KEEP_FDS_MAX)
		return 0;
	keeper->kept = calloc((size_t)n, sizeof(*keeper->kept));
	if (!keeper->kept)
		return -ENOMEM;
	for (long i = 0; i < n; i++) {
		struct kept *kept = &keeper->kept[keeper->n_kept++];
		size_t len = strcspn(names, ":");

		kept->fd = 3 + (int)i;
		fcntl(kept->fd, F_SETFD, FD_CLOEXEC);
		snprintf(kept->name, sizeof(kept->name), "%.*s", (int)len, names);
		names += len + (names[len] == ':');
	}
	return 0;
}

/* ---- client of the holder ---- */

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

/* Does the holder answer? It may just have ended, having nothing to hold. */
static bool holder_answers(struct keeper *keeper)
{
	int fd = keeper_take(keeper, "");

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ENOENT;
}

static int open_holder(struct keeper *keeper, const char *run_dir)
{
	cleanup_free char *path = format_text("%s/keep.sock", run_dir);
	cleanup_close int listen_fd = -1;
	int r;

	if (!path)
		return -ENOMEM;
	r = connect_holder(path, &keeper->sock);
	if (!r && holder_answers(keeper))
		return 0;
	if (!r)
		close(steal_fd(&keeper->sock));
	else if (r != -ENOENT && r != -ECONNREFUSED)
		return r;
	r = listen_at(path, &listen_fd);
	if (!r)
		r = start_holder(listen_fd, path);
	/* Works at once: the socket listens already, whoever accepts later. */
	return r ? r : connect_holder(path, &keeper->sock);
}

int keeper_open(const char *run_dir, struct keeper **out, struct problem *problem)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	const char *notify_socket = getenv("NOTIFY_SOCKET"), *max = getenv("FDSTORE");
	int r;

	if (!keeper)
		return -ENOMEM;
	keeper->sock = -1;
	if (notify_socket && (max || getenv("INTINODE_FDSTORE"))) {
		keeper->notify_socket = strdup(notify_socket);
		r = keeper->notify_socket ? adopt_listen_fds(keeper) : -ENOMEM;
	} else {
		r = open_holder(keeper, run_dir);
	}
	if (r) {
		keeper_close(keeper);
		return problem_set(problem, r,
				   "%s/keep.sock: cannot start the holder of file descriptors: %s",
				   run_dir, strerror(-r));
	}
	*out = keeper;
	return 0;
}

void keeper_close(struct keeper *keeper)
{
	if (!keeper)
		return;
	if (keeper->sock >= 0)
		close(keeper->sock);
	for (size_t i = 0; i < keeper->n_kept; i++)
		close(keeper->kept[i].fd);
	free(keeper->kept);
	free(keeper->notify_socket);
	free(keeper);
}

static int tell_holder(struct keeper *keeper, char letter, const char *name, int fd)
{
	char message[KEEP_NAME_MAX + 1];

	if (strlen(name) >= KEEP_NAME_MAX)
		return -ENAMETOOLONG;
	message[0] = letter;
	memcpy(message + 1, name, strlen(name) + 1);
	return fdpass_send(keeper->sock, message, strlen(name) + 2, fd);
}

int keeper_put(struct keeper *keeper, const char *name, int fd)
{
	char text[KEEP_NAME_MAX + 32];

	if (!keeper->notify_socket)
		return tell_holder(keeper, 'P', name, fd);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return notify(keeper, text, fd);
}

int keeper_take(struct keeper *keeper, const char *name)
{
	char answer[8];
	int fd = -1, r;
	ssize_t n;

	for (size_t i = 0; i < keeper->n_kept; i++) {
		if (!strcmp(keeper->kept[i].name, name)) {
			fd = fcntl(keeper->kept[i].fd, F_DUPFD_CLOEXEC, 3);
			return fd < 0 ? -errno : fd;
		}
	}
	if (keeper->notify_socket)
		return -ENOENT;
	r = tell_holder(keeper, 'T', name, -1);
	if (r)
		return r;
	n = fdpass_receive(keeper->sock, answer, sizeof(answer), &fd);
	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	return fd < 0 ? -ENOENT : fd;
}

void keeper_drop(struct keeper *keeper, const char *name)
{
	char text[KEEP_NAME_MAX + 32];
	int r;

	if (keeper->notify_socket) {
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
		r = notify(keeper, text, -1);
	} else {
		r = tell_holder(keeper, 'D', name, -1);
	}
	if (r)
		log_warning("the holder of file descriptors did not answer: %s", strerror(-r));
}

void keeper_notify_ready(const struct keeper *keeper)
{
	if (keeper->notify_socket && notify(keeper, "READY=1", -1))
		log_warning("the service manager could not be told that fetchd is ready");
}

/* ---- the holder ---- */

enum { HOLDER_CLIENTS_MAX = 8 };

struct holder {
	struct kept kept[KEEP_FDS_MAX];
	size_t n_kept;
	struct pollfd polls[1 + HOLDER_CLIENTS_MAX];
	nfds_t n_polls;
};

static struct kept *holder_find(struct holder *holder, const char *name)
{
	for (size_t i = 0; i < holder->n_kept; i++) {
		if (!strcmp(holder->kept[i].name, name))
			return &holder->kept[i];
	}
	return NULL;
}

static void holder_drop(struct holder *holder, const char *name)
{
	struct kept *kept = holder_find(holder, name);

	if (!kept)
		return;
	close(kept->fd);
	*kept = holder->kept[--holder->n_kept];
}

static void holder_put(struct holder *holder, const char *name, int fd)
{
	struct kept *kept;

	holder_drop(holder, name);
	if (fd < 0 || holder->n_kept == KEEP_FDS_MAX) {
		if (fd >= 0)
			close(fd);
		return;
	}
	kept = &holder->kept[holder->n_kept++];
	snprintf(kept->name, sizeof(kept->name), "%s", name);
	kept->fd = fd;
}

/* Return: false when the client is gone. */
static bool holder_serve(struct holder *holder, int sock)
{
	char message[KEEP_NAME_MAX + 2];
	int fd = -1, r = 0;
	ssize_t n = fdpass_receive(sock, message, sizeof(message) - 1, &fd);

	if (n <= 0)
		return n == -EAGAIN || n == -EMSGSIZE;
	message[n] = '\0';
	if (message[0] == 'P') {
		holder_put(holder, message + 1, fd);
	} else if (message[0] == 'D') {
		holder_drop(holder, message + 1);
	} else if (message[0] == 'T') {
		struct kept *kept = holder_find(holder, message + 1);

		r = fdpass_send(sock, kept ? "Y" : "N", 2, kept ? kept->fd : -1);
	}
	return r == 0;
}

static void holder_accept(struct holder *holder)
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

void keeper_main(int fd)
{
	static struct holder holder;
	bool had_client = false;

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
	while (!had_client || holder.n_kept || holder.n_polls > 1) {
		if (poll(holder.polls, holder.n_polls, -1) < 0)
			continue;
		for (nfds_t i = holder.n_polls; i-- > 1;) {
			if (!holder.polls[i].revents || holder_serve(&holder, holder.polls[i].fd))
				continue;
			close(holder.polls[i].fd);
			holder.polls[i] = holder.polls[--holder.n_polls];
		}
		if (holder.polls[0].revents) {
			holder_accept(&holder);
			had_client = true;
		}
	}
	_exit(0);
}
