/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the check of STORE/blobs: each file is what its name says, in whichever form. A file
 * that is not goes out of the way; where the other form is good, that one is then served.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "server/fsck-internal.h"

enum {
	PIECE = 256 * 1024,
	LOOKS = 4, /* at a name whose file is another one each time */
};

/* The modes store_blob.c gives. */
static bool mode_is_right(mode_t mode)
{
	return (mode & 07777) == 0444 || (mode & 07777) == 0440;
}

static int hash_plain(struct fsck *fsck, int fd, char *piece, struct hasher *hasher)
{
	off_t off = 0;
	ssize_t n;
	int r = 0;

	while (!r && (n = pread_full(fd, piece, PIECE, (uint64_t)off)) != 0) {
		if (n < 0)
			return (int)n;
		hasher_update(hasher, piece, (size_t)n);
		fsck->report->n_bytes += (uint64_t)n;
		off += n;
		r = fsck_tick(fsck, "blobs", fsck->report->n_blobs);
	}
	return r;
}

static int hash_packed(struct fsck *fsck, int fd, uint64_t file_bytes, char *piece,
		       struct hasher *hasher)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	struct pack_info info;
	uint64_t before = fsck->report->n_bytes, done = 0;
	int r = pack_stat(fd, file_bytes, &info);
	ssize_t n;

	if (!r)
		r = unpacker_new(fd, &info, 0, &unpacker);
	while (!r && (n = unpacker_read(unpacker, piece, PIECE)) != 0) {
		if (n < 0)
			return (int)n;
		hasher_update(hasher, piece, (size_t)n);
		done += (uint64_t)n;
		/* What was read of the file, near enough. */
		fsck->report->n_bytes = before + (uint64_t)((double)file_bytes * (double)done /
							    (double)info.size_bytes);
		r = fsck_tick(fsck, "blobs", fsck->report->n_blobs);
	}
	return r;
}

/* Return: 0; -EBADMSG: it is not what its name says; -EIO: the disk does not give it; -errno. */
static int check_content(struct fsck *fsck, const struct blob_entry *entry, int fd)
{
	cleanup_hasher struct hasher *hasher = hasher_new(entry->digest.algorithm);
	cleanup_free char *piece = malloc(PIECE);
	struct digest found;
	int r;

	if (!hasher || !piece)
		return -ENOMEM;
	r = entry->packed ? hash_packed(fsck, fd, entry->stored_bytes, piece, hasher)
			  : hash_plain(fsck, fd, piece, hasher);
	if (r)
		return r;
	hasher_final(hasher, &found);
	return digest_equal(&found, &entry->digest) ? 0 : -EBADMSG;
}

/* Without reading contents: what a power cut or a full disk leaves. */
static int check_shape(const struct blob_entry *entry, int fd)
{
	struct pack_info info;
	struct digest empty;
	int r;

	if (entry->packed)
		return pack_stat(fd, entry->stored_bytes, &info);
	if (entry->stored_bytes)
		return 0;
	r = digest_compute(entry->digest.algorithm, "", 0, &empty);
	return r ? r : digest_equal(&empty, &entry->digest) ? 0 : -EBADMSG;
}

static int bad(struct fsck *fsck, const struct blob_entry *entry, const char *kind,
	       const char *text)
{
	int r = fsck_quarantine(fsck, entry->dirfd, entry->name, entry->name);

	return r == -ENOENT ? 0 : fsck_found(fsck, kind, NULL, entry->name, r, text);
}

