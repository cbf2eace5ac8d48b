/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the life of a fuse front end: mount, say so, serve, unmount.
 *
 * The one hard idea: the lower tree is taken as a private clone of its mount where that is
 * allowed, so that nothing mounted inside it, our own mount least of all, is ever
 * walked into.
 */
#include "client/fuse.h"

#include <fcntl.h>
#include <fuse_log.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "client/fuse-ops.h"

enum {
	/* Hits and questions about names; none of them waits for more than the disk. */
	THREADS_MAX = 16,
	ROOT_FILES_MAX = 1024 * 1024, /* the kernel's own default bound, fs.nr_open */
};

/* What a starting server tells who started it. Shorter than PIPE_BUF: written whole. */
struct ready_message {
	int error;
	struct problem problem;
};

/* One front end in a process. */
struct server {
	struct fuse_frontend frontend;
	const struct fuse_frontend_options *options;
	struct fuse_session *session;
	int ready_fd;
	char *mountpoint; /* owned: absolute */
	char *socket;	  /* owned: absolute, or NULL */
};

/* What libfuse says before the mount is there explains why it is not; it returns no errno. */
static struct problem libfuse_said;
static bool mounted;

static void printf_like(2, 0) log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t len;

	vsnprintf(text, sizeof(text), fmt, ap);
	len = strcspn(text, "\n");
	text[len] = '\0';
	if (!mounted)
		problem_set(&libfuse_said, 0, "%s", text);
	else
		log_line(level <= FUSE_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "%s", text);
}

static void tell(int *ready_fd, int error, const struct problem *problem)
{
	struct ready_message message = { .error = error };

	if (*ready_fd < 0)
		return;
	if (problem)
		message.problem = *problem;
	if (write_all(*ready_fd, &message, sizeof(message)))
		log_debug("fuse: nobody waits for the mount");
	close(steal_fd(ready_fd));
}

/* A server in the background lets go of where it was started only now, when all is well. */
static void leave_terminal(const struct server *server)
{
	const char *log = server->options->log ? server->options->log : "/dev/null";
	cleanup_close int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		log_warning("log file %s: %s", log, strerror(errno));
	else
		dup2(fd, STDERR_FILENO);
	if (chdir("/"))
		log_debug("fuse: chdir: %s", strerror(errno));
}

static void server_ready(struct fuse_frontend *frontend)
{
	struct server *server = container_of(frontend, struct server, frontend);

	if (server->ready_fd >= 0)
		leave_terminal(server);
	tell(&server->ready_fd, 0, NULL);
}

static int open_lower(const char *lower, int *out, struct problem *problem)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, lower, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0) /* no right to, or not this kernel: mount points inside are refused instead */
		fd = open(lower, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		r = -errno;
	else if (fstat(fd, &st))
		r = -errno;
	else if (!S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	if (r) {
		if (fd >= 0)
			close(fd);
		return problem_set(problem, r, "stub tree %s: %s; it must be a directory", lower,
				   strerror(-r));
	}
	*out = fd;
	return 0;
}

/* Every open file above is a descriptor here. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (geteuid() == 0 && limit.rlim_max < ROOT_FILES_MAX) {
		struct rlimit more = { ROOT_FILES_MAX, ROOT_FILES_MAX };

		if (!setrlimit(RLIMIT_NOFILE, &more))
			return;
	}
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("fuse: the limit on open files stays: %s", strerror(errno));
}

/* What stands in /proc/mounts as the device; a comma would start another option. */
static const char *source_name(const char *mount_id)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789._:@/+-";

	return mount_id && *mount_id && !mount_id[strspn(mount_id, plain)] ? mount_id : "intinode";
}

static int mount_session(struct server *server, struct problem *problem)
{
	const struct fuse_frontend_options *options = server->options;
	cleanup_free char *mount_options = format_text(
		"ro,default_permissions,subtype=intinode,fsname=%s%s%s",
		source_name(options->mount_id), options->allow_other ? ",allow_other" : "",
		geteuid() == 0 ? ",suid,dev" : "");
	char program[] = "intinode", dash_o[] = "-o";
	char *argv[] = { program, dash_o, mount_options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	if (!mount_options)
		return -ENOMEM;
	fuse_set_log_func(log_libfuse);
	server->session = fuse_session_new(&args, &fuse_frontend_ops, sizeof(fuse_frontend_ops),
					   &server->frontend);
	fuse_opt_free_args(&args); /* libfuse has made a copy of its own */
	if (!server->session)
		return problem_set(problem, -ENOMEM, "libfuse: %s", libfuse_said.text);
	if (fuse_set_signal_handlers(server->session))
		return problem_set(problem, -EINVAL, "libfuse cannot set its signal handlers");
	errno = 0;
	if (fuse_session_mount(server->session, server->mountpoint)) {
		int r = errno ? -errno : -EPERM;

		return problem_set(problem, r, "cannot mount on %s: %s%s", server->mountpoint,
				   libfuse_said.text[0] ? libfuse_said.text : strerror(-r),
				   geteuid() == 0
					   ? "; is the fuse kernel module there (/dev/fuse)?"
					   : "; without root this needs fusermount3 (package "
					     "fuse3) and /dev/fuse");
	}
	mounted = true;
	return 0;
}

static int serve(struct server *server, struct problem *problem)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	fuse_loop_cfg_set_idle_threads(config, THREADS_MAX);
	r = fuse_session_loop_mt(server->session, config);
	fuse_loop_cfg_destroy(config);
	/* Positive: the signal that ended it. */
	return r < 0 ? problem_set(problem, r, "serving %s: %s", server->mountpoint, strerror(-r))
		     : 0;
}

