/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the files of an OCI layout directory: how blobs are found and how they get there.
 *
 * Writers stage blobs in DIR/.intinode-PID-N, which they hold locked; a stage that nobody
 * holds is left from a crash and is removed by the next writer. index.json is changed under
 * a lock on the directory. Any thread.
 */
#include "lib/layout.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/layout-internal.h"
#include "lib/log.h"

enum {
	/* Of index.json and of what is read as a manifest. */
	DOCUMENT_MAX = MANIFEST_SIZE_MAX,
	COPY_BYTES = 256 * 1024,
};

int layout_explain(const struct layout *layout, int r, const char *name, struct problem *problem)
{
	return problem_set(problem, r, "OCI layout %s: %s: %s", layout->path, name, strerror(-r));
}

struct layout *layout_new(const char *path)
{
	struct layout *layout = calloc(1, sizeof(*layout));

	if (!layout)
		return NULL;
	layout->n_refs = 1;
	layout->dir_fd = layout->stage_fd = -1;
	layout->path = strdup(path);
	if (layout->path)
		return layout;
	free(layout);
	return NULL;
}

struct layout *layout_ref(struct layout *layout)
{
	layout->n_refs++;
	return layout;
}

void layout_close(struct layout *layout)
{
	if (!layout || --layout->n_refs)
		return;
	if (layout->stage_fd >= 0)
		layout_end_writing(layout);
	if (layout->dir_fd >= 0)
		close(layout->dir_fd);
	layout_archive_close(layout->archive);
	free(layout->path);
	free(layout);
}

const char *layout_path(const struct layout *layout)
{
	return layout->path;
}

int layout_read_file(struct layout *layout, const char *name, char **bytes, size_t *len)
{
	if (layout->archive)
		return layout_archive_read(layout->archive, name, DOCUMENT_MAX, bytes, len);
	return read_file_at(layout->dir_fd, name, DOCUMENT_MAX, bytes, len);
}

int layout_check_version(struct layout *layout, struct problem *problem)
{
	cleanup_free char *bytes = NULL;
	cleanup_json json_t *json = NULL;
	const char *version;
	size_t len;
	int r = layout_read_file(layout, "oci-layout", &bytes, &len);

	if (r)
		return problem_set(problem, r,
				   "%s is not an OCI layout: its file 'oci-layout' cannot be "
				   "read (%s)",
				   layout->path, strerror(-r));
	r = json_parse(bytes, len, &json, problem);
	if (r)
		return problem_prefix(problem, r, "%s/oci-layout", layout->path);
	version = json_get_string(json, "imageLayoutVersion");
	if (!version || strncmp(version, "1.", 2))
		return problem_set(problem, -EBADMSG,
				   "%s/oci-layout: imageLayoutVersion is not 1.0.0", layout->path);
	return 0;
}

int layout_open(const char *path, struct layout **out, struct problem *problem)
{
	struct layout *layout = layout_new(path);
	int r;

	if (!layout)
		return -ENOMEM;
	layout->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->dir_fd < 0)
		r = problem_set(problem, -errno, "OCI layout %s: %s", path, strerror(errno));
	else
		r = layout_check_version(layout, problem);
	if (r) {
		layout_close(layout);
		return r;
	}
	*out = layout;
	return 0;
}

int layout_open_archive(const char *path, struct layout **out, struct problem *problem)
{
	struct layout *layout = layout_new(path);
	int r;

	if (!layout)
		return -ENOMEM;
	r = layout_archive_open(path, &layout->archive, problem);
	if (!r)
		r = layout_check_version(layout, problem);
	if (r) {
		layout_close(layout);
		return r;
	}
	*out = layout;
	return 0;
}

int layout_write_file(struct layout *layout, const char *name, const void *bytes, size_t len)
{
	return write_file_durably_at(layout->dir_fd, name, bytes, len, 0644);
}

/* "sha256-HEX" in a stage, "blobs/sha256/HEX" in the layout. */
enum { BLOB_NAME_SIZE = 16 + DIGEST_TEXT_SIZE };

static void blob_name(const struct digest *digest, bool staged, char out[static BLOB_NAME_SIZE])
{
	char hex[DIGEST_TEXT_SIZE];

	snprintf(out, BLOB_NAME_SIZE, staged ? "%s-%s" : "blobs/%s/%s",
		 digest_algorithm_name(digest->algorithm), digest_format_hex(digest, hex));
}

static int open_file(int dirfd, const char *name, struct layout_blob *out)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	out->size_bytes = (uint64_t)st.st_size;
	out->off = 0;
	out->fd = steal_fd(&fd);
	return 0;
}

int layout_open_blob(struct layout *layout, const struct digest *digest, struct layout_blob *out)
{
	char name[BLOB_NAME_SIZE];
	int r;

	blob_name(digest, false, name);
	if (layout->archive)
		return layout_archive_open_member(layout->archive, name, out);
	r = open_file(layout->dir_fd, name, out);
	if (r != -ENOENT || layout->stage_fd < 0)
		return r;
	blob_name(digest, true, name);
	return open_file(layout->stage_fd, name, out);
}

