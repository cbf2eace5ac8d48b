/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns reading and writing of OCI layouts in tar files. A table of names and offsets is made
 * when the file is opened and never changes, so any thread may read.
 */
#include "lib/layout-archive.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/tarstream.h"
#include "lib/tarwrite.h"

enum {
	/* 40 million files fit into manifests of 25,000; a table of this many is 100 MiB. */
	MEMBERS_MAX = 1000 * 1000,
	NAME_MAX_LEN = 200, /* "blobs/sha512/" and 128 digits */
	READ_BYTES = 4096,  /* a header and what is small; data is jumped over */
	COPY_BYTES = 256 * 1024,
};

struct member {
	char *name; /* owned */
	uint64_t off, size_bytes;
};

struct layout_archive {
	char *path; /* owned */
	int fd;	    /* owned */
	struct member *members;
	size_t n_members, max_members;
	struct tarstream *stream; /* owned; only while opening */
};

static int add_member(void *context, const struct tarstream_entry *entry)
{
	struct layout_archive *archive = context;
	const char *name = entry->path;
	struct member *member;

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	if (!entry->plain || strlen(name) > NAME_MAX_LEN)
		return 0;
	if (archive->n_members == archive->max_members) {
		size_t max = archive->max_members ? 2 * archive->max_members : 64;
		struct member *grown;

		if (max > MEMBERS_MAX)
			return -E2BIG;
		grown = realloc(archive->members, max * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		archive->members = grown;
		archive->max_members = max;
	}
	member = &archive->members[archive->n_members];
	member->name = strdup(name);
	if (!member->name)
		return -ENOMEM;
	member->off = tarstream_offset(archive->stream);
	member->size_bytes = entry->size_bytes;
	archive->n_members++;
	return 0;
}

static int ignore(void *context, const void *bytes, size_t len)
{
	(void)context;
	(void)bytes;
	(void)len;
	return 0;
}

static const struct tarstream_handler member_events = {
	.begin = add_member,
	.data = ignore,
	.end = ignore,
	.raw = ignore,
};

static int scan(struct layout_archive *archive, struct problem *problem)
{
	cleanup_free uint8_t *piece = malloc(READ_BYTES);
	off_t off = 0;

	if (!piece)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(archive->fd, piece, READ_BYTES, off);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return problem_set(problem, -errno, "read: %s", strerror(errno));
		if (n == 0)
			return tarstream_finish(archive->stream, problem);
		if (off == 0 && n > 2 &&
		    ((piece[0] == 0x1f && piece[1] == 0x8b) ||
		     (piece[0] == 0x28 && piece[1] == 0xb5)))
			return problem_set(problem, -EBADMSG,
					   "it is compressed; uncompress it first (gzip -d, "
					   "zstd -d): an archive is read with random access");
		r = tarstream_feed(archive->stream, piece, (size_t)n, problem);
		if (r)
			return r;
		off += n + (off_t)tarstream_skip(archive->stream);
	}
}

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int layout_archive_open(const char *path, struct layout_archive **out, struct problem *problem)
{
	struct layout_archive *archive = calloc(1, sizeof(*archive));
	int r;

	if (!archive)
		return -ENOMEM;
	archive->fd = -1;
	archive->path = strdup(path);
	archive->stream = tarstream_new(&member_events, archive);
	if (!archive->path || !archive->stream) {
		layout_archive_close(archive);
		return -ENOMEM;
	}
	archive->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (archive->fd < 0)
		r = problem_set(problem, -errno, "%s", strerror(errno));
	else
		r = scan(archive, problem);
	tarstream_free(steal_ptr(archive->stream));
	if (r) {
		layout_archive_close(archive);
		return problem_prefix(problem, r, "OCI archive %s", path);
	}
	qsort(archive->members, archive->n_members, sizeof(*archive->members), compare_members);
	*out = archive;
	return 0;
}

void layout_archive_close(struct layout_archive *archive)
{
	if (!archive)
		return;
	for (size_t i = 0; i < archive->n_members; i++)
		free(archive->members[i].name);
	if (archive->fd >= 0)
		close(archive->fd);
	tarstream_free(archive->stream);
	free(archive->members);
	free(archive->path);
	free(archive);
}

