/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: what is in which repository, ordered, for listings (tags, catalog, referrers).
 * LMDB in STORE/index. Everything in it can be made again from the store's files
 * (index_rebuild.h); no blob, manifest or tag is looked up by it.
 *
 * A marker file says that it was closed cleanly. Without the marker the index is used, if
 * it opens, but must be reconciled with the files, since the process may have died
 * between a change of a file and of the index. An index that is damaged is moved away.
 *
 * Context: any thread. One write transaction at a time; writers wait for the disk.
 */
#pragma once

#include "lib/digest.h"

struct index;
struct index_txn;
struct problem;

enum index_table {
	INDEX_REPOSITORIES, /* name: nothing */
	INDEX_TAGS,	    /* repository, tag: digest as text */
	INDEX_MANIFESTS,    /* repository, digest: media type */
	INDEX_REFERRERS,    /* repository, subject digest, digest: descriptor as JSON */
	INDEX_TABLES,
};

enum index_state {
	INDEX_CLEAN,	 /* in step with the files */
	INDEX_UNCERTAIN, /* usable, to be reconciled */
	INDEX_EMPTY, /* new, behind the files or not to be opened: listings wait for a rebuild */
};

/**
 * index_open() - open or create the index in @root_fd/index.
 * @map_bytes: address space reserved; it grows by itself.
 * Return: 0, also when it cannot be opened now (a full disk): index_repair() tries again;
 * -ENOMEM.
 */
int index_open(int root_fd, uint64_t map_bytes, struct index **out, enum index_state *state,
	       struct problem *problem) must_check;

/** index_close() - @clean: it was in step with the files before this run's updates. Where all
 * of those went well, too, the marker is left. */
void index_close(struct index *index, bool clean);

/** index_settle() - it was compared with the files, and this process still lives. */
void index_settle(struct index *index);

/** index_repair() - open it, or make it anew, where it is not open or damaged. To be rebuilt then.
 */
int index_repair(struct index *index) must_check;

/** index_needs_repair() - is there something to do: index_repair(), index_rebuild()? */
bool index_needs_repair(struct index *index);

/** index_is_ready() - may listings be answered from it? */
bool index_is_ready(const struct index *index);

/**
 * index_set_ready() - it knows every file, unless an update failed since index_failures() said
 * @n_failures.
 */
uint64_t index_failures(const struct index *index);
void index_set_ready(struct index *index, uint64_t n_failures);

/** index_check_readers() - forget readers of processes that died. Now and then. */
void index_check_readers(struct index *index);

/**
 * index_update() - run @fn in one write transaction and commit it, durably.
 * @fn returns 0 to commit; it is called again when the map had to grow.
 * Return: 0, what @fn returned, or -errno (-EUCLEAN: damaged, or not open).
 */
int index_update(struct index *index, int (*fn)(struct index_txn *txn, void *context),
		 void *context) must_check;

/**
 * index_follow() - the same for what the store's files say already. They are what counts: where
 * the index cannot follow, listings wait until it was rebuilt, and this is no failure.
 * Return: 0, or -errno where not even that is sure.
 */
int index_follow(struct index *index, int (*fn)(struct index_txn *txn, void *context),
		 void *context) must_check;

/*
 * Within index_update(). @name: the tag, or NULL. @a, @b: the digests of the key, or NULL.
 * A put replaces; a delete of what is not there is no error.
 */
int index_put(struct index_txn *txn, enum index_table table, const char *repository,
	      const char *name, const struct digest *a, const struct digest *b, const char *value,
	      size_t len) must_check;
int index_delete(struct index_txn *txn, enum index_table table, const char *repository,
		 const char *name, const struct digest *a, const struct digest *b) must_check;

/**
 * index_has() - is there that row? Arguments as those of index_put().
 * Return: 1, 0, or negative errno.
 */
int index_has(struct index *index, enum index_table table, const char *repository, const char *name,
	      const struct digest *a, const struct digest *b) must_check;

/**
 * index_row_is() - is there that row, with that value? Arguments as those of index_put().
 * Return: 1, 0, or negative errno.
 */
int index_row_is(struct index *index, enum index_table table, const char *repository,
		 const char *name, const struct digest *a, const struct digest *b,
		 const char *value, size_t len) must_check;

/** index_clear_repository() - drop every row of it, in all tables. */
int index_clear_repository(struct index_txn *txn, const char *repository) must_check;

/* One row of a listing. Strings are valid during the call only. */
struct index_row {
	const char *name; /* repository or tag, NUL-terminated; for digests: their text */
	const char *value;
	size_t value_len;
};

/**
 * index_list() - rows of one table in the order of their bytes.
 * @repository: whose; NULL for INDEX_REPOSITORIES. @subject: for INDEX_REFERRERS, else NULL.
 * @after: start behind this name (it need not exist), or NULL.
 * @visit: returns 0 to go on, 1 to stop, negative errno to fail. It must be quick: a read
 * transaction is open.
 * Return: 0, 1 when @visit stopped it, or negative errno.
 */
int index_list(struct index *index, enum index_table table, const char *repository,
	       const struct digest *subject, const char *after,
	       int (*visit)(void *context, const struct index_row *row), void *context) must_check;
