/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns STORE/blobs: content gets its name only after it was checked and synced, by linkat,
 * which never replaces a name. When somebody else was faster the name is good, but perhaps
 * not yet on disk; so every publisher syncs the directory before it says yes.
 */
#include "server/store_internal.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/*
 * The mode of a blob's file says whether packing was tried: what stays in its form is not
 * looked at again by a later walk over the store.
 */
enum { MODE_AS_IT_CAME = 0444, MODE_FINAL = 0440, LINK_TRIES = 10 };

bool store_has_room(const struct store *store, uint64_t size_bytes)
{
	uint64_t left = store->min_free_bytes, free_bytes;
	struct statvfs fs;

	if (fstatvfs(store->root_fd, &fs))
		return true;
	if (left > (uint64_t)fs.f_blocks * fs.f_frsize / 20)
		left = (uint64_t)fs.f_blocks * fs.f_frsize / 20;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return free_bytes > left && size_bytes <= free_bytes - left;
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
		     const struct digest *digest, bool packed)
{
	char path[BLOB_PATH_SIZE], proc[64];
	int r;

	store_blob_path(digest, packed, path);
	if (temp->name[0]) {
		r = linkat(store->uploads_fd, temp->name, store->blobs_fd, path, 0);
	} else {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", temp->fd);
		r = linkat(AT_FDCWD, proc, store->blobs_fd, path, AT_SYMLINK_FOLLOW);
	}
	return r ? -errno : 0;
}

static int sync_shard(struct store *store, const struct digest *digest)
{
	char shard[SHARD_PATH_SIZE];

	store_shard_path(digest, shard);
	return store_sync_dir(store->blobs_fd, shard);
}

int store_sync_blob(struct store *store, const struct digest *digest)
{
	return sync_shard(store, digest);
}

static pthread_mutex_t *blob_lock(struct store *store, const struct digest *digest)
{
	return &store->blob_locks[digest->bytes[1] % ARRAY_SIZE(store->blob_locks)];
}

void store_lock_blob(struct store *store, const struct digest *digest)
{
	pthread_mutex_lock(blob_lock(store, digest));
}

void store_unlock_blob(struct store *store, const struct digest *digest)
{
	pthread_mutex_unlock(blob_lock(store, digest));
}

