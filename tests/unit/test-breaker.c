/* SPDX-License-Identifier: Apache-2.0 */
/* When a host is left alone, and for how long. */
#include "tests/unit/test.h"

#include "fetchd/breaker.h"

static struct breakers *breakers;

static int set_up(void **state)
{
	(void)state;
	breakers = breakers_new();
	return breakers ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	breakers_free(breakers);
	return 0;
}

static void failures(const char *host, unsigned int n, int64_t now)
{
	for (unsigned int i = 0; i < n; i++)
		breaker_failed(breakers, host, -1, now);
}

static void some_failures_in_a_row_open_it(void **state)
{
	(void)state;
	failures("a", BREAKER_FAILURES - 1, 1000);
	assert_false(breaker_is_open(breakers, "a", 1000));
	failures("a", 1, 1000);
	assert_true(breaker_is_open(breakers, "a", 1000));
	assert_true(breaker_is_open(breakers, "a", 1000 + BREAKER_OPEN_MIN_MS - 1));
	assert_false(breaker_is_open(breakers, "a", 1000 + BREAKER_OPEN_MIN_MS));
	assert_false(breaker_is_open(breakers, "b", 1000));
}

static void an_answer_closes_it(void **state)
{
	(void)state;
	failures("a", BREAKER_FAILURES, 1000);
	breaker_succeeded(breakers, "a");
	breaker_succeeded(breakers, "never seen");
	assert_false(breaker_is_open(breakers, "a", 1000));
	failures("a", BREAKER_FAILURES - 1, 1000);
	assert_false(breaker_is_open(breakers, "a", 1000));
}

static void one_tries_it_again(void **state)
{
	int64_t later = 1000 + BREAKER_OPEN_MIN_MS;

	(void)state;
	failures("a", BREAKER_FAILURES, 1000);
	breaker_enter(breakers, "a", later);
	assert_true(breaker_is_open(breakers, "a", later));
	assert_false(breaker_is_open(breakers, "a", later + BREAKER_PROBE_MS));
	failures("a", 1, later + 100);
	assert_true(breaker_is_open(breakers, "a", later + 100 + 2 * BREAKER_OPEN_MIN_MS - 1));
	breaker_enter(breakers, "not failing", later);
	assert_false(breaker_is_open(breakers, "not failing", later));
}

static void the_wait_is_bounded(void **state)
{
	int64_t now = 1000;

	(void)state;
	failures("a", BREAKER_FAILURES, now);
	for (int i = 0; i < 20; i++) {
		now += BREAKER_OPEN_MAX_MS;
		breaker_enter(breakers, "a", now);
		failures("a", 1, now);
	}
	assert_true(breaker_is_open(breakers, "a", now + BREAKER_OPEN_MAX_MS - 1));
	assert_false(breaker_is_open(breakers, "a", now + BREAKER_OPEN_MAX_MS));
}

static void many_that_fail_together_are_one_blip(void **state)
{
	(void)state;
	failures("a", 1000, 1000);
	assert_true(breaker_is_open(breakers, "a", 1000 + BREAKER_OPEN_MIN_MS - 1));
	assert_false(breaker_is_open(breakers, "a", 1000 + BREAKER_OPEN_MIN_MS));
}

static void a_host_that_asks_for_patience_gets_it_at_once(void **state)
{
	(void)state;
	breaker_failed(breakers, "a", 5000, 1000);
	assert_true(breaker_is_open(breakers, "a", 5999));
	assert_false(breaker_is_open(breakers, "a", 6000));
	breaker_failed(breakers, "b", 3600 * 1000, 1000);
	assert_true(breaker_is_open(breakers, "b", 1000 + BREAKER_OPEN_MAX_MS - 1));
	assert_false(breaker_is_open(breakers, "b", 1000 + BREAKER_OPEN_MAX_MS));
}

static void the_oldest_is_forgotten(void **state)
{
	char host[16];

	(void)state;
	for (unsigned int i = 0; i <= BREAKERS_MAX; i++) {
		snprintf(host, sizeof(host), "host%u", i);
		failures(host, BREAKER_FAILURES, i);
	}
	assert_false(breaker_is_open(breakers, "host0", BREAKERS_MAX));
	assert_true(breaker_is_open(breakers, "host1", BREAKERS_MAX));
	assert_true(breaker_is_open(breakers, host, BREAKERS_MAX));
}

static void they_are_listed(void **state)
{
	cleanup_json json_t *list = NULL;
	const json_t *row;

	(void)state;
	failures("a", BREAKER_FAILURES, 1000);
	failures("b", 1, 1000);
	breaker_succeeded(breakers, "b");
	list = breakers_describe(breakers, 1500);
	assert_int_equal(json_array_size(list), 1);
	row = json_array_get(list, 0);
	assert_string_equal(json_get_string(row, "host"), "a");
	assert_int_equal(json_integer_value(json_object_get(row, "failures")), BREAKER_FAILURES);
	assert_int_equal(json_integer_value(json_object_get(row, "open_ms")),
			 BREAKER_OPEN_MIN_MS - 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(some_failures_in_a_row_open_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_closes_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_tries_it_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_wait_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_that_fail_together_are_one_blip, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_host_that_asks_for_patience_gets_it_at_once,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_oldest_is_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(they_are_listed, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
