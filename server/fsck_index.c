/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the comparison of the index with the files. Both sides of a repository are summed up
 * under its lock, in any order: as many rows, and the same sum of their hashes. What differs
 * is not worked out, since the repair is the same: it is made again from the files.
 */
#include <string.h>

#include "server/fsck-internal.h"
#include "server/index_rebuild.h"
#include "server/manifest.h"

struct sum {
	uint64_t n, hash;
};

struct compare {
	struct fsck *fsck;
	const char *repository;
	struct sum tags, manifests, referrers;
};

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	for (const unsigned char *p = bytes; len--; p++) /* FNV-1a */
		hash = (hash ^ *p) * 1099511628211u;
	return hash;
}

static void add(struct sum *sum, const char *name, const void *value, size_t len)
{
	uint64_t hash = hash_bytes(14695981039346656037u, name, strlen(name) + 1);

	sum->n++;
	sum->hash += hash_bytes(hash, value, len);
}

static int add_row(void *context, const struct index_row *row)
{
	add(context, row->name, row->value, row->value_len);
	return 0;
}

static int add_tag(void *context, const char *tag)
{
	struct compare *compare = context;
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int r = store_get_tag(compare->fsck->store, compare->repository, tag, &digest);

	if (r)
		return r == -EBADMSG || r == -ENOENT ? 0 : r;
	digest_format(&digest, text);
	add(&compare->tags, tag, text, strlen(text));
	return 0;
}

static int add_manifest(void *context, const char *text)
{
	struct compare *compare = context;
	cleanup_manifest_record struct manifest_record record = { .media_type = NULL };
	struct digest digest;
	int r;

	if (digest_parse(text, strlen(text), &digest))
		return 0;
	r = manifest_record_load(compare->fsck->store, compare->repository, &digest, &record);
	if (r) /* not in the index either; said before */
		return r == -EBADMSG || r == -ENOENT ? 0 : r;
	add(&compare->manifests, text, record.media_type, strlen(record.media_type));
	if (!record.has_subject)
		return 0;
	r = index_row_is(compare->fsck->index, INDEX_REFERRERS, compare->repository, NULL,
			 &record.subject, &digest, record.descriptor, strlen(record.descriptor));
	if (r < 0)
		return r;
	compare->referrers.n += r == 0; /* missing ones */
	return 0;
}

static bool differs(const struct sum *a, const struct sum *b)
{
	return a->n != b->n || a->hash != b->hash;
}

/* Return: 1: index and files are the same; 0: not; -errno. Under the repository's lock. */
static int compare_repository(struct compare *compare)
{
	struct fsck *fsck = compare->fsck;
	struct sum tags = { 0 }, manifests = { 0 };
	int r = store_each_name(fsck->store, compare->repository, STORE_TAGS, add_tag, compare);

	if (!r)
		r = store_each_name(fsck->store, compare->repository, STORE_MANIFESTS, add_manifest,
				    compare);
	if (!r)
		r = index_list(fsck->index, INDEX_TAGS, compare->repository, NULL, NULL, add_row,
			       &tags);
	if (!r)
		r = index_list(fsck->index, INDEX_MANIFESTS, compare->repository, NULL, NULL,
			       add_row, &manifests);
	if (!r)
		r = index_has(fsck->index, INDEX_REPOSITORIES, compare->repository, NULL, NULL,
			      NULL);
	if (r <= 0)
		return r == -EUCLEAN ? 0 : r;
	return !differs(&tags, &compare->tags) && !differs(&manifests, &compare->manifests) &&
	       !compare->referrers.n;
}

static int visit_repository(void *context, const char *repository)
{
	struct fsck *fsck = context;
	struct compare compare = { .fsck = fsck, .repository = repository };
	int r = fsck_tick(fsck, "index", fsck->report->n_repositories);

	if (!r)
		r = store_has_repository(fsck->store, repository);
	if (r <= 0) /* one that is not whole was said before */
		return r;
	store_lock_repository(fsck->store, repository);
	r = compare_repository(&compare);
	store_unlock_repository(fsck->store, repository);
	if (r < 0)
		return r;
	return r ? 0 : -EUCLEAN;
}

static int find_stale(void *context, const struct index_row *row)
{
	const struct fsck *fsck = context;
	int r = store_has_repository(fsck->store, row->name);

	return r < 0 ? r : !r;
}

/* Return: 0; -EUCLEAN: the two differ; -errno. */
static int compare_all(struct fsck *fsck)
{
	int r = store_each_repository(fsck->store, visit_repository, fsck);

	if (!r)
		r = index_list(fsck->index, INDEX_REPOSITORIES, NULL, NULL, NULL, find_stale, fsck);
	return r == 1 ? -EUCLEAN : r;
}

static int rebuild(struct fsck *fsck)
{
	uint64_t n_failures;
	int r = index_needs_repair(fsck->index) ? index_repair(fsck->index) : 0;

	n_failures = index_failures(fsck->index);
	if (!r)
		r = index_rebuild(fsck->index, fsck->store, fsck->options->stop);
	if (!r)
		index_set_ready(fsck->index, n_failures);
	return r;
}

/* The index is whole, or it is one problem, however much is wrong with it. */
static int lost(struct fsck *fsck, const char *text)
{
	int r = fsck->options->repair && fsck->index ? rebuild(fsck) : -EAGAIN;

	if (r == -ECANCELED)
		return r;
	return fsck_found(fsck, "index", NULL, "index", r, text);
}

int fsck_index(struct fsck *fsck)
{
	int r;

	fsck->report->index_checked = true;
	if (fsck->options->index_lost)
		return lost(fsck,
			    "the index is missing or damaged; listings wait until it was made "
			    "again from the files, as a start of the server does");
	if (!fsck->index || !index_is_ready(fsck->index)) { /* it is being rebuilt as we look */
		fsck->report->index_checked = false;
		return 0;
	}
	if (fsck->index_stale) {
		r = rebuild(fsck);
		if (r)
			return r == -EUCLEAN ? lost(fsck, "the index is damaged") : r;
	}
	r = compare_all(fsck);
	if (r == -EUCLEAN)
		return lost(fsck, "the index does not say what the files say; listings may be "
				  "wrong, pulls are not");
	return r;
}
