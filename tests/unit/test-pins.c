/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of digests that stay, and that they are there after a restart. */
#include "tests/unit/test.h"

#include <fcntl.h>

#include "fetchd/pins.h"
#include "fetchd/policy.h"
#include "lib/log.h"

static char state_dir[] = "/tmp/test-pins-XXXXXX";
static struct pins *pins;

static void reopen(void)
{
	struct problem problem = { "" };

	pins_close(pins);
	assert_int_equal(pins_open(state_dir, &pins, &problem), 0);
}

static int set_up(void **state)
{
	(void)state;
	memset(state_dir + strlen(state_dir) - 6, 'X', 6);
	if (!mkdtemp(state_dir))
		return -1;
	pins = NULL;
	reopen();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pins_close(pins);
	return remove_tree_at(AT_FDCWD, state_dir);
}

static struct digest digest_of(unsigned int n)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, &n, sizeof(n), &digest), 0);
	return digest;
}

static bool has(unsigned int n)
{
	struct digest digest = digest_of(n);

	return pins_has(pins, policy_key(&digest));
}

static int set(const char *name, unsigned int first, size_t n)
{
	struct digest *digests = calloc(n + 1, sizeof(*digests));
	struct problem problem = { "" };
	int r;

	assert_non_null(digests);
	for (unsigned int i = 0; i < n; i++)
		digests[i] = digest_of(first + i);
	r = pins_set(pins, name, digests, n, &problem);
	free(digests);
	return r;
}

static void what_is_pinned_stays_pinned(void **state)
{
	(void)state;
	assert_false(has(1));
	assert_int_equal(set("a", 0, 3), 0);
	for (int round = 0; round < 2; round++) {
		assert_true(has(0) && has(1) && has(2));
		assert_false(has(3));
		reopen();
	}
}

static void a_name_stands_for_its_last_set(void **state)
{
	(void)state;
	assert_int_equal(set("a", 0, 10), 0);
	assert_int_equal(set("a", 5, 10), 0);
	assert_false(has(4));
	assert_true(has(5) && has(14));
	assert_int_equal(set("b", 0, 6), 0);
	assert_int_equal(pins_remove(pins, "a"), 0);
	assert_true(has(4) && has(5));
	assert_false(has(6) || has(14));
	assert_int_equal(pins_remove(pins, "a"), -ENOENT);
	reopen();
	assert_true(has(5));
	assert_false(has(6));
}

static void many_are_no_problem(void **state)
{
	(void)state;
	assert_int_equal(set("many", 0, 20000), 0);
	for (unsigned int i = 0; i < 20000; i += 97)
		assert_true(has(i));
	assert_int_equal(set("many", 0, 0), 0);
	assert_false(has(97));
}

static void bad_names_are_refused(void **state)
{
	char name[PIN_NAME_MAX + 2];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(set("", 0, 1), -EINVAL);
	assert_int_equal(set("two\nlines", 0, 1), -EINVAL);
	assert_int_equal(set(name, 0, 1), -EINVAL);
	assert_false(has(0));
}

static void a_damaged_set_costs_only_itself(void **state)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct digest name;
	char hex[DIGEST_TEXT_SIZE];

	(void)state;
	assert_int_equal(set("a", 0, 3), 0);
	assert_int_equal(set("b", 3, 3), 0);
	assert_int_equal(digest_compute(DIGEST_SHA256, "a", 1, &name), 0);
	path = format_text("%s/pins/%s", state_dir, digest_format_hex(&name, hex));
	assert_non_null(path);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 10), 1);
	log_set_level(LOG_LEVEL_ERROR);
	reopen();
	assert_false(has(0));
	assert_true(has(3));
	assert_int_equal(set("a", 0, 3), 0);
	assert_true(has(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_pinned_stays_pinned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_name_stands_for_its_last_set, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_are_no_problem, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_names_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_set_costs_only_itself, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
