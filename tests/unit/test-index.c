/* SPDX-License-Identifier: Apache-2.0 */
/* The index with many rows, and many who write them. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "server/index_internal.h"
#include "server/index_rebuild.h"
#include "server/store.h"

static char dir[64];
static struct store *store;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(dir, sizeof(dir), "/var/tmp/test-index.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_close(store);
	return remove_tree_at(AT_FDCWD, dir);
}

static int put_many(struct index_txn *txn, void *context)
{
	char name[64], value[1024];

	memset(value, 'x', sizeof(value));
	for (int i = 0; i < 3000; i++) {
		int r;

		snprintf(name, sizeof(name), "tag-%05d", i);
		r = index_put(txn, INDEX_TAGS, "big", name, NULL, NULL, value, sizeof(value));
		if (r)
			return r;
	}
	(*(int *)context)++;
	return 0;
}

static void the_map_grows_when_it_is_full(void **state)
{
	enum index_state index_state;
	struct index *index;
	int n = 0;

	(void)state;
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_update(index, put_many, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(index_has(index, INDEX_TAGS, "big", "tag-02999", NULL, NULL), 1);
	index_close(index, true);
}

enum { WRITERS = 8 };

static void *write_many(void *argument)
{
	int n = 0;

	return index_update(argument, put_many, &n) ? argument : NULL;
}

static void writers_that_wait_for_each_other_let_the_map_grow_once(void **state)
{
	enum index_state index_state;
	pthread_t threads[WRITERS];
	struct index *index;
	void *failed;

	(void)state;
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, index), 0);
	for (int i = 0; i < WRITERS; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	/* 4 MiB of rows, written over: twice that, and a step more. */
	assert_in_range(index->map_bytes, 4 << 20, 32 << 20);
	index_close(index, true);
}

static int put_tags(struct index_txn *txn, void *context)
{
	int r = 0;

	for (int i = 0; !r && i < *(int *)context; i++) {
		char name[64];

		snprintf(name, sizeof(name), "stale-%05d", i);
		r = index_put(txn, INDEX_TAGS, "a", name, NULL, NULL, "x", 1);
	}
	if (!r) /* another repository's, whose name begins with this one's */
		r = index_put(txn, INDEX_TAGS, "a/b", "stale", NULL, NULL, "x", 1);
	return r;
}

static int count_row(void *context, const struct index_row *row)
{
	assert_null(strstr(row->name, "stale"));
	(*(int *)context)++;
	return 0;
}

/* More than one transaction takes. */
static void a_rebuild_drops_thousands_of_stale_rows_and_no_other(void **state)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	enum index_state index_state;
	struct index *index;
	int n = 3500, left = 0;

	(void)state;
	assert_int_equal(store_create_repository(store, "a"), 0);
	assert_int_equal(store_set_tag(store, "a", "first", &digest), 0);
	assert_int_equal(store_set_tag(store, "a", "z", &digest), 0);
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_update(index, put_tags, &n), 0);
	assert_int_equal(index_rebuild(index, store, NULL), 0);
	assert_int_equal(index_list(index, INDEX_TAGS, "a", NULL, NULL, count_row, &left), 0);
	assert_int_equal(left, 2);
	assert_int_equal(index_has(index, INDEX_TAGS, "a/b", "stale", NULL, NULL), 1);
	index_close(index, true);
}

static void *rebuild(void *index)
{
	(void)!index_rebuild(index, store, NULL);
	return NULL;
}

static int put_one(struct index_txn *txn, void *context)
{
	return index_put(txn, INDEX_TAGS, "other", context, NULL, NULL, "x", 1);
}

/* A tag that is a pipe: whoever reads it waits, as for a disk that is very slow. */
static void other_repositories_go_on_while_one_is_read(void **state)
{
	static const char pipe_path[] = "repositories/slow/_tags/pipe";
	enum index_state index_state;
	struct index *index;
	pthread_t thread;
	int fd;

	(void)state;
	assert_int_equal(store_create_repository(store, "slow"), 0);
	assert_int_equal(mkfifoat(store->root_fd, pipe_path, 0600), 0);
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, rebuild, index), 0);
	alarm(60);
	for (int i = 0; i < 300; i++) { /* each is a sync: it has come to the pipe by then */
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(index_update(index, put_one, name), 0);
	}
	fd = openat(store->root_fd, pipe_path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	pthread_join(thread, NULL);
	alarm(0);
	index_close(index, true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_map_grows_when_it_is_full),
		TEST(writers_that_wait_for_each_other_let_the_map_grow_once),
		TEST(a_rebuild_drops_thousands_of_stale_rows_and_no_other),
		TEST(other_repositories_go_on_while_one_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