static int resolve_paths(struct server *server, struct problem *problem)
{
	const struct fuse_frontend_options *options = server->options;
	cleanup_free char *cwd = NULL;

	server->mountpoint = realpath(options->mountpoint, NULL);
	if (!server->mountpoint)
		return problem_set(problem, -errno, "mount point %s: %s; it must be a directory",
				   options->mountpoint, strerror(errno));
	if (!options->socket)
		return 0;
	cwd = options->socket[0] == '/' ? strdup("") : getcwd(NULL, 0);
	server->socket = cwd ? format_text("%s%s%s", cwd, *cwd ? "/" : "", options->socket) : NULL;
	return server->socket ? 0 : -ENOMEM;
}

static int prepare(struct server *server, struct problem *problem)
{
	const struct fuse_frontend_options *options = server->options;
	struct fuse_frontend *frontend = &server->frontend;
	struct miss_options misses = {
		.mount_id = options->mount_id,
		.timeout_ms = options->timeout_ms ? options->timeout_ms : FUSE_FRONTEND_TIMEOUT_MS,
		.max_waiters = options->max_waiters ? options->max_waiters
						    : FUSE_FRONTEND_WAITERS_MAX,
		.done = fuse_frontend_done,
		.context = frontend,
	};
	int r;

	r = resolve_paths(server, problem);
	if (r)
		return r;
	r = open_lower(options->lower, &frontend->root_fd, problem);
	if (r)
		return r;
	r = cache_open_reader(options->cache, &frontend->cache, problem);
	if (r)
		return r;
	frontend->cache_path = options->cache;
	frontend->nodes = node_table_new(frontend->root_fd);
	if (!frontend->nodes)
		return -ENOMEM;
	misses.socket = server->socket;
	r = miss_queue_new(&misses, &frontend->misses);
	return r ? problem_set(problem, r, "cannot start a thread: %s", strerror(-r)) : 0;
}

/* Waiting openers first, while the session is there to answer them. */
static void server_deinit(struct server *server)
{
	miss_queue_free(server->frontend.misses);
	if (server->session) {
		fuse_remove_signal_handlers(server->session);
		fuse_session_unmount(server->session);
		fuse_session_destroy(server->session);
	}
	node_table_free(server->frontend.nodes);
	cache_close(server->frontend.cache);
	if (server->frontend.root_fd >= 0)
		close(server->frontend.root_fd);
	free(server->mountpoint);
	free(server->socket);
}

int fuse_frontend_run(const struct fuse_frontend_options *options, int ready_fd,
		      struct problem *problem)
{
	struct server server = {
		.frontend = { .root_fd = -1,
			      .ready = server_ready,
			      .passthrough_lock = PTHREAD_MUTEX_INITIALIZER },
		.options = options,
		.ready_fd = ready_fd,
	};
	struct problem own = { "" };
	int r;

	raise_file_limit();
	r = prepare(&server, &own);
	if (!r)
		r = mount_session(&server, &own);
	if (!r)
		r = serve(&server, &own);
	tell(&server.ready_fd, r ? r : -ECANCELED, &own);
	server_deinit(&server);
	if (problem)
		*problem = own;
	return r;
}

static _Noreturn void child(const struct fuse_frontend_options *options, int ready_fd)
{
	int null_fd;

	/* What the caller has open, locks among it, is the caller's alone. */
	if (dup2(ready_fd, STDERR_FILENO + 1) < 0)
		_exit(1);
	ready_fd = STDERR_FILENO + 1;
	fcntl(ready_fd, F_SETFD, FD_CLOEXEC);
	close_range((unsigned int)ready_fd + 1, ~0U, 0);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	setsid();
	prctl(PR_SET_NAME, "intinode-fuse");
	if (null_fd >= 0) {
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
	}
	_exit(fuse_frontend_run(options, ready_fd, NULL) ? 1 : 0);
}

int fuse_frontend_spawn(const struct fuse_frontend_options *options, pid_t *pid_out,
			struct problem *problem)
{
	struct ready_message message;
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(fds[0]);
		close(fds[1]);
		return problem_set(problem, r, "cannot start a process: %s", strerror(-r));
	}
	if (!pid) {
		close(fds[0]);
		child(options, fds[1]);
	}
	close(fds[1]);
	n = read_full(fds[0], &message, sizeof(message));
	close(fds[0]);
	if (n == sizeof(message) && !message.error) {
		if (pid_out)
			*pid_out = pid;
		return 0;
	}
	waitpid(pid, NULL, 0);
	if (n != sizeof(message))
		return problem_set(problem, -EPIPE, "the fuse front end ended unexpectedly");
	if (problem)
		*problem = message.problem;
	return message.error;
}
