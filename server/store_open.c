/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how blobs are found and read, and the hints in which form to look for them first. */
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "server/store_internal.h"

char *store_shard_path(const struct digest *digest, char out[static SHARD_PATH_SIZE])
{
	const char *end = out + SHARD_PATH_SIZE;
	const char shard[] = { '/', "0123456789abcdef"[digest->bytes[0] >> 4],
			       "0123456789abcdef"[digest->bytes[0] & 15], '\0' };

	return text_append(text_append(out, end, digest_algorithm_name(digest->algorithm)), end,
			   shard);
}

void store_blob_path(const struct digest *digest, bool packed, char out[static BLOB_PATH_SIZE])
{
	const char *end = out + BLOB_PATH_SIZE;
	char hex[DIGEST_TEXT_SIZE], *p = text_append(store_shard_path(digest, out), end, "/");

	p = text_append(p, end, digest_format_hex(digest, hex));
	text_append(p, end, packed ? STORE_PACKED_SUFFIX : "");
}

/* In its shard, where that is kept open: one name is found faster than a path. */
static int open_file(const struct store *store, const struct digest *digest, bool packed, int flags)
{
	char path[BLOB_PATH_SIZE];
	int shard = -1, fd;

	store_blob_path(digest, packed, path);
	if (store->shard_fds && digest->algorithm == DIGEST_SHA256)
		shard = store->shard_fds[digest->bytes[0]];
	if (shard < 0)
		return store_openat(store->blobs_fd, path, flags, 0);
	fd = openat(shard, strrchr(path, '/') + 1, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int store_open_form(const struct store *store, const struct digest *digest, bool packed,
		    struct blob *out)
{
	struct blob blob = { .digest = *digest, .packed = packed };
	struct stat st;
	int r = 0;

	/* When content was read last is of use to nobody: it would be written for each pull. */
	blob.fd = open_file(store, digest, packed, O_RDONLY | O_NOFOLLOW | O_NOATIME);
	if (blob.fd == -EPERM) /* another user's file */
		blob.fd = open_file(store, digest, packed, O_RDONLY | O_NOFOLLOW);
	if (blob.fd < 0)
		return blob.fd;
	if (fstat(blob.fd, &st))
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EBADMSG;
	blob.size_bytes = blob.stored_bytes = (uint64_t)st.st_size;
	blob.version = (uint64_t)st.st_ino ^ (uint64_t)st.st_ctim.tv_sec << 32 ^
		       (uint64_t)st.st_ctim.tv_nsec << 20;
	if (!r && packed) {
		r = pack_stat(blob.fd, blob.stored_bytes, &blob.pack);
		blob.size_bytes = blob.pack.size_bytes;
	}
	if (r) {
		blob_close(&blob);
		return r;
	}
	*out = blob;
	return 0;
}

/* Where a hint is that this blob is packed: looking for the other form first would be in vain. */
static atomic_uchar *packed_hint(const struct store *store, const struct digest *digest,
				 unsigned char *value)
{
	const unsigned char *b = digest->bytes;
	uint32_t i = (uint32_t)b[4] << 16 | (uint32_t)b[5] << 8 | b[6];

	*value = b[7] | 1; /* 0: no hint */
	return &store->packed_hints[i % STORE_FORM_HINTS];
}

int store_open_blob(const struct store *store, const struct digest *digest, struct blob *out)
{
	unsigned char value;
	atomic_uchar *hint = packed_hint(store, digest, &value);
	bool hinted = *hint == value;
	int r = -ENOENT;

	if (hinted)
		r = store_open_form(store, digest, true, out);
	if (r == -ENOENT)
		r = store_open_form(store, digest, false, out);
	else
		return r;
	/* Packing puts the new form there before it takes the old one away. */
	if (r == -ENOENT)
		r = store_open_form(store, digest, true, out);
	else if (hinted && !r)
		*hint = 0;
	if (!r && out->packed && !hinted)
		*hint = value;
	return r;
}

int store_has_blob(const struct store *store, const struct digest *digest)
{
	char path[BLOB_PATH_SIZE];
	int r;

	store_blob_path(digest, false, path);
	r = store_exists(store->blobs_fd, path);
	if (r)
		return r;
	store_blob_path(digest, true, path);
	return store_exists(store->blobs_fd, path);
}

int blob_read_all(const struct blob *blob, size_t max, char **out)
{
	cleanup_free char *bytes = NULL;
	ssize_t n;
	int r;

	if (blob->size_bytes > max)
		return -EFBIG;
	bytes = malloc(blob->size_bytes + 1);
	if (!bytes)
		return -ENOMEM;
	if (blob->packed) {
		r = unpack_all(blob->fd, &blob->pack, bytes);
		if (r)
			return r;
	} else {
		n = pread_full(blob->fd, bytes, blob->size_bytes, 0);
		if (n < 0 || (uint64_t)n != blob->size_bytes)
			return n < 0 ? (int)n : -EBADMSG;
	}
	bytes[blob->size_bytes] = '\0';
	*out = steal_ptr(bytes);
	return 0;
}
