/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns STORE/blobs: content gets its name only after it was checked and synced, by linkat,
 * which never replaces a name. When somebody else was faster the name is good, but perhaps
 * not yet on disk; so every publisher syncs the directory before it says yes.
 */
#include "server/store.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
	SHARD_PATH_SIZE = 16, /* "sha256/ab" */
	BLOB_PATH_SIZE = 16 + DIGEST_TEXT_SIZE,
};

static void shard_path(const struct digest *digest, char out[static SHARD_PATH_SIZE])
{
	snprintf(out, SHARD_PATH_SIZE, "%s/%02x", digest_algorithm_name(digest->algorithm),
		 digest->bytes[0]);
}

static void blob_path(const struct digest *digest, char out[static BLOB_PATH_SIZE])
{
	char hex[DIGEST_TEXT_SIZE];

	snprintf(out, BLOB_PATH_SIZE, "%s/%02x/%s", digest_algorithm_name(digest->algorithm),
		 digest->bytes[0], digest_format_hex(digest, hex));
}

int store_open_blob(const struct store *store, const struct digest *digest, uint64_t *size_bytes)
{
	char path[BLOB_PATH_SIZE];
	struct stat st;
	int fd;

	blob_path(digest, path);
	fd = store_openat(store->blobs_fd, path, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EIO;
	}
	*size_bytes = (uint64_t)st.st_size;
	return fd;
}

bool store_has_room(const struct store *store, uint64_t size_bytes)
{
	struct statvfs fs;

	return fstatvfs(store->root_fd, &fs) || size_bytes / fs.f_frsize < fs.f_bfree;
}

int store_temp_create(struct store *store, struct store_temp *out)
{
	static atomic_uint serial;
	int fd;

	out->name[0] = '\0';
	if (!store->no_tmpfile) {
		fd = store_openat(store->blobs_fd, ".", O_TMPFILE | O_RDWR, 0444);
	} else {
		snprintf(out->name, sizeof(out->name), "tmp-%d-%u", (int)getpid(), serial++);
		fd = store_openat(store->uploads_fd, out->name, O_RDWR | O_CREAT | O_EXCL, 0444);
	}
	out->fd = fd;
	return fd < 0 ? fd : 0;
}

void store_temp_discard(struct store *store, struct store_temp *temp)
{
	if (temp->fd >= 0)
		close(temp->fd);
	if (temp->fd >= 0 && temp->name[0])
		unlinkat(store->uploads_fd, temp->name, 0);
	temp->fd = -1;
}

static int link_blob(struct store *store, const struct store_temp *temp,
		     const struct digest *digest)
{
	char path[BLOB_PATH_SIZE], proc[64];
	int r;

	blob_path(digest, path);
	if (temp->name[0]) {
		r = linkat(store->uploads_fd, temp->name, store->blobs_fd, path, 0);
	} else {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", temp->fd);
		r = linkat(AT_FDCWD, proc, store->blobs_fd, path, AT_SYMLINK_FOLLOW);
	}
	return r && errno != EEXIST ? -errno : 0;
}

int store_publish_blob(struct store *store, struct store_temp *temp, const struct digest *digest)
{
	char shard[SHARD_PATH_SIZE];
	int r = 0;

	if (fchmod(temp->fd, 0444) || fsync(temp->fd))
		r = -errno;
	if (!r)
		r = link_blob(store, temp, digest);
	if (close(steal_fd(&temp->fd)) && !r)
		r = -errno;
	if (temp->name[0])
		unlinkat(store->uploads_fd, temp->name, 0);
	if (r)
		return r;
	shard_path(digest, shard);
	return store_sync_dir(store->blobs_fd, shard);
}

int store_publish_bytes(struct store *store, const struct digest *digest, const void *bytes,
			size_t len)
{
	char shard[SHARD_PATH_SIZE];
	struct store_temp temp;
	uint64_t size_bytes;
	int fd = store_open_blob(store, digest, &size_bytes), r;

	if (fd >= 0) {
		close(fd);
		shard_path(digest, shard);
		return store_sync_dir(store->blobs_fd, shard);
	}
	r = store_temp_create(store, &temp);
	if (r)
		return r;
	r = write_all(temp.fd, bytes, len);
	if (r) {
		store_temp_discard(store, &temp);
		return r;
	}
	return store_publish_blob(store, &temp, digest);
}
