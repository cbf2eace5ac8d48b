/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the way from files to index. Runs in a thread of its own at start-up. The files of a
 * repository are read under its lock, and outside of any transaction: whoever writes to another
 * repository waits for neither.
 */
#include "server/index_rebuild.h"

#include <string.h>

#include "lib/log.h"
#include "lib/reference.h"
#include "server/index_rows.h"
#include "server/manifest.h"

struct rebuild {
	struct index *index;
	struct store *store;
	const atomic_bool *stop;
	const char *repository;
	struct index_rows *rows; /* of the repository */
	uint64_t n_manifests, n_tags;
};

static int put_tag(void *context, const char *tag)
{
	struct rebuild *rebuild = context;
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int r = store_get_tag(rebuild->store, rebuild->repository, tag, &digest);

	if (r == -EBADMSG) {
		log_warning(
			"repository %s: the file of tag %s does not hold a digest; push it again",
			rebuild->repository, tag);
		return 0;
	}
	if (r)
		return r;
	rebuild->n_tags++;
	digest_format(&digest, text);
	return index_rows_add(rebuild->rows, INDEX_TAGS, tag, NULL, NULL, text, strlen(text));
}

static int put_manifest(void *context, const char *text)
{
	struct rebuild *rebuild = context;
	struct manifest_record record;
	struct digest digest;
	int r;

	if (rebuild->stop && *rebuild->stop)
		return -ECANCELED;
	if (digest_parse(text, strlen(text), &digest))
		return 0;
	r = manifest_record_load(rebuild->store, rebuild->repository, &digest, &record);
	if (r == -ENOENT || r == -EBADMSG) {
		log_warning("repository %s: manifest %s cannot be read; push it again",
			    rebuild->repository, text);
		return 0;
	}
	if (r)
		return r;
	rebuild->n_manifests++;
	r = index_rows_add(rebuild->rows, INDEX_MANIFESTS, NULL, &digest, NULL, record.media_type,
			   strlen(record.media_type));
	if (!r && record.has_subject)
		r = index_rows_add(rebuild->rows, INDEX_REFERRERS, NULL, &record.subject, &digest,
				   record.descriptor, strlen(record.descriptor));
	manifest_record_free(&record);
	return r;
}

/* Under the repository's lock. */
static int fill_repository(struct rebuild *rebuild)
{
	struct store *store = rebuild->store;
	int r;

	rebuild->rows = index_rows_new(rebuild->repository);
	if (!rebuild->rows)
		return -ENOMEM;
	r = index_rows_add(rebuild->rows, INDEX_REPOSITORIES, NULL, NULL, NULL, "", 0);
	if (!r)
		r = store_each_name(store, rebuild->repository, STORE_MANIFESTS, put_manifest,
				    rebuild);
	if (!r)
		r = store_each_name(store, rebuild->repository, STORE_TAGS, put_tag, rebuild);
	if (!r)
		r = index_rows_apply(rebuild->index, rebuild->rows);
	index_rows_free(steal_ptr(rebuild->rows));
	return r;
}

static int visit_repository(void *context, const char *repository)
{
	struct rebuild *rebuild = context;
	int r;

	if (rebuild->stop && *rebuild->stop)
		return -ECANCELED;
	r = store_has_repository(rebuild->store, repository);
	if (r <= 0)
		return r;
	rebuild->repository = repository;
	store_sweep_links(rebuild->store, repository);
	store_lock_repository(rebuild->store, repository);
	r = fill_repository(rebuild);
	store_unlock_repository(rebuild->store, repository);
	return r;
}

struct stale {
	const struct store *store;
	char repository[REPOSITORY_MAX + 1];
};

static int find_stale(void *context, const struct index_row *row)
{
	struct stale *stale = context;
	int r;

	if (!repository_is_valid(row->name, strlen(row->name)))
		return -EUCLEAN;
	snprintf(stale->repository, sizeof(stale->repository), "%s", row->name);
	r = store_has_repository(stale->store, row->name);
	return r < 0 ? r : !r;
}

static int clear_stale(struct index_txn *txn, void *context)
{
	return index_clear_repository(txn, ((struct stale *)context)->repository);
}

int index_rebuild(struct index *index, struct store *store, const atomic_bool *stop)
{
	struct rebuild rebuild = { .index = index, .store = store, .stop = stop };
	struct stale stale = { .store = store };
	int64_t start = now_ms();
	uint64_t n_failures = index_failures(index);
	int r = store_each_repository(store, visit_repository, &rebuild);

	while (!r) {
		r = index_list(index, INDEX_REPOSITORIES, NULL, NULL,
			       stale.repository[0] ? stale.repository : NULL, find_stale, &stale);
		if (r != 1)
			break;
		r = index_update(index, clear_stale, &stale);
	}
	if (r)
		return r;
	index_set_ready(index, n_failures);
	index_settle(index);
	log_info("index: in step with the store, %llu manifests and %llu tags in %lld ms",
		 (unsigned long long)rebuild.n_manifests, (unsigned long long)rebuild.n_tags,
		 (long long)(now_ms() - start));
	return 0;
}

static int put_repository(struct index_txn *txn, void *context)
{
	return index_put(txn, INDEX_REPOSITORIES, context, NULL, NULL, NULL, "", 0);
}

int index_create_repository(struct index *index, struct store *store, const char *repository)
{
	char name[REPOSITORY_MAX + 1];
	int r;

	snprintf(name, sizeof(name), "%s", repository);
	store_lock_repository(store, name);
	r = store_has_repository(store, name);
	if (!r)
		r = store_make_repository(store, name);
	else if (r > 0)
		r = 0;
	if (r > 0)
		r = index_follow(index, put_repository, name);
	store_unlock_repository(store, name);
	return r;
}
