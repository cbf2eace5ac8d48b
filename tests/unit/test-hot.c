/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of whole answers: what is kept, for how long, and how much of it. */
#include "tests/unit/test.h"

#include <microhttpd.h>
#include <string.h>

#include "server/hot.h"

static struct digest digest_of(unsigned int n)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, &n, sizeof(n), &digest), 0);
	return digest;
}

static struct MHD_Response *make_response(void)
{
	static char text[] = "x";

	return MHD_create_response_from_buffer(1, text, MHD_RESPMEM_PERSISTENT);
}

/* Twice, since only the second time counts. Return: is it kept? */
static bool put(struct hot *hot, const struct hot_key *key, uint64_t bytes, uint32_t removals)
{
	for (int i = 0; i < 2; i++) {
		struct MHD_Response *response = make_response();
		struct hot_entry *entry = NULL;

		if (hot_ask(hot, key))
			entry = hot_put(hot, key, response, bytes, removals);
		if (!entry) {
			MHD_destroy_response(response);
			continue;
		}
		assert_int_equal(hot_entry_bytes(entry), bytes);
		hot_entry_unref(entry);
		return true;
	}
	return false;
}

static bool has(struct hot *hot, const struct hot_key *key, uint32_t removals)
{
	struct hot_entry *entry = hot_get(hot, key, removals);

	hot_entry_unref(entry);
	return entry;
}

static void the_second_time_counts(void **state)
{
	struct hot *hot = hot_new(1 << 20, 1);
	struct digest digest = digest_of(1);
	const struct hot_key key = { "r", &digest, false };

	(void)state;
	assert_false(hot_ask(hot, &key));
	assert_false(has(hot, &key, 0));
	assert_true(put(hot, &key, 1, 0));
	assert_true(has(hot, &key, 0));
	hot_free(hot);
}

static void who_asks_before_it_is_made_counts_as_a_first_time(void **state)
{
	struct hot *hot = hot_new(1 << 20, 1);
	struct digest digest = digest_of(1);
	const struct hot_key key = { "r", &digest, false };
	struct MHD_Response *response = make_response();
	struct hot_entry *entry;

	(void)state;
	assert_false(hot_ask(hot, &key));
	assert_true(hot_ask(hot, &key));
	entry = hot_put(hot, &key, response, 1, 0);
	assert_non_null(entry);
	hot_entry_unref(entry);
	hot_free(hot);
}

static void the_largest_answers_do_not_drive_each_other_out_by_chance(void **state)
{
	enum { MAX = 1 << 20, N = 16 };
	struct hot *hot = hot_new((uint64_t)2 * N * MAX, MAX);
	unsigned int n = 0;

	(void)state;
	for (unsigned int i = 0; i < N; i++) {
		struct digest digest = digest_of(i);
		const struct hot_key key = { "r", &digest, false };

		assert_true(put(hot, &key, MAX - 65536, 0));
	}
	for (unsigned int i = 0; i < N; i++) {
		struct digest digest = digest_of(i);
		const struct hot_key key = { "r", &digest, false };

		n += has(hot, &key, 0);
	}
	assert_int_equal(n, N);
	hot_free(hot);
}

static void another_repository_digest_or_form_is_another_answer(void **state)
{
	struct hot *hot = hot_new(1 << 20, 1);
	struct digest digest = digest_of(1), other = digest_of(2);
	const struct hot_key key = { "r", &digest, false };
	const struct hot_key keys[] = { { "s", &digest, false },
					{ "r", &other, false },
					{ "r", &digest, true } };

	(void)state;
	assert_true(put(hot, &key, 1, 0));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert_false(has(hot, &keys[i], 0));
	hot_free(hot);
}

static void after_a_removal_it_is_gone(void **state)
{
	struct hot *hot = hot_new(1 << 20, 1);
	struct digest digest = digest_of(1);
	const struct hot_key key = { "r", &digest, false };

	(void)state;
	assert_true(put(hot, &key, 1, 7));
	assert_true(has(hot, &key, 7));
	assert_false(has(hot, &key, 8));
	assert_false(has(hot, &key, 7)); /* for good */
	hot_free(hot);
}

static void an_answer_in_use_outlives_its_place(void **state)
{
	struct hot *hot = hot_new(1 << 20, 1);
	struct digest digest = digest_of(1);
	const struct hot_key key = { "r", &digest, false };
	struct hot_entry *entry;

	(void)state;
	assert_true(put(hot, &key, 1, 0));
	entry = hot_get(hot, &key, 0);
	assert_non_null(entry);
	assert_false(has(hot, &key, 1));
	hot_free(hot);
	assert_non_null(hot_entry_response(entry));
	hot_entry_unref(entry);
}

static void it_does_not_grow_past_its_bound(void **state)
{
	enum { BOUND = 1 << 20, BYTES = 8192, N = 2000 };
	struct hot *hot = hot_new(BOUND, 1);
	unsigned int kept = 0;

	(void)state;
	for (unsigned int i = 0; i < N; i++) {
		struct digest digest = digest_of(i);
		const struct hot_key key = { "r", &digest, false };

		put(hot, &key, BYTES, 0);
	}
	for (unsigned int i = 0; i < N; i++) {
		struct digest digest = digest_of(i);
		const struct hot_key key = { "r", &digest, false };

		kept += has(hot, &key, 0);
	}
	assert_true(kept > 0);
	assert_true(kept * BYTES <= BOUND);
	hot_free(hot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_time_counts),
		cmocka_unit_test(who_asks_before_it_is_made_counts_as_a_first_time),
		cmocka_unit_test(the_largest_answers_do_not_drive_each_other_out_by_chance),
		cmocka_unit_test(another_repository_digest_or_form_is_another_answer),
		cmocka_unit_test(after_a_removal_it_is_gone),
		cmocka_unit_test(an_answer_in_use_outlives_its_place),
		cmocka_unit_test(it_does_not_grow_past_its_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