int fsck_bad_blob(struct fsck *fsck, const struct blob_entry *entry, const struct stat *checked,
		  const char *kind, const char *text)
{
	struct stat st;
	int r;

	store_lock_blob(fsck->store, &entry->digest);
	if (fstatat(entry->dirfd, entry->name, &st, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	else if (st.st_dev != checked->st_dev || st.st_ino != checked->st_ino)
		r = -ESTALE;
	else
		r = fsck_quarantine(fsck, entry->dirfd, entry->name, entry->name);
	store_unlock_blob(fsck->store, &entry->digest);
	if (r == -ENOENT || r == -ESTALE)
		return r == -ENOENT ? 0 : r;
	return fsck_found(fsck, kind, NULL, entry->name, r, text);
}

static int check_mode(struct fsck *fsck, const struct blob_entry *entry, int fd, mode_t mode)
{
	int r = -EAGAIN;

	if (mode_is_right(mode))
		return 0;
	if (fsck->options->repair)
		r = fchmod(fd, 0444) ? -errno : 0;
	return fsck_found(fsck, "mode", NULL, entry->name, r,
			  "the file's mode is not what this program gives: somebody else changed "
			  "it, and may have changed more");
}

/* What a disk does not give it may give the second time; what goes to quarantine had better be
 * lost. */
static int read_blob(struct fsck *fsck, const struct blob_entry *entry, int fd)
{
	int r;

	if (fsck->options->quick)
		return check_shape(entry, fd);
	r = check_content(fsck, entry, fd);
	return r == -EIO ? check_content(fsck, entry, fd) : r;
}

static int look_at_blob(struct fsck *fsck, struct blob_entry *entry, struct stat *st)
{
	cleanup_close int fd = store_openat(entry->dirfd, entry->name, O_RDONLY | O_NOFOLLOW, 0);
	int r;

	if (fd == -ENOENT)
		return 0;
	if (fd >= 0 && fstat(fd, st))
		return -errno;
	entry->stored_bytes = (uint64_t)st->st_size;
	r = fd >= 0 ? read_blob(fsck, entry, fd) : fd;
	if (r == -EBADMSG)
		return fsck_bad_blob(fsck, entry, st, "bad-content",
				     "the file does not hold what its name says; push it again");
	if (r == -EIO)
		return fsck_bad_blob(fsck, entry, st, "unreadable",
				     "the disk does not give the file; push it again, and look at "
				     "the disk");
	if (r || fsck->contents_only)
		return r;
	return check_mode(fsck, entry, fd, st->st_mode);
}

/* @st: of the name. Meanwhile the file may go, and another one come that is good. */
static int check_blob(struct fsck *fsck, struct blob_entry *entry, struct stat *st)
{
	int r = -ESTALE;

	fsck->report->n_blobs++;
	for (unsigned int i = 0; r == -ESTALE && i < LOOKS; i++)
		r = look_at_blob(fsck, entry, st);
	return r == -ESTALE ? 0 : r; /* a name that busy is in use, and the next check's */
}

static int check_file(struct fsck *fsck, enum digest_algorithm algorithm, unsigned int shard,
		      int dirfd, const char *name)
{
	struct blob_entry entry = { .dirfd = dirfd, .name = name };
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!store_parse_blob_name(name, algorithm, &entry)) {
		if (fsck->contents_only)
			return 0;
		entry.name = name;
		return bad(fsck, &entry, "stray", "no blob is named like this");
	}
	if (fsck->contents_only && (!S_ISREG(st.st_mode) || entry.digest.bytes[0] != shard))
		return 0;
	if (!S_ISREG(st.st_mode))
		return bad(fsck, &entry, "wrong-type", "a blob is a plain file, and this is none");
	if (entry.digest.bytes[0] != shard)
		return bad(fsck, &entry, "misplaced",
			   "the blob lies in a directory where no request looks for it");
	return check_blob(fsck, &entry, &st);
}

static int check_shard(struct fsck *fsck, enum digest_algorithm algorithm, unsigned int shard)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *file;
	char path[16];
	int r;

	snprintf(path, sizeof(path), "%s/%02x", digest_algorithm_name(algorithm), shard);
	r = open_dir_at(fsck->store->blobs_fd, path, &dir);
	while (!r && !(r = next_entry(dir, &file)) && file) {
		if (!strcmp(file->d_name, ".") || !strcmp(file->d_name, ".."))
			continue;
		r = fsck_tick(fsck, "blobs", fsck->report->n_blobs);
		if (!r)
			r = check_file(fsck, algorithm, shard, dirfd(dir), file->d_name);
	}
	return r;
}

int fsck_shard(struct fsck *fsck, unsigned int shard)
{
	return check_shard(fsck, shard < 256 ? DIGEST_SHA256 : DIGEST_SHA512, shard % 256);
}

int fsck_blobs(struct fsck *fsck)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < FSCK_SHARDS; i++)
		r = fsck_shard(fsck, i);
	return r;
}
