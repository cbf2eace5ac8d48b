/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing: system calls wrapped so that callers see 0 or -errno. Any thread. */
#include "lib/util.h"

#include <sys/syscall.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same for all architectures */
#endif

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t pread_full(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int read_file_at(int dirfd, const char *path, size_t max_bytes, char **bytesp, size_t *lenp)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	cleanup_free char *bytes = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if ((uint64_t)st.st_size > max_bytes)
		return -EFBIG;
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	n = read_full(fd, bytes, (size_t)st.st_size);
	if (n < 0)
		return (int)n;
	bytes[n] = '\0';
	*lenp = (size_t)n;
	*bytesp = steal_ptr(bytes);
	return 0;
}

int open_dir_at(int dirfd, const char *name, DIR **out)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	*out = fdopendir(fd);
	if (*out)
		return 0;
	r = -errno;
	close(fd);
	return r;
}

int next_entry(DIR *dir, struct dirent **out)
{
	errno = 0;
	*out = readdir(dir);
	return *out ? 0 : -errno;
}

int make_dirs(const char *path, mode_t mode)
{
	cleanup_free char *copy = strdup(path);
	struct stat st;
	char *p;

	if (!copy)
		return -ENOMEM;
	for (p = copy + 1; *copy && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(copy, mode) && errno != EEXIST)
		return -errno;
	if (stat(copy, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int write_file_durably_at(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode)
{
	cleanup_free char *temp = format_text("%s.new-%d", name, (int)getpid());
	int fd, r;

	if (!temp)
		return -ENOMEM;
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, len);
	if (!r && fsync(fd))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	if (!r && renameat(dirfd, temp, dirfd, name))
		r = -errno;
	if (r) {
		unlinkat(dirfd, temp, 0);
		return r;
	}
	/* O_PATH descriptors cannot be synced, so open the directory anew. */
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fsync(fd) ? -errno : 0;
	close(fd);
	return r;
}

/* ---- remove_tree_at() ---- */

/* A level costs a descriptor: what lies deeper is moved up to the top first. */
enum { REMOVE_LEVELS_MAX = 64 };

struct removal {
	int top_fd;
	unsigned int serial; /* of the names of what was moved */
	bool moved;
};

static bool move_to_top(struct removal *removal, int parent_fd, const char *name)
{
	char moved[32];
	int r;

	do {
		snprintf(moved, sizeof(moved), ".removed-%u", removal->serial++);
		r = renameat2(parent_fd, name, removal->top_fd, moved, RENAME_NOREPLACE);
	} while (r && errno == EEXIST && removal->serial);
	removal->moved |= !r;
	return !r;
}

static int remove_content(struct removal *removal, DIR *dir, unsigned int level);

static int remove_entry(struct removal *removal, int parent_fd, const char *name,
			unsigned int level)
{
	cleanup_closedir DIR *dir = NULL;
	int r;

	if (!unlinkat(parent_fd, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (level >= REMOVE_LEVELS_MAX && move_to_top(removal, parent_fd, name))
		return 0;
	r = open_dir_at(parent_fd, name, &dir);
	if (r)
		return r;
	r = remove_content(removal, dir, level + 1);
	return unlinkat(parent_fd, name, AT_REMOVEDIR) && !r ? -errno : r;
}

static int remove_content(struct removal *removal, DIR *dir, unsigned int level)
{
	struct dirent *entry;
	int r, first = 0;

	while (!(r = next_entry(dir, &entry)) && entry) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		r = remove_entry(removal, dirfd(dir), entry->d_name, level);
		if (r && !first)
			first = r;
	}
	return first ? first : r;
}

int remove_tree_at(int parent_fd, const char *name)
{
	cleanup_closedir DIR *dir = NULL;
	struct removal removal = { 0 };
	int r;

	if (!unlinkat(parent_fd, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	r = open_dir_at(parent_fd, name, &dir);
	if (r)
		return r;
	removal.top_fd = dirfd(dir);
	do {
		removal.moved = false;
		rewinddir(dir);
		r = remove_content(&removal, dir, 1);
	} while (removal.moved);
	return unlinkat(parent_fd, name, AT_REMOVEDIR) && !r ? -errno : r;
}

bool plain_name_is_valid(const char *name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return name && *name && *name != '.' && name[strspn(name, allowed)] == '\0';
}

char *format_text(const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

/* Linux before 5.9, or 5.11 for @at_exec, does not know the call. */
static void close_each(unsigned int first, bool at_exec)
{
	cleanup_closedir DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd < (int)first || fd == dirfd(dir))
			continue;
		if (at_exec)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
		else
			close(fd);
	}
}

void close_from(unsigned int first, bool at_exec)
{
	const unsigned int cloexec = 4; /* CLOSE_RANGE_CLOEXEC */

	if (syscall(SYS_close_range, first, ~0U, at_exec ? cloexec : 0))
		close_each(first, at_exec);
}