/* Under the blob's lock. */
static int renew_form(struct store *store, const struct digest *digest, bool packed)
{
	char path[BLOB_PATH_SIZE];
	struct stat st;

	store_blob_path(digest, packed, path);
	if (fstatat(store->blobs_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (store_now() - st.st_mtim.tv_sec < store->lease_s / 2)
		return 0;
	return utimensat(store->blobs_fd, path, NULL, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int store_renew_blob(struct store *store, const struct digest *digest)
{
	int r;

	store_lock_blob(store, digest);
	r = renew_form(store, digest, false);
	if (r == -ENOENT)
		r = renew_form(store, digest, true);
	store_unlock_blob(store, digest);
	return r;
}

/* Content that another publisher was faster with is as good, if it stays, and is the same. */
static int link_or_renew(struct store *store, const struct store_temp *temp,
			 const struct digest *digest)
{
	int r;

	for (unsigned int i = 0; i < LINK_TRIES; i++) {
		r = link_blob(store, temp, digest, false);
		if (r != -EEXIST)
			return r;
		r = store_keep_file(store, digest, temp->fd);
		if (r != -ENOENT) /* else it was collected between the two, or is in quarantine */
			return r;
	}
	return -EBUSY;
}

/* On disk, under no name yet. */
static int settle(struct store_temp *temp, mode_t mode)
{
	/* Its lease begins now, however long ago the last byte came. */
	return fchmod(temp->fd, mode) || futimens(temp->fd, NULL) || fsync(temp->fd) ? -errno : 0;
}

static int end_temp(struct store *store, struct store_temp *temp, int r)
{
	if (close(steal_fd(&temp->fd)) && !r)
		r = -errno;
	if (temp->name[0])
		unlinkat(store->uploads_fd, temp->name, 0);
	return r;
}

int store_publish_blob(struct store *store, struct store_temp *temp, const struct digest *digest)
{
	int r = settle(temp, MODE_AS_IT_CAME);

	if (!r)
		r = link_or_renew(store, temp, digest);
	r = end_temp(store, temp, r);
	return r ? r : sync_shard(store, digest);
}

static int publish_memory(struct store *store, const struct digest *digest, const void *bytes,
			  size_t len, bool packed, mode_t mode)
{
	struct store_temp temp;
	int r = store_temp_create(store, &temp);

	if (r)
		return r;
	r = write_all(temp.fd, bytes, len);
	if (r) {
		store_temp_discard(store, &temp);
		return r;
	}
	r = settle(&temp, mode);
	if (!r && packed)
		r = link_blob(store, &temp, digest, true);
	else if (!r)
		r = link_or_renew(store, &temp, digest);
	if (r == -EEXIST) /* packed by another one a moment ago: its lease is new */
		r = 0;
	r = end_temp(store, &temp, r);
	return r ? r : sync_shard(store, digest);
}

int store_publish_bytes(struct store *store, const struct digest *digest, const void *bytes,
			size_t len)
{
	if (!store_keep_blob(store, digest, bytes, len))
		return sync_shard(store, digest);
	return publish_memory(store, digest, bytes, len, false, MODE_FINAL);
}

int store_publish_content(struct store *store, const struct digest *digest, const void *bytes,
			  size_t len)
{
	cleanup_free void *packed = NULL;
	size_t packed_len;
	int r;

	if (!store_keep_blob(store, digest, bytes, len))
		return sync_shard(store, digest);
	r = store->compress ? pack_bytes(bytes, len, &packed, &packed_len) : -ENOTSUP;
	if (!r)
		return publish_memory(store, digest, packed, packed_len, true, MODE_FINAL);
	/* Without memory it may still be stored as it is. */
	return publish_memory(store, digest, bytes, len, false,
			      r == -ENOTSUP && store->compress ? MODE_FINAL : MODE_AS_IT_CAME);
}

/* Under the blob's lock. Return: as store_remove_blob(). */
static int check_form(struct store *store, const struct digest *digest, bool packed,
		      int64_t before_s, uint64_t *bytes)
{
	char path[BLOB_PATH_SIZE];
	struct stat st;

	store_blob_path(digest, packed, path);
	if (fstatat(store->blobs_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	*bytes += (uint64_t)st.st_size;
	return st.st_mtim.tv_sec < before_s ? 0 : -EBUSY;
}

static int unlink_form(struct store *store, const struct digest *digest, bool packed)
{
	char path[BLOB_PATH_SIZE];

	store_blob_path(digest, packed, path);
	return unlinkat(store->blobs_fd, path, 0) ? -errno : 0;
}

/* Under the blob's lock. */
static int remove_forms(struct store *store, const struct digest *digest, int64_t before_s,
			uint64_t *bytes)
{
	int plain = check_form(store, digest, false, before_s, bytes);
	int packed = check_form(store, digest, true, before_s, bytes);

	if (plain && plain != -ENOENT)
		return plain;
	if (packed && (packed != -ENOENT || plain))
		return packed;
	if (!plain)
		plain = unlink_form(store, digest, false);
	if (!packed)
		packed = unlink_form(store, digest, true);
	if (plain && plain != -ENOENT)
		return plain;
	return packed != -ENOENT ? packed : 0;
}

uint32_t store_removals(const struct store *store, const struct digest *digest)
{
	return store->removals[digest->bytes[3] % STORE_REMOVAL_COUNTS];
}

void store_note_removal(struct store *store, const struct digest *digest)
{
	store->removals[digest->bytes[3] % STORE_REMOVAL_COUNTS]++;
}

int store_remove_blob(struct store *store, const struct digest *digest, int64_t before_s,
		      uint64_t *bytes)
{
	uint64_t freed = 0;
	int r;

	store_lock_blob(store, digest);
	r = remove_forms(store, digest, before_s, &freed);
	store_unlock_blob(store, digest);
	if (r)
		return r;
	store_note_removal(store, digest);
	if (bytes)
		*bytes = freed;
	return sync_shard(store, digest);
}

/* Does what a temporary file holds come back as the content of @digest? */
static int check_packed(int fd, uint64_t file_bytes, const struct digest *digest)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	cleanup_hasher struct hasher *hasher = hasher_new(digest->algorithm);
	cleanup_free char *piece = malloc(PACK_FRAME);
	struct pack_info info;
	struct digest found;
	ssize_t n;
	int r = pack_stat(fd, file_bytes, &info);

	if (!hasher || !piece)
		return -ENOMEM;
	if (!r)
		r = unpacker_new(fd, &info, 0, &unpacker);
	if (r)
		return r;
	while ((n = unpacker_read(unpacker, piece, PACK_FRAME)) > 0)
		hasher_update(hasher, piece, (size_t)n);
	if (n < 0)
		return (int)n;
	hasher_final(hasher, &found);
	return digest_equal(&found, digest) ? 0 : -EBADMSG;
}

/* @name: of its own, in uploads/, where the next start removes what a crash leaves. */
static int name_temp(struct store *store, const struct store_temp *temp, char name[static 40])
{
	static atomic_uint serial;
	char proc[64];
	int r = -EEXIST;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", temp->fd);
	for (unsigned int i = 0; r == -EEXIST && i < LINK_TRIES; i++) {
		snprintf(name, 40, "tmp-packed-%d-%u", (int)getpid(), serial++);
		r = linkat(AT_FDCWD, proc, store->uploads_fd, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	}
	return r;
}

/*
 * Ours takes the place of a packed form from before, which may be damaged, and whose lease may be
 * over: the content was pushed again since.
 */
static int replace_packed(struct store *store, struct store_temp *temp, const struct digest *digest)
{
	char path[BLOB_PATH_SIZE];
	int r = temp->name[0] ? 0 : name_temp(store, temp, temp->name);

	if (r) {
		temp->name[0] = '\0';
		return r;
	}
	store_blob_path(digest, true, path);
	if (renameat(store->uploads_fd, temp->name, store->blobs_fd, path))
		return -errno;
	temp->name[0] = '\0';
	store_note_removal(store, digest); /* nobody may have the old one's bytes from memory */
	return 0;
}

/* Under the blob's lock: one form gives way to the other, unless it went meanwhile. */
static int replace_form(struct store *store, struct store_temp *temp, const struct digest *digest)
{
	char path[BLOB_PATH_SIZE];
	struct stat st;
	int r;

	store_blob_path(digest, false, path);
	if (fstatat(store->blobs_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	r = link_blob(store, temp, digest, true);
	if (r == -EEXIST)
		r = replace_packed(store, temp, digest);
	if (!r)
		r = sync_shard(store, digest);
	return r ? r : unlink_form(store, digest, false);
}

int store_pack_blob(struct store *store, const struct digest *digest, const atomic_bool *stop)
{
	cleanup_blob struct blob blob = { .fd = -1 };
	struct store_temp temp = { .fd = -1 };
	uint64_t packed_bytes;
	int r = store_open_form(store, digest, false, &blob);

	/* Both forms are there for a while: what uploads must leave is left by this, too. */
	if (!r && !store_has_room(store, blob.size_bytes))
		r = -ENOSPC;
	if (!r)
		r = store_temp_create(store, &temp);
	if (!r)
		r = pack_fd(blob.fd, blob.size_bytes, temp.fd, stop, &packed_bytes);
	if (!r)
		r = check_packed(temp.fd, packed_bytes, digest);
	if (!r)
		r = settle(&temp, MODE_FINAL);
	if (!r) {
		store_lock_blob(store, digest);
		r = replace_form(store, &temp, digest);
		store_unlock_blob(store, digest);
	}
	store_temp_discard(store, &temp);
	if (r == -ENOTSUP && fchmod(blob.fd, MODE_FINAL))
		return -errno;
	return r;
}