static int copy_bytes(int from, int to, uint64_t size_bytes)
{
	cleanup_free char *piece = NULL;
	off_t off = 0;

	while ((uint64_t)off < size_bytes) {
		ssize_t n = copy_file_range(from, &off, to, NULL, size_bytes - (uint64_t)off, 0);

		if (n > 0)
			continue;
		if (n == 0)
			return -EIO;
		if (errno == EINTR)
			continue;
		if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
			return -errno;
		break;
	}
	if ((uint64_t)off < size_bytes)
		piece = malloc(COPY_BYTES);
	while (piece && (uint64_t)off < size_bytes) {
		uint64_t left = size_bytes - (uint64_t)off;
		ssize_t n = pread(from, piece, left < COPY_BYTES ? left : COPY_BYTES, off);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		r = write_all(to, piece, (size_t)n);
		if (r)
			return r;
		off += n;
	}
	return (uint64_t)off == size_bytes ? 0 : -ENOMEM;
}

/* An unnamed file on our file system needs no copy. Return: 0, or -errno: copy it. */
static int link_unnamed(struct layout *layout, int fd, const char *name)
{
	char path[64];
	struct stat st;

	if (fstat(fd, &st) || st.st_nlink != 0 || fchmod(fd, 0644))
		return -EXDEV;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!linkat(AT_FDCWD, path, layout->stage_fd, name, AT_SYMLINK_FOLLOW))
		return 0;
	return errno == EEXIST ? 0 : -errno;
}

/* Copies from @fd, or from @bytes where that is -1. */
static int stage_copy(struct layout *layout, const char *name, int fd, const void *bytes,
		      uint64_t size_bytes)
{
	char temp[48];
	int to, r;

	snprintf(temp, sizeof(temp), "new-%u", layout->serial++);
	to = openat(layout->stage_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (to < 0)
		return -errno;
	r = fd < 0 ? write_all(to, bytes, (size_t)size_bytes) : copy_bytes(fd, to, size_bytes);
	if (close(to) && !r)
		r = -errno;
	if (!r && renameat(layout->stage_fd, temp, layout->stage_fd, name))
		r = -errno;
	if (r)
		unlinkat(layout->stage_fd, temp, 0);
	return r;
}

int layout_put_blob(struct layout *layout, const struct digest *digest, int fd, uint64_t size_bytes,
		    struct problem *problem)
{
	char name[BLOB_NAME_SIZE];
	int r;

	blob_name(digest, true, name);
	r = link_unnamed(layout, fd, name);
	if (r)
		r = stage_copy(layout, name, fd, NULL, size_bytes);
	return r ? layout_explain(layout, r, name, problem) : 0;
}

int layout_put_bytes(struct layout *layout, const struct digest *digest, const void *bytes,
		     size_t len, struct problem *problem)
{
	char name[BLOB_NAME_SIZE];
	int r;

	blob_name(digest, true, name);
	r = stage_copy(layout, name, -1, bytes, len);
	return r ? layout_explain(layout, r, name, problem) : 0;
}

/* From "sha256-HEX" to "blobs/sha256/HEX". */
static int move_one(struct layout *layout, const char *staged, int dash, struct problem *problem)
{
	char dir[32], name[BLOB_NAME_SIZE + 256];

	snprintf(dir, sizeof(dir), "blobs/%.*s", dash, staged);
	snprintf(name, sizeof(name), "%s/%s", dir, staged + dash + 1);
	if (!renameat(layout->stage_fd, staged, layout->dir_fd, name))
		return 0;
	if (errno == ENOENT && !mkdirat(layout->dir_fd, dir, 0755) &&
	    !renameat(layout->stage_fd, staged, layout->dir_fd, name))
		return 0;
	return layout_explain(layout, -errno, name, problem);
}

/* Everything staged is on disk: give it its name. */
static int move_staged(struct layout *layout, struct problem *problem)
{
	int fd = openat(layout->stage_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (dir && !r && (entry = readdir(dir))) {
		const char *dash = strchr(entry->d_name, '-');

		if (dash && strncmp(entry->d_name, "new-", 4))
			r = move_one(layout, entry->d_name, (int)(dash - entry->d_name), problem);
	}
	return r;
}

int layout_publish(struct layout *layout, const char *tag, const char *media_type,
		   const struct digest *digest, uint64_t size_bytes, struct problem *problem)
{
	cleanup_json json_t *descriptor = NULL;
	int r;

	if (layout->stage_fd < 0)
		return problem_set(problem, -EROFS, "OCI layout %s was opened for reading",
				   layout->path);
	/* One sync for thousands of files; then the names, and those on disk before the tag. */
	if (syncfs(layout->dir_fd))
		return layout_explain(layout, -errno, "sync", problem);
	layout->is_published = true;
	r = move_staged(layout, problem);
	if (r || !tag)
		return r;
	if (syncfs(layout->dir_fd))
		return layout_explain(layout, -errno, "sync", problem);
	descriptor = oci_descriptor_json(media_type, digest, size_bytes);
	if (!descriptor || json_object_set_new(descriptor, "annotations", json_object()))
		return -ENOMEM;
	if (flock(layout->dir_fd, LOCK_EX))
		return layout_explain(layout, -errno, "lock", problem);
	r = layout_index_replace(layout, tag, descriptor, problem);
	flock(layout->dir_fd, LOCK_UN);
	return r;
}
