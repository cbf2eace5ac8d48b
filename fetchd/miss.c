/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the FUSE sessions of the miss layers. Loop thread.
 *
 * How an open() ends, measured on Linux 6.18: the kernel asks twice in a path walk (plain,
 * then with LOOKUP_REVAL) and walks twice. Only an ESTALE in the first walk can be followed by
 * success, because the cache comes first in the second walk, and the second walk's ESTALE
 * goes to the application. So a caller has two lookups: the first is answered ESTALE when half
 * of its deadline is over, the second EIO at the deadline.
 *
 * The session is libfuse's, over custom I/O: so that it can run on a descriptor whose
 * kernel side was initialised by an earlier process, it is given an INIT of our own
 * making, and the answer to that is swallowed.
 */
#include "config.h"

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)

#include "fetchd/miss.h"

#include <event2/event.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "fetchd/fetch.h"
#include "fetchd/keep.h"

enum {
	DIR_INO = 2,
	KILL_POLL_MS = 50,
	RETRY_WINDOW_MS = 1000, /* the kernel retries at once; later, it is another open() */
	ATTEMPTS_MAX = 4096,
	MAX_WRITE_BYTES = 4096,
	OWN_INIT_UNIQUE = 2,
	NOTIFY_RESEND = 7, /* FUSE_NOTIFY_RESEND, Linux 6.9, not yet in older headers */
};

static const double forever_s = 86400.0;

/* A caller whose first lookup was answered and whose second one is expected. */
struct attempt {
	uint64_t pid;
	struct digest digest;
	int64_t deadline_ms, answered_ms;
	struct attempt *next;
};

struct request {
	struct miss *miss;
	fuse_req_t req;
	struct fetch_waiter waiter;
	struct digest digest;
	uint64_t pid;
	int64_t slice_end_ms, deadline_ms;
	bool interrupted;
	struct event *timer; /* owned */
	struct request *next, **prev;
};

struct miss {
	struct miss_options options;
	char *id, *mountpoint; /* owned */
	struct fuse_session *session;
	struct event *readable;
	struct fuse_buf buffer;
	bool own_init; /* hand out our INIT at the next read */
	struct request *requests;
	struct attempt *attempts;
	unsigned int n_attempts;
};

/* ---- attempts ---- */

static void attempt_add(struct miss *miss, const struct request *request)
{
	struct attempt *attempt;

	if (miss->n_attempts == ATTEMPTS_MAX)
		return;
	attempt = calloc(1, sizeof(*attempt));
	if (!attempt)
		return;
	attempt->pid = request->pid;
	attempt->digest = request->digest;
	attempt->deadline_ms = request->deadline_ms;
	attempt->answered_ms = now_ms();
	attempt->next = miss->attempts;
	miss->attempts = attempt;
	miss->n_attempts++;
}

/* Takes the caller's attempt out, and whatever is too old on the way. Return: its deadline or 0. */
static int64_t attempt_take(struct miss *miss, uint64_t pid, const struct digest *digest)
{
	struct attempt **p = &miss->attempts, *attempt;
	int64_t now = now_ms(), deadline_ms = 0;

	while ((attempt = *p)) {
		bool mine = attempt->pid == pid && digest_equal(&attempt->digest, digest);
		bool old = now - attempt->answered_ms > RETRY_WINDOW_MS;

		if (!mine && !old) {
			p = &attempt->next;
			continue;
		}
		if (mine && !old)
			deadline_ms = attempt->deadline_ms;
		*p = attempt->next;
		free(attempt);
		miss->n_attempts--;
	}
	return deadline_ms;
}

/* ---- requests ---- */

static void request_end(struct request *request, int error)
{
	fetch_unwait(request->miss->options.table, &request->waiter);
	fuse_req_interrupt_func(request->req, NULL, NULL);
	fuse_reply_err(request->req, error);
	*request->prev = request->next;
	if (request->next)
		request->next->prev = request->prev;
	if (request->timer)
		event_free(request->timer);
	free(request);
}

