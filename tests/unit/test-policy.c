/* SPDX-License-Identifier: Apache-2.0 */
/* Which files stay when there is no room for all. */
#include "tests/unit/test.h"

#include "fetchd/policy.h"

static struct policy *policy;

static int set_up(void **state)
{
	(void)state;
	policy = policy_new();
	return policy ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	policy_free(policy);
	return 0;
}

static uint64_t key_of(unsigned int n)
{
	return (n + 1) * 0x9E3779B97F4A7C15u;
}

static void add(unsigned int n, uint64_t size_bytes)
{
	assert_int_equal(policy_add(policy, key_of(n), size_bytes, true), 0);
}

static void more_used_is_worth_more(void **state)
{
	double once;

	(void)state;
	add(1, 100000);
	once = policy_value(policy, key_of(1));
	policy_use(policy, key_of(1), 1);
	assert_true(policy_value(policy, key_of(1)) > once);
	policy_use(policy, key_of(2), 5);
	assert_true(policy_value(policy, key_of(2)) == 0);
}

static void smaller_is_worth_more(void **state)
{
	(void)state;
	/* More than the factor of their names can make up for. */
	add(1, 1000);
	add(2, 1000 * 1000);
	assert_true(policy_value(policy, key_of(1)) > policy_value(policy, key_of(2)));
}

static void brought_ahead_is_worth_less(void **state)
{
	double ahead;

	(void)state;
	assert_int_equal(policy_add(policy, key_of(1), 5000, false), 0);
	ahead = policy_value(policy, key_of(1));
	policy_use(policy, key_of(1), 1);
	assert_true(policy_value(policy, key_of(1)) > ahead);
}

static void it_counts_blocks(void **state)
{
	(void)state;
	add(1, 0);
	add(2, 1);
	add(3, 4096);
	add(4, 4097);
	add(4, 4097);
	assert_int_equal(policy_totals(policy).files, 4);
	assert_int_equal(policy_totals(policy).bytes, 5 * 4096);
	policy_remove(policy, key_of(4), false);
	policy_remove(policy, key_of(4), false);
	policy_remove(policy, key_of(5), false);
	assert_int_equal(policy_totals(policy).files, 3);
	assert_int_equal(policy_totals(policy).bytes, 3 * 4096);
}

static uint64_t bytes_below(double limit, unsigned int n)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (policy_value(policy, key_of(i)) < limit)
			bytes += 8192;
	}
	return bytes;
}

static void the_limit_is_enough_and_little_more(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		add(i, 8192);
		policy_use(policy, key_of(i), i % 7);
	}
	for (uint64_t want = 8192; want <= 10000 * 8192; want = want * 3 / 2 + 1) {
		uint64_t below = bytes_below(policy_limit(policy, want), 10000);

		assert_true(below >= want || want > 9999 * 8192);
		assert_true(below <= want + want / 50 + 10 * 8192);
	}
	assert_true(bytes_below(policy_limit(policy, UINT64_MAX), 10000) == 10000 * 8192);
	assert_true(policy_limit(policy, 0) == 0);
}

static void what_is_not_used_any_more_sinks(void **state)
{
	(void)state;
	add(0, 8192);
	policy_use(policy, key_of(0), 20);
	/* Each is evicted and makes room for the next, as when the cache is full. */
	for (unsigned int i = 1; i < 2000; i++) {
		add(i, 8192);
		policy_use(policy, key_of(i), 2);
		if (policy_value(policy, key_of(i)) > policy_value(policy, key_of(0)))
			return;
		policy_remove(policy, key_of(i), true);
	}
	fail_msg("it stays for ever");
}

static void what_comes_back_has_its_uses(void **state)
{
	(void)state;
	add(1, 8192);
	policy_use(policy, key_of(1), 9);
	policy_remove(policy, key_of(1), false);
	assert_true(policy_value(policy, key_of(1)) == 0);
	add(1, 8192);
	add(2, 8192);
	policy_use(policy, key_of(2), 4);
	assert_true(policy_value(policy, key_of(1)) > policy_value(policy, key_of(2)));
}

/* Values stay comparable when the clock is turned back. */
static void it_runs_for_long(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 300000; i++) {
		add(i, 4096);
		if (i >= 100)
			policy_remove(policy, key_of(i - 100), true);
	}
	assert_int_equal(policy_totals(policy).files, 100);
	assert_true(policy_value(policy, key_of(299999)) > 0);
	assert_true(policy_limit(policy, UINT64_MAX) > policy_value(policy, key_of(299999)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(more_used_is_worth_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(smaller_is_worth_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(brought_ahead_is_worth_less, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_counts_blocks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_limit_is_enough_and_little_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_used_any_more_sinks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_comes_back_has_its_uses, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_runs_for_long, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
