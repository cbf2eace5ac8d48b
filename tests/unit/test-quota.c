/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas that change while what repositories have is counted. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "lib/log.h"
#include "server/quota.h"
#include "server/store.h"

enum { BLOBS = 40, BLOB_BYTES = 100, CHANGES = 200 };

static char dir[64];
static struct store *store;
static struct quotas *quotas;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(dir, sizeof(dir), "/var/tmp/test-quota.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, NULL), 0);
	assert_int_equal(quotas_new(store, &quotas), 0);
	assert_int_equal(store_create_repository(store, "a/b"), 0);
	for (int i = 0; i < BLOBS; i++) {
		char bytes[BLOB_BYTES] = "";
		struct digest digest;

		snprintf(bytes, sizeof(bytes), "blob %d", i);
		assert_int_equal(digest_compute(DIGEST_SHA256, bytes, sizeof(bytes), &digest), 0);
		assert_int_equal(store_publish_bytes(store, &digest, bytes, sizeof(bytes)), 0);
		assert_int_equal(store_add_link(store, "a/b", STORE_LAYERS, &digest, "", 0), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	quotas_free(quotas);
	store_close(store);
	return remove_tree_at(AT_FDCWD, dir);
}

static void set(const char *pattern, uint64_t bytes, uint64_t total)
{
	char text[16];
	struct rule rule = { .pattern = text, .quota_bytes = bytes };
	const struct rules rules = { .rules = &rule, .n = 1 };

	snprintf(text, sizeof(text), "%s", pattern);
	assert_int_equal(quotas_set(quotas, &rules, total), 0);
}

static int try(uint64_t bytes)
{
	struct problem problem = { "" };
	int r = quota_try(quotas, "a/b", bytes, &problem);

	if (!r)
		quota_release(quotas, "a/b", bytes);
	return r;
}

static void a_new_limit_needs_no_new_count(void **state)
{
	(void)state;
	set("a/*", 5000, 0);
	assert_int_equal(try(1), -EAGAIN);
	assert_int_equal(quotas_count(quotas, NULL), 0);
	assert_int_equal(try(1000), 0);
	assert_int_equal(try(1001), -EDQUOT);
	set("a/*", 6000, 0);
	assert_int_equal(try(2000), 0);
	assert_int_equal(try(2001), -EDQUOT);
}

static void other_patterns_need_a_new_count(void **state)
{
	(void)state;
	set("a/*", 5000, 0);
	assert_int_equal(quotas_count(quotas, NULL), 0);
	set("a/b", 5000, 0);
	assert_int_equal(try(1), -EAGAIN);
	assert_int_equal(quotas_count(quotas, NULL), 0);
	assert_int_equal(try(1000), 0);
	set("a/b", 5000, 4500);
	assert_int_equal(try(1), -EAGAIN);
	assert_int_equal(quotas_count(quotas, NULL), 0);
	assert_int_equal(try(500), 0);
	assert_int_equal(try(501), -EDQUOT);
}

static void *count_on(void *stop)
{
	while (!*(atomic_bool *)stop)
		assert_int_equal(quotas_count(quotas, NULL), 0);
	return NULL;
}

static void a_change_amid_a_count_is_counted(void **state)
{
	atomic_bool stop = false;
	pthread_t thread;

	(void)state;
	set("a/*", 5000, 0);
	assert_int_equal(pthread_create(&thread, NULL, count_on, &stop), 0);
	for (int i = 0; i < CHANGES; i++) {
		int r;

		set(i % 2 ? "a/*" : "a/b", 5000, 0);
		r = try(1001);
		assert_true(r == -EAGAIN || r == -EDQUOT);
	}
	stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(quotas_count(quotas, NULL), 0);
	assert_int_equal(try(1000), 0);
	assert_int_equal(try(1001), -EDQUOT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_limit_needs_no_new_count),
		TEST(other_patterns_need_a_new_count),
		TEST(a_change_amid_a_count_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