static int errno_for_application(int error)
{
	return error == -ENOSPC || error == -EDQUOT ? -error : EIO;
}

static void on_fetched(struct fetch_waiter *waiter, int error, const char *problem)
{
	struct request *request = container_of(waiter, struct request, waiter);

	(void)problem;
	request_end(request, error ? errno_for_application(error) : ESTALE);
}

/* Has the task a SIGKILL pending? FUSE interrupts for every signal, and only once. */
static bool caller_is_dying(uint64_t pid)
{
	char path[64], line[256];
	unsigned long long pending;
	bool dying = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT;
	while (fgets(line, sizeof(line), file)) {
		if ((sscanf(line, "SigPnd: %llx", &pending) == 1 ||
		     sscanf(line, "ShdPnd: %llx", &pending) == 1) &&
		    (pending & (1ULL << (SIGKILL - 1))))
			dying = true;
	}
	fclose(file);
	return dying;
}

static void arm(struct request *request, int64_t wait_ms)
{
	struct timeval tv;

	if (wait_ms < 0)
		wait_ms = 0;
	tv.tv_sec = wait_ms / 1000;
	tv.tv_usec = wait_ms % 1000 * 1000;
	evtimer_add(request->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct request *request = context;
	int64_t left_ms = request->slice_end_ms - now_ms();

	(void)fd;
	(void)what;
	if (request->interrupted && request->pid && caller_is_dying(request->pid)) {
		request_end(request, EINTR);
	} else if (left_ms <= 0 && request->slice_end_ms < request->deadline_ms) {
		attempt_add(request->miss, request);
		request_end(request, ESTALE);
	} else if (left_ms <= 0) {
		char text[DIGEST_TEXT_SIZE];

		log_warning("%s was not there at the deadline; process %llu gets an I/O error",
			    digest_format(&request->digest, text),
			    (unsigned long long)request->pid);
		request_end(request, EIO);
	} else {
		arm(request,
		    request->interrupted && left_ms > KILL_POLL_MS ? KILL_POLL_MS : left_ms);
	}
}

static void on_interrupt(fuse_req_t req, void *context)
{
	struct request *request = context;

	(void)req;
	request->interrupted = true;
	arm(request, 0);
}

static void wait_for(struct miss *miss, fuse_req_t req, const struct digest *digest,
		     uint64_t size_bytes, const struct source_list *sources)
{
	struct request *request = calloc(1, sizeof(*request));
	int64_t now = now_ms(), deadline_ms;
	int r;

	if (!request) {
		fuse_reply_err(req, EIO);
		return;
	}
	request->miss = miss;
	request->req = req;
	request->digest = *digest;
	request->pid = (uint64_t)fuse_req_ctx(req)->pid;
	request->waiter.done = on_fetched;
	request->timer = evtimer_new(miss->options.base, on_timer, request);
	request->prev = &miss->requests;
	request->next = miss->requests;
	if (request->next)
		request->next->prev = &request->next;
	miss->requests = request;

	deadline_ms = attempt_take(miss, request->pid, digest);
	request->deadline_ms = deadline_ms ? deadline_ms : now + miss->options.deadline_ms;
	request->slice_end_ms = deadline_ms ? deadline_ms : now + miss->options.deadline_ms / 2;
	r = request->timer ? fetch_wait(miss->options.table, digest, size_bytes, sources,
					request->deadline_ms, &request->waiter)
			   : -ENOMEM;
	if (r) {
		request_end(request, r > 0 ? ESTALE : errno_for_application(r));
		return;
	}
	arm(request, request->slice_end_ms - now);
	fuse_req_interrupt_func(req, on_interrupt, request);
}

/* ---- FUSE operations ---- */

static void reply_dir(fuse_req_t req)
{
	const struct fuse_entry_param entry = {
		.ino = DIR_INO,
		.attr_timeout = forever_s,
		.entry_timeout = forever_s,
		.attr = { .st_ino = DIR_INO, .st_mode = S_IFDIR | 0755, .st_nlink = 2 },
	};

	fuse_reply_entry(req, &entry);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct miss *miss = fuse_req_userdata(req);
	struct source_list sources = { .n = 0 };
	struct digest digest;
	uint64_t size_bytes;

	if (parent == FUSE_ROOT_ID && !strcmp(name, "sha256")) {
		reply_dir(req);
		return;
	}
	if (parent != DIR_INO || digest_parse_hex(DIGEST_SHA256, name, strlen(name), &digest)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if (miss->options.find(miss->options.context, &digest, &size_bytes, &sources)) {
		log_error("image %s has no stub with sha256:%s; is its layer directory damaged?",
			  miss->id, name);
		fuse_reply_err(req, EIO);
		return;
	}
	wait_for(miss, req, &digest, size_bytes, &sources);
	source_list_clear(&sources);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct stat st = { .st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2 };

	(void)fi;
	fuse_reply_attr(req, &st, forever_s);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct statvfs st = { .f_namemax = 255 };

	(void)ino;
	fuse_reply_statfs(req, &st);
}

static void op_init(void *context, struct fuse_conn_info *conn)
{
	(void)context;
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
	/*
	 * Nothing is written here. The kernel asks for read buffers of this size and more, also
	 * from a later fetchd, whose own INIT could not negotiate it.
	 */
	conn->max_write = MAX_WRITE_BYTES;
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.statfs = op_statfs,
};

/* ---- session ---- */

static ssize_t own_init_request(void *buf, size_t size)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_init_in init;
	} message = {
		.header = { .len = sizeof(message),
			    .opcode = FUSE_INIT,
			    .unique = OWN_INIT_UNIQUE },
		.init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION },
	};

	if (size < sizeof(message)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(buf, &message, sizeof(message));
	return sizeof(message);
}

