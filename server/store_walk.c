/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the walk over all blobs: the names in STORE/blobs, read back. Any thread; takes long. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "server/store.h"

struct walk {
	int (*visit)(void *context, const struct blob_entry *entry);
	void *context;
};

/* "<hex>" or "<hex>.zst"; anything else is no blob's name. */
bool store_parse_blob_name(const char *name, enum digest_algorithm algorithm,
			   struct blob_entry *out)
{
	size_t len = strcspn(name, ".");

	out->packed = name[len] != '\0';
	out->name = name;
	return (!out->packed || !strcmp(name + len, ".zst")) &&
	       !digest_parse_hex(algorithm, name, len, &out->digest);
}

static int walk_shard(const struct walk *walk, enum digest_algorithm algorithm, DIR *dir)
{
	struct dirent *file;
	int r = 0;

	while (!r && (file = readdir(dir))) {
		struct blob_entry entry = { .dirfd = dirfd(dir) };
		struct stat st;

		if (!store_parse_blob_name(file->d_name, algorithm, &entry))
			continue;
		if (fstatat(entry.dirfd, entry.name, &st, AT_SYMLINK_NOFOLLOW)) {
			r = errno == ENOENT ? 0 : -errno;
			continue;
		}
		entry.stored_bytes = (uint64_t)st.st_size;
		entry.mtime_s = st.st_mtim.tv_sec;
		entry.is_final = entry.packed || !(st.st_mode & 0004);
		r = walk->visit(walk->context, &entry);
	}
	return r;
}

int store_each_blob(const struct store *store,
		    int (*visit)(void *context, const struct blob_entry *entry), void *context)
{
	struct walk walk = { .visit = visit, .context = context };
	char path[16];
	int r = 0;

	for (unsigned int i = 0; !r && i < 512; i++) {
		enum digest_algorithm algorithm = i < 256 ? DIGEST_SHA256 : DIGEST_SHA512;
		cleanup_closedir DIR *dir = NULL;

		snprintf(path, sizeof(path), "%s/%02x", digest_algorithm_name(algorithm), i % 256);
		r = open_dir_at(store->blobs_fd, path, &dir);
		if (!r)
			r = walk_shard(&walk, algorithm, dir);
	}
	return r;
}