static const struct member *find(const struct layout_archive *archive, const char *name)
{
	struct member key = { .name = (char *)(uintptr_t)name };

	return archive->n_members ? bsearch(&key, archive->members, archive->n_members,
					    sizeof(*archive->members), compare_members)
				  : NULL;
}

int layout_archive_open_member(const struct layout_archive *archive, const char *name,
			       struct layout_blob *out)
{
	const struct member *member = find(archive, name);
	int fd;

	if (!member)
		return -ENOENT;
	fd = fcntl(archive->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	out->fd = fd;
	out->off = member->off;
	out->size_bytes = member->size_bytes;
	return 0;
}

int layout_archive_read(const struct layout_archive *archive, const char *name, size_t max_bytes,
			char **bytes, size_t *len)
{
	const struct member *member = find(archive, name);
	cleanup_free char *copy = NULL;
	size_t done = 0, size;

	if (!member)
		return -ENOENT;
	if (member->size_bytes > max_bytes)
		return -EFBIG;
	size = (size_t)member->size_bytes;
	copy = malloc(size + 1);
	if (!copy)
		return -ENOMEM;
	while (done < size) {
		ssize_t n =
			pread(archive->fd, copy + done, size - done, (off_t)(member->off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	copy[size] = '\0';
	*len = size;
	*bytes = steal_ptr(copy);
	return 0;
}

/* ---- Writing ---- */

struct output {
	int fd;
	struct problem *problem;
};

static int write_output(void *context, const void *bytes, size_t len)
{
	struct output *output = context;
	int r = write_all(output->fd, bytes, len);

	return r ? problem_set(output->problem, r, "write: %s", strerror(-r)) : 0;
}

static int write_member(int dirfd, const char *name, struct output *output)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	struct tar_new_entry entry = { .path = name, .type = '0', .mode = 0644 };
	cleanup_free char *piece = malloc(COPY_BYTES);
	uint64_t left;
	struct stat st;
	int r;

	if (!piece)
		return -ENOMEM;
	if (fd < 0 || fstat(fd, &st))
		return problem_set(output->problem, -errno, "%s: %s", name, strerror(errno));
	left = entry.size_bytes = (uint64_t)st.st_size;
	r = tarwrite_header(&entry, write_output, output);
	while (!r && left > 0) {
		ssize_t n = read_full(fd, piece, left < COPY_BYTES ? (size_t)left : COPY_BYTES);

		if (n <= 0)
			return problem_set(output->problem, n < 0 ? (int)n : -EIO,
					   "%s: it could not be read whole", name);
		r = write_output(output, piece, (size_t)n);
		left -= (uint64_t)n;
	}
	return r ? r : tarwrite_padding(entry.size_bytes, write_output, output);
}

static int write_dir_entry(const char *path, struct output *output)
{
	struct tar_new_entry entry = { .path = path, .type = '5', .mode = 0755 };

	return tarwrite_header(&entry, write_output, output);
}

static int plain_name(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int write_blobs(int dirfd, const char *dir, struct output *output)
{
	struct dirent **list = NULL;
	int n = scandirat(dirfd, dir, &list, plain_name, by_name), r = 0;

	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		cleanup_free char *name = format_text("%s/%s", dir, list[i]->d_name);

		if (!r)
			r = name ? write_member(dirfd, name, output) : -ENOMEM;
		free(list[i]);
	}
	free(list);
	return r;
}

int layout_write_archive(const char *dir, int fd, struct problem *problem)
{
	static const char *const blob_dirs[] = { "blobs/sha256", "blobs/sha512" };
	cleanup_close int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct output output = { .fd = fd, .problem = problem };
	int r;

	if (dirfd < 0)
		return problem_set(problem, -errno, "%s: %s", dir, strerror(errno));
	r = write_member(dirfd, "oci-layout", &output);
	if (!r)
		r = write_member(dirfd, "index.json", &output);
	if (!r)
		r = write_dir_entry("blobs/", &output);
	for (size_t i = 0; !r && i < ARRAY_SIZE(blob_dirs); i++) {
		if (faccessat(dirfd, blob_dirs[i], F_OK, 0))
			continue;
		r = write_dir_entry(i ? "blobs/sha512/" : "blobs/sha256/", &output);
		if (!r)
			r = write_blobs(dirfd, blob_dirs[i], &output);
	}
	if (!r)
		r = tarwrite_end(write_output, &output);
	return r ? problem_prefix(problem, r, "OCI archive") : 0;
}