static ssize_t io_read(int fd, void *buf, size_t size, void *context)
{
	struct miss *miss = context;

	if (miss->own_init)
		return own_init_request(buf, size);
	return read(fd, buf, size);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *context)
{
	struct miss *miss = context;
	const struct fuse_out_header *header = iov[0].iov_base;
	ssize_t n = 0;

	if (!miss->own_init || header->unique != OWN_INIT_UNIQUE)
		return writev(fd, iov, count);
	miss->own_init = false;
	for (int i = 0; i < count; i++)
		n += (ssize_t)iov[i].iov_len;
	return n;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct miss *miss = context;
	int n;

	(void)fd;
	(void)what;
	for (int i = 0; i < 64; i++) {
		n = fuse_session_receive_buf(miss->session, &miss->buffer);
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0) {
			/* ENODEV: the last overlay that used it is gone, and it was unmounted. */
			log_line(n == 0 || n == -ENODEV ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR,
				 "miss layer of image %s ended: %s", miss->id,
				 n ? strerror(-n) : "unmounted");
			event_del(miss->readable);
			return;
		}
		fuse_session_process_buf(miss->session, &miss->buffer);
	}
}

static void miss_free(struct miss *miss)
{
	struct attempt *attempt;

	while (miss->requests)
		request_end(miss->requests, EIO);
	while ((attempt = miss->attempts)) {
		miss->attempts = attempt->next;
		free(attempt);
	}
	if (miss->readable)
		event_free(miss->readable);
	if (miss->session)
		fuse_session_destroy(miss->session);
	free(miss->buffer.mem);
	free(miss->id);
	free(miss->mountpoint);
	free(miss);
}

/* @fd is the session's from here on, also on failure. */
static int start_session(const struct miss_options *options, int fd, bool taken_over,
			 struct miss **out)
{
	static const struct fuse_custom_io io = { .read = io_read, .writev = io_writev };
	char name[] = "intinode";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct miss *miss = calloc(1, sizeof(*miss));
	int r;

