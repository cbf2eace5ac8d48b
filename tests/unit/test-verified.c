/* SPDX-License-Identifier: Apache-2.0 */
/* Which files were hashed already. */
#include "tests/unit/test.h"

#include "server/verified.h"

static struct digest digest_of(unsigned int n)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, &n, sizeof(n), &digest), 0);
	return digest;
}

static void what_was_added_is_known_and_nothing_else(void **state)
{
	struct verified *verified = verified_new();

	(void)state;
	assert_non_null(verified);
	for (unsigned int i = 0; i < 1000; i++) {
		struct digest digest = digest_of(i);

		assert_false(verified_has(verified, VERIFIED_FILE, &digest, 7));
		verified_add(verified, VERIFIED_FILE, &digest, 7);
		assert_true(verified_has(verified, VERIFIED_FILE, &digest, 7));
	}
	verified_free(verified);
}

static void a_file_that_changed_is_another_one(void **state)
{
	struct verified *verified = verified_new();
	struct digest digest = digest_of(1);

	(void)state;
	verified_add(verified, VERIFIED_FILE, &digest, 1);
	assert_false(verified_has(verified, VERIFIED_FILE, &digest, 2));
	assert_false(verified_has(verified, VERIFIED_FILE, &digest, 0));
	verified_add(verified, VERIFIED_FILE, &digest, 2);
	assert_true(verified_has(verified, VERIFIED_FILE, &digest, 2));
	assert_false(verified_has(verified, VERIFIED_FILE, &digest, 3));
	verified_free(verified);
}

static void two_repositories_share_a_blob(void **state)
{
	struct verified *verified = verified_new();
	struct digest digest = digest_of(1);

	(void)state;
	verified_add(verified, VERIFIED_LINK, &digest, 1);
	verified_add(verified, VERIFIED_LINK, &digest, 2);
	assert_true(verified_has(verified, VERIFIED_LINK, &digest, 1));
	assert_true(verified_has(verified, VERIFIED_LINK, &digest, 2));
	assert_false(verified_has(verified, VERIFIED_FILE, &digest, 1));
	/* Bounded: what was seen first is forgotten first. */
	verified_add(verified, VERIFIED_LINK, &digest, 3);
	assert_false(verified_has(verified, VERIFIED_LINK, &digest, 1));
	assert_true(verified_has(verified, VERIFIED_LINK, &digest, 2));
	assert_true(verified_has(verified, VERIFIED_LINK, &digest, 3));
	verified_free(verified);
}

static void without_memory_nothing_is_known(void **state)
{
	struct digest digest = digest_of(1);

	(void)state;
	verified_add(NULL, VERIFIED_FILE, &digest, 1);
	assert_false(verified_has(NULL, VERIFIED_FILE, &digest, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_is_known_and_nothing_else),
		cmocka_unit_test(a_file_that_changed_is_another_one),
		cmocka_unit_test(two_repositories_share_a_blob),
		cmocka_unit_test(without_memory_nothing_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
