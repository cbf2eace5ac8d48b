/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the rows of the index, and its transactions.
 *
 * A key is its parts one behind the other: repository NUL, tag; or repository NUL and
 * digests of fixed length. memcmp order is then the order the specification wants, and a
 * prefix is a repository. No MDB_DUPSORT (its deletes are broken in LMDB before 0.9.29).
 * Transactions hold map_lock for reading, a change of the map or the environment takes it for
 * writing.
 */
#include <string.h>

#include "server/index_internal.h"

enum {
	DIGEST_KEY_LEN = 1 + DIGEST_BYTES_MAX,
	ROW_NAME_MAX = 512,
};

#define MAP_BYTES_MAX ((uint64_t)1 << 40)

static void key_add(struct index_key *key, const void *bytes, size_t len)
{
	if (len > INDEX_KEY_MAX - key->len) /* cannot be: every part has its own bound */
		abort();
	memcpy(key->bytes + key->len, bytes, len);
	key->len += len;
}

static void key_add_digest(struct index_key *key, const struct digest *digest)
{
	unsigned char algorithm = (unsigned char)digest->algorithm;

	key_add(key, &algorithm, 1);
	key_add(key, digest->bytes, digest_size(digest->algorithm));
}

void index_key_make(struct index_key *key, enum index_table table, const char *repository,
		    const char *name, const struct digest *a, const struct digest *b)
{
	key->len = 0;
	if (repository)
		key_add(key, repository, strlen(repository) + (table != INDEX_REPOSITORIES));
	if (name)
		key_add(key, name, strlen(name));
	if (a)
		key_add_digest(key, a);
	if (b)
		key_add_digest(key, b);
}

/*
 * @seen_bytes: the map that was full. Of several writers that stood behind each other in it one
 * makes it larger, and all try again.
 */
static int grow(struct index *index, uint64_t seen_bytes)
{
	int r = 0;

	pthread_rwlock_wrlock(&index->map_lock);
	if (!index->env) {
		r = -EUCLEAN;
	} else if (index->map_bytes <= seen_bytes && index->map_bytes >= MAP_BYTES_MAX) {
		r = -ENOSPC;
	} else if (index->map_bytes <= seen_bytes) {
		r = mdb_env_set_mapsize(index->env, (size_t)index->map_bytes * 2);
		if (!r)
			index->map_bytes *= 2;
		r = r ? index_error(index, r) : 0;
	}
	pthread_rwlock_unlock(&index->map_lock);
	return r;
}

static int update_once(struct index *index, int (*fn)(struct index_txn *txn, void *context),
		       void *context, bool *full, uint64_t *map_bytes)
{
	struct index_txn txn = { .index = index };
	int r;

	*full = false;
	pthread_rwlock_rdlock(&index->map_lock);
	*map_bytes = index->map_bytes;
	if (!index->env || index->damaged) {
		r = -EUCLEAN;
		goto out;
	}
	r = mdb_txn_begin(index->env, NULL, 0, &txn.txn);
	if (r) {
		r = index_error(index, r);
		goto out;
	}
	r = fn(&txn, context);
	if (r) {
		*full = r == -EXFULL;
		mdb_txn_abort(txn.txn);
		goto out;
	}
	r = mdb_txn_commit(txn.txn);
	*full = r == MDB_MAP_FULL;
	r = r ? index_error(index, r) : 0;
out:
	pthread_rwlock_unlock(&index->map_lock);
	return r;
}

int index_update(struct index *index, int (*fn)(struct index_txn *txn, void *context),
		 void *context)
{
	uint64_t map_bytes;
	bool full;
	int r;

	do {
		r = update_once(index, fn, context, &full, &map_bytes);
		if (full)
			r = grow(index, map_bytes);
	} while (full && !r);
	return r;
}

int index_follow(struct index *index, int (*fn)(struct index_txn *txn, void *context),
		 void *context)
{
	int r = index_update(index, fn, context);

	return r ? index_fall_behind(index, r) : 0;
}

int index_txn_error(struct index_txn *txn, int r)
{
	return r == MDB_MAP_FULL ? -EXFULL : index_error(txn->index, r);
}

