/* SPDX-License-Identifier: Apache-2.0 */
/* Which digests a network worker may have died of. */
#include "tests/unit/test.h"

#include "fetchd/suspects.h"

static struct suspects *suspects;

static int set_up(void **state)
{
	(void)state;
	suspects = suspects_new();
	return suspects ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	suspects_free(suspects);
	return 0;
}

static struct digest digest_of(unsigned int n)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, &n, sizeof(n), &digest), 0);
	return digest;
}

static void three_deaths_are_a_quarantine(void **state)
{
	struct digest bad = digest_of(1), good = digest_of(2);

	(void)state;
	assert_int_equal(suspects_note_death(suspects, &bad, 1000), 1);
	assert_false(suspects_is_apart(suspects, &bad, 1000));
	assert_int_equal(suspects_note_death(suspects, &bad, 2000), 2);
	assert_true(suspects_is_apart(suspects, &bad, 2000));
	assert_int_equal(suspects_quarantine_ms(suspects, &bad, 2000), 0);
	assert_int_equal(suspects_note_death(suspects, &bad, 3000), 3);
	assert_int_equal(suspects_quarantine_ms(suspects, &bad, 3000), SUSPECT_QUARANTINE_MS);
	assert_int_equal(suspects_quarantine_ms(suspects, &bad, 4000),
			 SUSPECT_QUARANTINE_MS - 1000);
	assert_false(suspects_is_apart(suspects, &good, 4000));
	assert_int_equal(suspects_quarantine_ms(suspects, &good, 4000), 0);
}

static void who_was_innocent_begins_anew(void **state)
{
	struct digest digest = digest_of(1);

	(void)state;
	suspects_note_death(suspects, &digest, 1000);
	suspects_note_death(suspects, &digest, 1000);
	suspects_clear(suspects, &digest);
	assert_false(suspects_is_apart(suspects, &digest, 1000));
	assert_int_equal(suspects_note_death(suspects, &digest, 1000), 1);
	suspects_clear(suspects, &digest);
	suspects_clear(suspects, &digest);
}

static void a_quarantine_ends(void **state)
{
	struct digest digest = digest_of(1);
	int64_t end = 1000 + SUSPECT_QUARANTINE_MS;

	(void)state;
	for (int i = 0; i < 3; i++)
		suspects_note_death(suspects, &digest, 1000);
	assert_int_equal(suspects_quarantine_ms(suspects, &digest, end - 1), 1);
	assert_int_equal(suspects_quarantine_ms(suspects, &digest, end), 0);
	assert_false(suspects_is_apart(suspects, &digest, end));
	assert_int_equal(suspects_note_death(suspects, &digest, end), 1);
}

static void the_oldest_is_forgotten(void **state)
{
	struct digest first = digest_of(0), second = digest_of(1);

	(void)state;
	for (unsigned int i = 0; i <= SUSPECTS_MAX; i++) {
		struct digest digest = digest_of(i);

		suspects_note_death(suspects, &digest, i);
		suspects_note_death(suspects, &digest, i);
	}
	assert_false(suspects_is_apart(suspects, &first, SUSPECTS_MAX));
	assert_true(suspects_is_apart(suspects, &second, SUSPECTS_MAX));
}

static void they_are_listed(void **state)
{
	struct digest digests[] = { digest_of(0), digest_of(1), digest_of(2) };
	cleanup_json json_t *list = NULL;
	char text[DIGEST_TEXT_SIZE];
	const json_t *row;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(digests); i++)
		suspects_note_death(suspects, &digests[i], 1000);
	suspects_note_death(suspects, &digests[1], 1500);
	suspects_note_death(suspects, &digests[1], 2000);
	suspects_clear(suspects, &digests[0]);
	list = suspects_describe(suspects, 1000 + SUSPECT_QUARANTINE_MS);
	assert_int_equal(json_array_size(list), 1);
	row = json_array_get(list, 0);
	assert_string_equal(json_get_string(row, "digest"), digest_format(&digests[1], text));
	assert_int_equal(json_integer_value(json_object_get(row, "deaths")), 3);
	assert_int_equal(json_integer_value(json_object_get(row, "quarantine_ms")), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(three_deaths_are_a_quarantine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_was_innocent_begins_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_quarantine_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_oldest_is_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(they_are_listed, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
