/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the FUSE sessions under the miss layers: mounting, taking over, the way in and out.
 * Loop thread.
 *
 * The session is libfuse's, over custom I/O: so that it can run on a descriptor whose
 * kernel side was initialised by an earlier process, it is given an INIT of our own
 * making, and the answer to that is swallowed.
 */
#include "fetchd/miss-internal.h"

#include <event2/event.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "fetchd/keep.h"

enum {
	OWN_INIT_UNIQUE = 2,
	NOTIFY_RESEND = 7, /* FUSE_NOTIFY_RESEND, Linux 6.9, not yet in older headers */
};

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

/*
 * Lookups in one directory at one time: libfuse before 3.17 cannot say so, whatever
 * conn->want is. Without it all misses of an image wait for the first one, in a mutex, where
 * they cannot be killed. The blob's name is all that a lookup changes here.
 */
static ssize_t answer_init(int fd, const struct iovec *iov)
{
	struct fuse_init_out init = { .flags = 0 };
	const struct iovec patched[2] = {
		iov[0],
		{ .iov_base = &init, .iov_len = iov[1].iov_len },
	};

	memcpy(&init, iov[1].iov_base, iov[1].iov_len);
	init.flags |= FUSE_PARALLEL_DIROPS;
	return writev(fd, patched, 2);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *context)
{
	struct miss *miss = context;
	const struct fuse_out_header *header = iov[0].iov_base;
	ssize_t n = 0;

	if (!miss->init_done && !miss->own_init && !header->error && count == 2 &&
	    iov[1].iov_len <= sizeof(struct fuse_init_out)) {
		miss->init_done = true;
		return answer_init(fd, iov);
	}
	if (!miss->own_init || header->unique != OWN_INIT_UNIQUE)
		return writev(fd, iov, count);
	miss->own_init = false;
	miss->init_done = true;
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
	miss_forget_requests(miss, true);
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
		miss->session =
			fuse_session_new(&args, &miss_operations, sizeof(miss_operations), miss);
	fuse_opt_free_args(&args); /* libfuse has made a copy of its own */
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

/* A connection lives until its last mount is gone, and new overlays need it at its place. */
static bool is_live(int fd, const char *mountpoint)
{
	struct pollfd dead = { .fd = fd };
	struct statx st;

	if (poll(&dead, 1, 0) < 0 || (dead.revents & POLLERR))
		return false;
	/* Nobody answers there yet: take what the kernel knows. */
	return !statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, 0, &st) &&
	       (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int miss_adopt(const struct miss_options *options, struct miss **out, struct problem *problem)
{
	int fd = keeper_take(options->keeper, options->id), r;

	if (fd < 0)
		return fd;
	if (!is_live(fd, options->mountpoint) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
		log_warning("image %s: its miss layer was unmounted", options->id);
		close(fd);
		keeper_drop(options->keeper, options->id);
		return -ENOENT;
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
	snprintf(data, sizeof(data), "fd=%d,rootmode=40755,user_id=%u,group_id=%u", fd,
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
	/* Not answered: the next fetchd gets these requests again. */
	miss_forget_requests(miss, false);
	miss_free(miss);
}

void miss_remove(struct miss *miss)
{
	keeper_drop(miss->options.keeper, miss->id);
	umount2(miss->mountpoint, MNT_DETACH);
	rmdir(miss->mountpoint);
	miss_free(miss);
}

static void sweep_mounts(const char *dir_path, bool (*is_used)(const void *context, const char *id),
			 const void *context)
{
	cleanup_closedir DIR *dir = opendir(dir_path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *path = NULL;

		if (entry->d_name[0] == '.' || is_used(context, entry->d_name))
			continue;
		path = format_text("%s/%s", dir_path, entry->d_name);
		while (path && !umount2(path, MNT_DETACH))
			log_info("%s: unmounted, no image needs it", path);
		if (path)
			rmdir(path);
	}
}

void miss_sweep(struct keeper *keeper, const char *dir_path,
		bool (*is_used)(const void *context, const char *id), const void *context)
{
	const char *name;
	size_t i = 0;

	while ((name = keeper_name(keeper, i))) {
		char id[KEEP_NAME_MAX];

		snprintf(id, sizeof(id), "%s", name);
		if (is_used(context, id))
			i++;
		else
			keeper_drop(keeper, id); /* the last one is at its place now */
	}
	sweep_mounts(dir_path, is_used, context);
}