int index_put(struct index_txn *txn, enum index_table table, const char *repository,
	      const char *name, const struct digest *a, const struct digest *b, const char *value,
	      size_t len)
{
	MDB_val k, v = { .mv_size = len, .mv_data = (void *)(uintptr_t)value };
	struct index_key key;
	int r;

	index_key_make(&key, table, repository, name, a, b);
	k = (MDB_val){ .mv_size = key.len, .mv_data = key.bytes };
	r = mdb_put(txn->txn, txn->index->tables[table], &k, &v, 0);
	return r ? index_txn_error(txn, r) : 0;
}

int index_delete(struct index_txn *txn, enum index_table table, const char *repository,
		 const char *name, const struct digest *a, const struct digest *b)
{
	struct index_key key;
	MDB_val k;
	int r;

	index_key_make(&key, table, repository, name, a, b);
	k = (MDB_val){ .mv_size = key.len, .mv_data = key.bytes };
	r = mdb_del(txn->txn, txn->index->tables[table], &k, NULL);
	return r && r != MDB_NOTFOUND ? index_txn_error(txn, r) : 0;
}

static bool has_prefix(const MDB_val *k, const struct index_key *prefix)
{
	return k->mv_size >= prefix->len && !memcmp(k->mv_data, prefix->bytes, prefix->len);
}

static int clear_table(struct index_txn *txn, enum index_table table, const char *repository)
{
	MDB_val k, v;
	MDB_cursor *cursor;
	struct index_key prefix;
	int r;

	index_key_make(&prefix, table, repository, NULL, NULL, NULL);
	r = mdb_cursor_open(txn->txn, txn->index->tables[table], &cursor);
	if (r)
		return index_txn_error(txn, r);
	for (;;) {
		k = (MDB_val){ .mv_size = prefix.len, .mv_data = prefix.bytes };
		r = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		if (r || !has_prefix(&k, &prefix))
			break;
		r = mdb_cursor_del(cursor, 0);
		if (r)
			break;
	}
	mdb_cursor_close(cursor);
	return r && r != MDB_NOTFOUND ? index_txn_error(txn, r) : 0;
}

int index_clear_repository(struct index_txn *txn, const char *repository)
{
	int r = index_delete(txn, INDEX_REPOSITORIES, repository, NULL, NULL, NULL);

	for (int i = INDEX_TAGS; !r && i < INDEX_TABLES; i++)
		r = clear_table(txn, (enum index_table)i, repository);
	return r;
}

/* The digest at the end of a key, as text; it fills the key from @off to its end. */
static bool key_digest_text(const MDB_val *k, size_t off, char out[static DIGEST_TEXT_SIZE])
{
	const unsigned char *bytes = k->mv_data;
	struct digest digest = { .algorithm = DIGEST_SHA256 };

	if (off >= k->mv_size || bytes[off] > DIGEST_SHA512)
		return false;
	digest.algorithm = (enum digest_algorithm)bytes[off];
	if (k->mv_size - off - 1 != digest_size(digest.algorithm))
		return false;
	memcpy(digest.bytes, bytes + off + 1, digest_size(digest.algorithm));
	digest_format(&digest, out);
	return true;
}

/* Where to start: @start is the first key that may be of interest. */
static int make_start(struct index_key *start, enum index_table table, const char *after)
{
	struct digest digest;

	if (table == INDEX_MANIFESTS || table == INDEX_REFERRERS) {
		if (digest_parse(after, strlen(after), &digest))
			return -EINVAL;
		key_add_digest(start, &digest);
		return 0;
	}
	/* No name is longer than this, so what is cut off decides nothing. */
	key_add(start, after, strnlen(after, INDEX_KEY_MAX - start->len));
	return 0;
}