	if (!miss) {
		close(fd);
		return -ENOMEM;
	}
	miss->options = *options;
	miss->id = strdup(options->id);
	miss->mountpoint = strdup(options->mountpoint);
	miss->own_init = taken_over;
	if (miss->id && miss->mountpoint)
		miss->session = fuse_session_new(&args, &operations, sizeof(operations), miss);
	r = miss->session ? fuse_session_custom_io(miss->session, &io, fd) : -ENOMEM;
	if (r) {
		close(fd);
		miss_free(miss);
		return r;
	}
	/* INIT comes first, ours or the kernel's; it is there already. */
	r = fuse_session_receive_buf(miss->session, &miss->buffer);
	if (r > 0)
		fuse_session_process_buf(miss->session, &miss->buffer);
	r = r > 0 ? 0 : -EIO;
	miss->readable = event_new(options->base, fd, EV_READ | EV_PERSIST, on_readable, miss);
	if (!r && (!miss->readable || event_add(miss->readable, NULL)))
		r = -ENOMEM;
	if (r) {
		miss_free(miss);
		return r;
	}
	*out = miss;
	return 0;
}

/* What the earlier fetchd had read and not answered comes again. */
static void ask_to_resend(int fd, const char *id)
{
	const struct fuse_out_header message = { .len = sizeof(message), .error = NOTIFY_RESEND };

	if (write(fd, &message, sizeof(message)) != sizeof(message))
		log_warning("image %s: this kernel cannot resend requests (Linux 6.9 can); "
			    "programs that "
			    "waited when the earlier fetchd ended wait until they are killed",
			    id);
}

int miss_adopt(const struct miss_options *options, struct miss **out, struct problem *problem)
{
	int fd = keeper_take(options->keeper, options->id), r;

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK)) {
		close(fd);
		return -errno;
	}
	r = start_session(options, fd, true, out);
	if (r)
		return problem_set(problem, r, "miss layer of image %s: %s", options->id,
				   strerror(-r));
	ask_to_resend(fd, options->id);
	return 0;
}

static int mount_new(const struct miss_options *options, int *out, struct problem *problem)
{
	cleanup_close int fd = -1;
	char data[128];
	int r;

	/* Left by an earlier fetchd whose descriptor nobody kept: dead, or busy with nothing. */
	while (!umount2(options->mountpoint, MNT_DETACH))
		continue;
	r = make_dirs(options->mountpoint, 0755);
	if (r)
		return problem_set(problem, r, "%s: %s", options->mountpoint, strerror(-r));
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return problem_set(problem, -errno,
				   "/dev/fuse: %s; is the fuse module loaded ('modprobe fuse')?",
				   strerror(errno));
	snprintf(data, sizeof(data), "fd=%d,rootmode=40755,user_id=%u,group_id=%u,allow_other", fd,
		 (unsigned int)geteuid(), (unsigned int)getegid());
	if (mount("intinode-miss", options->mountpoint, "fuse.intinode-miss",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, data))
		return problem_set(problem, -errno, "mounting the miss layer at %s: %s",
				   options->mountpoint, strerror(errno));
	*out = steal_fd(&fd);
	return 0;
}

int miss_open(const struct miss_options *options, struct miss **out, struct problem *problem)
{
	int fd = -1, kept_fd, r;

	r = miss_adopt(options, out, problem);
	if (r != -ENOENT)
		return r;
	r = mount_new(options, &fd, problem);
	if (r)
		return r;
	kept_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r = start_session(options, fd, false, out);
	if (!r && kept_fd >= 0)
		r = keeper_put(options->keeper, options->id, kept_fd);
	if (kept_fd >= 0)
		close(kept_fd);
	if (r)
		umount2(options->mountpoint, MNT_DETACH);
	return r ? problem_set(problem, r, "miss layer of image %s: %s", options->id, strerror(-r))
		 : 0;
}

void miss_close(struct miss *miss)
{
	struct request *request;

	/* Not answered: the next fetchd gets these requests again. */
	while ((request = miss->requests)) {
		fetch_unwait(miss->options.table, &request->waiter);
		miss->requests = request->next;
		event_free(request->timer);
		free(request);
	}
	miss_free(miss);
}

void miss_remove(struct miss *miss)
{
	keeper_drop(miss->options.keeper, miss->id);
	umount2(miss->mountpoint, MNT_DETACH);
	rmdir(miss->mountpoint);
	miss_free(miss);
}
