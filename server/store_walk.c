/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the walks over all that is there: the names in STORE/blobs and in repositories, read back.
 * A walk that could not read a directory to its end says so: who takes what it did not see for
 * garbage must hear of it. Any thread; takes long.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/reference.h"
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

	while (!r && !(r = next_entry(dir, &file)) && file) {
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

/* With any of its directories: what is in the others counts, also when one was lost. */
static int is_repository(const struct store *store, const char *directory)
{
	static const char *const kinds[] = { "_tags", "_manifests", "_layers" };
	char path[REPOSITORY_MAX + 16];
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, kinds[i]);
		r = store_exists(store->repositories_fd, path);
	}
	return r;
}

static int visit_directory(const struct store *store, const char *directory,
			   int (*visit)(void *context, const char *name), void *context)
{
	char name[REPOSITORY_MAX + 1];
	size_t len = strlen(directory);
	int r;

	if (len > REPOSITORY_MAX)
		return 0;
	for (size_t i = 0; i <= len; i++)
		name[i] = directory[i] == '+' ? '/' : directory[i];
	if (!repository_is_valid(name, len))
		return 0;
	r = is_repository(store, directory);
	return r > 0 ? visit(context, name) : r;
}

int store_each_repository(const struct store *store, int (*visit)(void *context, const char *name),
			  void *context)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(store->repositories_fd, ".", &dir);

	while (!r && !(r = next_entry(dir, &entry)) && entry)
		r = visit_directory(store, entry->d_name, visit, context);
	return r;
}

/* Brings it into the form that @visit gets. */
static bool is_name(char *name, enum store_kind kind)
{
	size_t len = strlen(name);
	struct digest digest;

	if (kind == STORE_TAGS)
		return name[0] != '.' && tag_is_valid(name, len);
	if (len < 7 || name[6] != '-')
		return false;
	name[6] = ':';
	return !digest_parse(name, len, &digest);
}

int store_each_name(const struct store *store, const char *repository, enum store_kind kind,
		    int (*visit)(void *context, const char *name), void *context)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = store_open_links(store, repository, kind, &dir);

	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		if (is_name(entry->d_name, kind))
			r = visit(context, entry->d_name);
	}
	return r;
}