static int visit_row(enum index_table table, const MDB_val *k, const MDB_val *v, size_t prefix_len,
		     int (*visit)(void *context, const struct index_row *row), void *context)
{
	struct index_row row = { .value = v->mv_data, .value_len = v->mv_size };
	char name[ROW_NAME_MAX];

	if (table == INDEX_MANIFESTS || table == INDEX_REFERRERS) {
		if (!key_digest_text(k, prefix_len, name))
			return -EUCLEAN;
	} else {
		size_t len = k->mv_size - prefix_len;

		if (len >= sizeof(name))
			return -EUCLEAN;
		memcpy(name, (const char *)k->mv_data + prefix_len, len);
		name[len] = '\0';
	}
	row.name = name;
	return visit(context, &row);
}

static int list_rows(struct index *index, MDB_cursor *cursor, enum index_table table,
		     const struct index_key *prefix, const struct index_key *start, bool skip_equal,
		     int (*visit)(void *context, const struct index_row *row), void *context)
{
	MDB_val k = { .mv_size = start->len, .mv_data = (void *)(uintptr_t)start->bytes }, v;
	int r = start->len ? mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE)
			   : mdb_cursor_get(cursor, &k, &v, MDB_FIRST);

	if (!r && skip_equal && k.mv_size == start->len &&
	    !memcmp(k.mv_data, start->bytes, start->len))
		r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	while (!r && has_prefix(&k, prefix)) {
		int stop = visit_row(table, &k, &v, prefix->len, visit, context);

		if (stop == -EUCLEAN) /* a row that cannot be */
			return index_error(index, MDB_CORRUPTED);
		if (stop)
			return stop;
		r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	return r && r != MDB_NOTFOUND ? index_error(index, r) : 0;
}

/* Return: 0: end with end_read(); -EUCLEAN: there is no index now; or negative errno. */
static int begin_read(struct index *index, MDB_txn **txn)
{
	int r;

	pthread_rwlock_rdlock(&index->map_lock);
	if (!index->env || index->damaged) {
		pthread_rwlock_unlock(&index->map_lock);
		return -EUCLEAN;
	}
	r = mdb_txn_begin(index->env, NULL, MDB_RDONLY, txn);
	if (r) {
		r = index_error(index, r);
		pthread_rwlock_unlock(&index->map_lock);
	}
	return r;
}

static void end_read(struct index *index, MDB_txn *txn)
{
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&index->map_lock);
}

/* @value: NULL: any. */
static int look_up(struct index *index, enum index_table table, const struct index_key *key,
		   const char *value, size_t len)
{
	MDB_val k = { .mv_size = key->len, .mv_data = (void *)(uintptr_t)key->bytes }, v;
	MDB_txn *txn;
	int r = begin_read(index, &txn);

	if (r)
		return r;
	r = mdb_get(txn, index->tables[table], &k, &v);
	if (!r && value && (v.mv_size != len || memcmp(v.mv_data, value, len) != 0))
		r = MDB_NOTFOUND;
	r = !r ? 1 : r == MDB_NOTFOUND ? 0 : index_error(index, r);
	end_read(index, txn);
	return r;
}

int index_has(struct index *index, enum index_table table, const char *repository, const char *name,
	      const struct digest *a, const struct digest *b)
{
	struct index_key key;

	index_key_make(&key, table, repository, name, a, b);
	return look_up(index, table, &key, NULL, 0);
}

int index_row_is(struct index *index, enum index_table table, const char *repository,
		 const char *name, const struct digest *a, const struct digest *b,
		 const char *value, size_t len)
{
	struct index_key key;

	index_key_make(&key, table, repository, name, a, b);
	return look_up(index, table, &key, value, len);
}

int index_list(struct index *index, enum index_table table, const char *repository,
	       const struct digest *subject, const char *after,
	       int (*visit)(void *context, const struct index_row *row), void *context)
{
	struct index_key prefix, start;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int r;

	index_key_make(&prefix, table, repository, NULL, subject, NULL);
	start = prefix;
	r = after ? make_start(&start, table, after) : 0;
	if (r)
		return r;
	r = begin_read(index, &txn);
	if (r)
		return r;
	r = mdb_cursor_open(txn, index->tables[table], &cursor);
	if (!r) {
		r = list_rows(index, cursor, table, &prefix, &start, after != NULL, visit, context);
		mdb_cursor_close(cursor);
	} else {
		r = index_error(index, r);
	}
	end_read(index, txn);
	return r;
}
