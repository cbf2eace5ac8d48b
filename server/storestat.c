/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the counting. Sizes are kept by the first bytes of their digests, sorted, so that
 * links can be added up: 24 bytes for each blob.
 */
#include "server/storestat.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "server/quarantine.h"

enum { KEY_BYTES = 16 };

struct size_entry {
	uint8_t key[KEY_BYTES];
	uint64_t size_bytes;
};

struct collect {
	const struct store *store;
	struct store_stat *out;
	const atomic_bool *stop;
	const char *repository;
	struct size_entry *sizes; /* owned */
	size_t n, n_max;
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, KEY_BYTES);
}

static int add_size(struct collect *collect, const struct digest *digest, uint64_t size_bytes)
{
	if (collect->n == collect->n_max) {
		size_t n_max = collect->n_max * 2 + 1024;
		struct size_entry *bigger =
			realloc(collect->sizes, n_max * sizeof(*collect->sizes));

		if (!bigger)
			return -ENOMEM;
		collect->sizes = bigger;
		collect->n_max = n_max;
	}
	memcpy(collect->sizes[collect->n].key, digest->bytes, KEY_BYTES);
	collect->sizes[collect->n++].size_bytes = size_bytes;
	return 0;
}

static uint64_t content_size(const struct blob_entry *entry)
{
	cleanup_close int fd = -1;
	struct pack_info info;

	if (!entry->packed)
		return entry->stored_bytes;
	fd = store_openat(entry->dirfd, entry->name, O_RDONLY, 0);
	if (fd < 0 || pack_stat(fd, entry->stored_bytes, &info))
		return 0;
	return info.size_bytes;
}

static int count_blob(void *context, const struct blob_entry *entry)
{
	struct collect *collect = context;
	uint64_t size_bytes = content_size(entry);

	if (collect->stop && *collect->stop)
		return -ECANCELED;
	collect->out->n_packed += entry->packed;
	collect->out->stored_bytes += entry->stored_bytes;
	return add_size(collect, &entry->digest, size_bytes);
}

/* A blob that is just being packed has two files, and counts once. */
static void drop_twins(struct collect *collect)
{
	size_t kept = 0;

	if (!collect->n)
		return;
	qsort(collect->sizes, collect->n, sizeof(*collect->sizes), compare);
	for (size_t i = 0; i < collect->n; i++) {
		if (kept && !compare(&collect->sizes[i], &collect->sizes[kept - 1]))
			continue;
		collect->sizes[kept++] = collect->sizes[i];
		collect->out->content_bytes += collect->sizes[i].size_bytes;
	}
	collect->n = kept;
	collect->out->n_blobs = kept;
}

static int count_link(void *context, const char *text)
{
	struct collect *collect = context;
	const struct size_entry *entry;
	struct digest digest;

	if (digest_parse(text, strlen(text), &digest))
		return 0;
	collect->out->n_links++;
	entry = collect->n ? bsearch(digest.bytes, collect->sizes, collect->n,
				     sizeof(*collect->sizes), compare)
			   : NULL;
	if (entry)
		collect->out->linked_bytes += entry->size_bytes;
	return 0;
}

static int count_manifest(void *context, const char *text)
{
	((struct collect *)context)->out->n_manifests++;
	return count_link(context, text);
}

static int count_tag(void *context, const char *tag)
{
	(void)tag;
	((struct collect *)context)->out->n_tags++;
	return 0;
}

static int count_repository(void *context, const char *repository)
{
	struct collect *collect = context;
	int r;

	if (collect->stop && *collect->stop)
		return -ECANCELED;
	collect->out->n_repositories++;
	r = store_each_name(collect->store, repository, STORE_LAYERS, count_link, collect);
	if (!r)
		r = store_each_name(collect->store, repository, STORE_MANIFESTS, count_manifest,
				    collect);
	if (!r)
		r = store_each_name(collect->store, repository, STORE_TAGS, count_tag, collect);
	return r == -ENOENT ? 0 : r;
}

static int count_uploads(struct collect *collect)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	struct stat st;
	int r = open_dir_at(collect->store->root_fd, "uploads", &dir);

	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		if (entry->d_name[0] == '.' || strchr(entry->d_name, '.') ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		collect->out->n_uploads++;
		collect->out->upload_bytes += (uint64_t)st.st_size;
	}
	return r;
}

int storestat_collect(const struct store *store, const atomic_bool *stop, struct store_stat *out)
{
	struct collect collect = { .store = store, .out = out, .stop = stop };
	struct statvfs fs;
	int r;

	*out = (struct store_stat){ .n_quarantined = quarantine_count(store) };
	r = store_each_blob(store, count_blob, &collect);
	if (!r) {
		drop_twins(&collect);
		r = store_each_repository(store, count_repository, &collect);
	}
	if (!r)
		r = count_uploads(&collect);
	if (!r && !fstatvfs(store->root_fd, &fs))
		out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	free(collect.sizes);
	return r;
}
