/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the way of a whole repository's rows into the index, a batch at a time. */
#include "server/index_rows.h"

#include <string.h>

#include "server/index_internal.h"

enum { BATCH = 1000 }; /* rows looked at in a transaction: some milliseconds */

struct row {
	enum index_table table;
	size_t key_len, value_len;
	unsigned char bytes[]; /* key, value */
};

struct index_rows {
	const char *repository; /* borrowed */
	struct row **rows;	/* owned, and each */
	size_t n, size;
};

/* One transaction's part. */
struct batch {
	const struct index_rows *rows;
	size_t first;		     /* to be put */
	enum index_table table;	     /* whose stale rows are dropped */
	struct index_key from, next; /* where that begins, and where the next one will */
	bool is_last;
};

struct index_rows *index_rows_new(const char *repository)
{
	struct index_rows *rows = calloc(1, sizeof(*rows));

	if (rows)
		rows->repository = repository;
	return rows;
}

void index_rows_free(struct index_rows *rows)
{
	if (!rows)
		return;
	for (size_t i = 0; i < rows->n; i++)
		free(rows->rows[i]);
	free(rows->rows);
	free(rows);
}

int index_rows_add(struct index_rows *rows, enum index_table table, const char *name,
		   const struct digest *a, const struct digest *b, const char *value, size_t len)
{
	struct index_key key;
	struct row *row;

	if (rows->n == rows->size) {
		size_t size = rows->size ? 2 * rows->size : 64;
		struct row **more = reallocarray(rows->rows, size, sizeof(struct row *));

		if (!more)
			return -ENOMEM;
		rows->rows = more;
		rows->size = size;
	}
	index_key_make(&key, table, rows->repository, name, a, b);
	row = malloc(sizeof(*row) + key.len + len);
	if (!row)
		return -ENOMEM;
	row->table = table;
	row->key_len = key.len;
	row->value_len = len;
	memcpy(row->bytes, key.bytes, key.len);
	memcpy(row->bytes + key.len, value, len);
	rows->rows[rows->n++] = row;
	return 0;
}

static int compare_key(const struct row *row, enum index_table table, const void *key, size_t len)
{
	int r;

	if (row->table != table)
		return row->table < table ? -1 : 1;
	r = memcmp(row->bytes, key, row->key_len < len ? row->key_len : len);
	return r ? r : row->key_len < len ? -1 : row->key_len > len;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;

	return compare_key(x, y->table, y->bytes, y->key_len);
}

static bool is_wanted(const struct index_rows *rows, enum index_table table, const MDB_val *k)
{
	size_t low = 0, high = rows->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = compare_key(rows->rows[mid], table, k->mv_data, k->mv_size);

		if (!r)
			return true;
		if (r < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* What is there already is not written again: mostly that is all of it. */
static int put_row(struct index_txn *txn, struct row *row)
{
	MDB_val k = { .mv_size = row->key_len, .mv_data = row->bytes };
	MDB_val v = { .mv_size = row->value_len, .mv_data = row->bytes + row->key_len }, there;
	MDB_dbi dbi = txn->index->tables[row->table];
	int r = mdb_get(txn->txn, dbi, &k, &there);

	if (!r && there.mv_size == v.mv_size && !memcmp(there.mv_data, v.mv_data, v.mv_size))
		return 0;
	if (!r || r == MDB_NOTFOUND)
		r = mdb_put(txn->txn, dbi, &k, &v, 0);
	return r ? index_txn_error(txn, r) : 0;
}

static int put_batch(struct index_txn *txn, void *context)
{
	const struct batch *batch = context;
	int r = 0;

	for (size_t i = batch->first; !r && i < batch->rows->n && i < batch->first + BATCH; i++)
		r = put_row(txn, batch->rows->rows[i]);
	return r;
}

static int drop_batch(struct index_txn *txn, void *context)
{
	struct batch *batch = context;
	size_t prefix_len = strlen(batch->rows->repository) + 1;
	MDB_val k = { .mv_size = batch->from.len, .mv_data = batch->from.bytes }, v;
	MDB_cursor *cursor;
	int r = mdb_cursor_open(txn->txn, txn->index->tables[batch->table], &cursor);

	if (r)
		return index_txn_error(txn, r);
	batch->is_last = false;
	r = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	for (size_t i = 0; !r && i < BATCH; i++) {
		if (k.mv_size < prefix_len || k.mv_size > INDEX_KEY_MAX ||
		    memcmp(k.mv_data, batch->rows->repository, prefix_len) != 0) {
			r = MDB_NOTFOUND;
			break;
		}
		batch->next.len = k.mv_size;
		memcpy(batch->next.bytes, k.mv_data, k.mv_size);
		if (is_wanted(batch->rows, batch->table, &k)) {
			r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
			continue;
		}
		r = mdb_cursor_del(cursor, 0);
		k = (MDB_val){ .mv_size = batch->next.len, .mv_data = batch->next.bytes };
		if (!r)
			r = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	}
	mdb_cursor_close(cursor);
	batch->is_last = r == MDB_NOTFOUND;
	return r && r != MDB_NOTFOUND ? index_txn_error(txn, r) : 0;
}

static int drop_stale(struct index *index, const struct index_rows *rows, enum index_table table)
{
	struct batch batch = { .rows = rows, .table = table };
	int r;

	index_key_make(&batch.from, table, rows->repository, NULL, NULL, NULL);
	do {
		r = index_update(index, drop_batch, &batch);
		batch.from = batch.next; /* looked at twice, which is no harm */
	} while (!r && !batch.is_last);
	return r;
}

int index_rows_apply(struct index *index, struct index_rows *rows)
{
	struct batch batch = { .rows = rows };
	int r = 0;

	if (rows->n)
		qsort(rows->rows, rows->n, sizeof(struct row *), compare_rows);
	for (; !r && batch.first < rows->n; batch.first += BATCH)
		r = index_update(index, put_batch, &batch);
	for (int table = INDEX_TAGS; !r && table < INDEX_TABLES; table++)
		r = drop_stale(index, rows, (enum index_table)table);
	return r;
}
