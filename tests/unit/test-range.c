/* SPDX-License-Identifier: Apache-2.0 */
/* Range and Content-Range headers. */
#include "tests/unit/test.h"

#include <string.h>

#include "server/range.h"
#include "server/zstdbody.h"

static void is_part(const char *header, uint64_t size, uint64_t first, uint64_t last)
{
	uint64_t a = 99, b = 99;

	assert_int_equal(range_parse(header, size, &a, &b), RANGE_PART);
	assert_int_equal(a, first);
	assert_int_equal(b, last);
}

static void is(enum range_kind kind, const char *header, uint64_t size)
{
	uint64_t a = 0, b = 0;

	if (range_parse(header, size, &a, &b) != kind)
		fail_msg("'%s' of %llu", header ? header : "(none)", (unsigned long long)size);
}

static void one_range_is_a_part(void **state)
{
	(void)state;
	is_part("bytes=0-0", 10, 0, 0);
	is_part("bytes=2-5", 10, 2, 5);
	is_part("bytes=2-", 10, 2, 9);
	is_part("Bytes= 2-5 ", 10, 2, 5);
	is_part("bytes=9-100", 10, 9, 9);
	is_part("bytes=0-18446744073709551616", 10, 0, 9);
}

static void a_suffix_counts_from_the_end(void **state)
{
	(void)state;
	is_part("bytes=-3", 10, 7, 9);
	is_part("bytes=-100", 10, 0, 9);
	is(RANGE_UNSATISFIABLE, "bytes=-0", 10);
	is(RANGE_UNSATISFIABLE, "bytes=-1", 0);
}

static void a_range_behind_the_end_cannot_be_satisfied(void **state)
{
	(void)state;
	is(RANGE_UNSATISFIABLE, "bytes=10-", 10);
	is(RANGE_UNSATISFIABLE, "bytes=10-12", 10);
	is(RANGE_UNSATISFIABLE, "bytes=0-0", 0);
	is(RANGE_UNSATISFIABLE, "bytes=500-0", 2048);
	is(RANGE_UNSATISFIABLE, "bytes=99999999999999999999-", 10);
}

static void what_is_not_one_range_means_the_whole(void **state)
{
	static const char *const headers[] = {
		"",	      "bytes",	     "bytes=",	      "bytes=-",
		"bytes=a-b",  "bytes=1",     "bytes=1-2x",    "bytes=+1-2",
		"bytes=1--2", "items=1-2",   "bytes=1-2,4-5", "bytes=--1",
		"bytes 1-2",  "bytes=0x1-2",
	};

	(void)state;
	is(RANGE_WHOLE, NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		is(RANGE_WHOLE, headers[i], 10);
}

static void a_content_range_is_two_numbers(void **state)
{
	uint64_t a = 0, b = 0;

	(void)state;
	assert_int_equal(content_range_parse("0-3", &a, &b), 0);
	assert_int_equal(a, 0);
	assert_int_equal(b, 3);
	assert_int_equal(content_range_parse("bytes 4-9/*", &a, &b), 0);
	assert_int_equal(a, 4);
	assert_int_equal(b, 9);
}

static void anything_else_is_not_a_content_range(void **state)
{
	static const char *const headers[] = {
		"",    "-",   "3",     "3-",	  "-3",
		"3-2", "a-b", "0-3 x", "0-3,4-5", "0-99999999999999999999",
	};
	uint64_t a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		if (content_range_parse(headers[i], &a, &b) != -EINVAL)
			fail_msg("'%s' was taken", headers[i]);
	}
}

static void zstd_is_sent_to_who_lists_it(void **state)
{
	(void)state;
	assert_true(zstd_is_accepted("zstd"));
	assert_true(zstd_is_accepted("gzip, ZSTD"));
	assert_true(zstd_is_accepted("zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"));
	assert_true(zstd_is_accepted("gzip;q=0 , zstd ; q=0.001"));
}

static void zstd_is_not_sent_to_who_does_not_want_it(void **state)
{
	(void)state;
	assert_false(zstd_is_accepted(NULL));
	assert_false(zstd_is_accepted(""));
	assert_false(zstd_is_accepted("gzip, deflate, br"));
	assert_false(zstd_is_accepted("zstd;q=0"));
	assert_false(zstd_is_accepted("zstd;q=0.000, gzip"));
	assert_false(zstd_is_accepted("xzstd, zstdx"));
	assert_false(zstd_is_accepted("*"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_range_is_a_part),
		cmocka_unit_test(a_suffix_counts_from_the_end),
		cmocka_unit_test(a_range_behind_the_end_cannot_be_satisfied),
		cmocka_unit_test(what_is_not_one_range_means_the_whole),
		cmocka_unit_test(a_content_range_is_two_numbers),
		cmocka_unit_test(anything_else_is_not_a_content_range),
		cmocka_unit_test(zstd_is_sent_to_who_lists_it),
		cmocka_unit_test(zstd_is_not_sent_to_who_does_not_want_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
