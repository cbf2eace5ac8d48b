/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what becomes of a blob that is not what its name says: it goes to the quarantine, so that
 * it is answered as missing, and the next push, or the one that found it, makes it whole. What
 * is judged is a file, not a name: one that was made whole meanwhile stays. Any thread; blocks
 * for the disk.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "server/quarantine.h"
#include "server/store.h"

enum { TRIES = 10, SHARD_SIZE = 16, NAME_SIZE = DIGEST_TEXT_SIZE + 8 };
enum { COMPARE_MAX = 1024 * 1024 }; /* more would make a push that changes nothing slow */

static void make_name(const struct digest *digest, bool packed, char out[static NAME_SIZE])
{
	char hex[DIGEST_TEXT_SIZE];

	snprintf(out, NAME_SIZE, "%s%s", digest_format_hex(digest, hex),
		 packed ? STORE_PACKED_SUFFIX : "");
}

static int open_shard(const struct store *store, const struct digest *digest)
{
	char path[SHARD_SIZE];

	snprintf(path, sizeof(path), "%s/%02x", digest_algorithm_name(digest->algorithm),
		 digest->bytes[0]);
	return store_openat(store->blobs_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

/* Return: 0; -ENOENT: @fd is not what lies there any more; -errno. */
static int set_aside(struct store *store, const struct digest *digest, bool packed, int fd)
{
	char name[NAME_SIZE];
	cleanup_close int shard = open_shard(store, digest);
	struct stat judged, there;
	int r = 0;

	if (shard < 0)
		return shard;
	make_name(digest, packed, name);
	store_lock_blob(store, digest);
	if (fstat(fd, &judged) || fstatat(shard, name, &there, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	else if (judged.st_ino != there.st_ino || judged.st_dev != there.st_dev)
		r = -ENOENT;
	if (!r)
		r = quarantine_move(store, shard, name, name);
	store_unlock_blob(store, digest);
	return r;
}

/* The form that is served; unlike store_open_blob() also when it is no blob. */
static int open_served(const struct store *store, const struct digest *digest, bool *packed)
{
	char name[NAME_SIZE];
	cleanup_close int shard = open_shard(store, digest);
	int fd;

	if (shard < 0)
		return shard;
	make_name(digest, false, name);
	fd = store_openat(shard, name, O_RDONLY | O_NOFOLLOW, 0);
	*packed = fd == -ENOENT;
	if (*packed) {
		make_name(digest, true, name);
		fd = store_openat(shard, name, O_RDONLY | O_NOFOLLOW, 0);
	}
	return fd;
}

/* Return: 0: it is what is published; -EBADMSG, -EIO: it is not. */
static int compare(int fd, bool packed, const void *bytes, uint64_t size_bytes)
{
	struct blob blob = { .fd = fd, .packed = packed };
	cleanup_free char *there = NULL;
	struct stat st;
	int r = 0;

	if (fstat(fd, &st))
		return -errno;
	blob.size_bytes = (uint64_t)st.st_size;
	if (packed) {
		r = pack_stat(fd, (uint64_t)st.st_size, &blob.pack);
		blob.size_bytes = blob.pack.size_bytes;
	}
	if (!r && blob.size_bytes != size_bytes)
		r = -EBADMSG;
	if (!r && bytes)
		r = blob_read_all(&blob, size_bytes, &there);
	if (!r && bytes && memcmp(there, bytes, size_bytes) != 0)
		r = -EBADMSG;
	return r;
}

int store_keep_blob(struct store *store, const struct digest *digest, const void *bytes,
		    uint64_t size_bytes)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < TRIES; i++) {
		cleanup_close int fd = -1;
		bool packed;

		r = store_renew_blob(store, digest);
		if (r)
			return r;
		fd = open_served(store, digest, &packed);
		r = fd < 0 ? fd : compare(fd, packed, bytes, size_bytes);
		if (!r)
			return 0;
		if (fd >= 0 && (r == -EBADMSG || r == -EIO))
			r = set_aside(store, digest, packed, fd);
		if (r == -ENOENT) /* gone, or another one by now */
			r = 0;
	}
	return r ? r : -EBUSY;
}

int store_keep_file(struct store *store, const struct digest *digest, int fd)
{
	cleanup_free char *bytes = NULL;
	uint64_t size_bytes;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	size_bytes = (uint64_t)st.st_size;
	if (size_bytes > COMPARE_MAX)
		return store_keep_blob(store, digest, NULL, size_bytes);
	bytes = malloc(size_bytes + 1);
	if (!bytes)
		return -ENOMEM;
	n = pread_full(fd, bytes, size_bytes, 0);
	if (n < 0 || (uint64_t)n != size_bytes)
		return n < 0 ? (int)n : -EIO;
	return store_keep_blob(store, digest, bytes, size_bytes);
}

static int hash_packed(int fd, enum digest_algorithm algorithm, struct digest *found)
{
	struct blob blob = { .fd = fd, .packed = true };
	cleanup_free char *bytes = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -errno;
	r = pack_stat(fd, (uint64_t)st.st_size, &blob.pack);
	if (r)
		return r;
	blob.size_bytes = blob.pack.size_bytes;
	if (blob.size_bytes > COMPARE_MAX)
		return -EFBIG;
	r = blob_read_all(&blob, blob.size_bytes, &bytes);
	return r ? r : digest_compute(algorithm, bytes, blob.size_bytes, found);
}

int store_distrust_blob(struct store *store, const struct digest *digest)
{
	cleanup_close int fd = -1;
	struct digest found;
	uint64_t size_bytes;
	bool packed;
	int r;

	fd = open_served(store, digest, &packed);
	if (fd < 0)
		return fd;
	r = packed ? hash_packed(fd, digest->algorithm, &found)
		   : digest_compute_fd(digest->algorithm, fd, &found, &size_bytes);
	if (r == -EFBIG || (!r && digest_equal(&found, digest)))
		return 0;
	if (!r || r == -EIO || r == -EBADMSG)
		r = set_aside(store, digest, packed, fd);
	return r ? r : -EBADMSG;
}
