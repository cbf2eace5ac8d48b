/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the index share. */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/index.h"

struct index {
	MDB_env *env;		      /* owned; NULL: it cannot be opened now; under map_lock */
	MDB_dbi tables[INDEX_TABLES]; /* under map_lock */
	int root_fd;		      /* borrowed */
	pthread_rwlock_t map_lock;    /* see index.c */
	uint64_t map_bytes;	      /* under map_lock */
	pthread_mutex_t state_lock;   /* changes of ready and n_failures */
	atomic_bool ready;
	atomic_bool damaged;
	atomic_uint_least64_t n_failures; /* updates that the files had and the index has not */
};

enum { INDEX_KEY_MAX = 511 };

struct index_key {
	size_t len;
	unsigned char bytes[INDEX_KEY_MAX];
};

struct index_txn {
	struct index *index;
	MDB_txn *txn;
};

/** index_error() - errno for a result of LMDB; notes that the index is damaged. */
int index_error(struct index *index, int r);

/** index_txn_error() - the same within index_update(), which must hear of MDB_MAP_FULL. */
int index_txn_error(struct index_txn *txn, int r);

/** index_key_make() - of a row; arguments as those of index_put(). */
void index_key_make(struct index_key *key, enum index_table table, const char *repository,
		    const char *name, const struct digest *a, const struct digest *b);

/**
 * index_fall_behind() - the files know more than the index: no listing is answered from it
 * before it was rebuilt, also after a crash. @error: why.
 * Return: 0, or -errno where even that could not be made sure.
 */
int index_fall_behind(struct index *index, int error) must_check;
