/* SPDX-License-Identifier: Apache-2.0 */
/* Range and Content-Range headers. */
#include "tests/unit/test.h"

#include <string.h>

#include "server/negotiate.h"
#include "server/range.h"

static void is_part(const char *header, uint64_t size, uint64_t first, uint64_t last)
{
	cleanup_free struct byte_range *ranges = NULL;
	unsigned int n = 0;

	assert_int_equal(range_parse(header, size, &ranges, &n), RANGE_PART);
	assert_int_equal(n, 1);
	assert_int_equal(ranges[0].first, first);
	assert_int_equal(ranges[0].last, last);
}

static void is(enum range_kind kind, const char *header, uint64_t size)
{
	cleanup_free struct byte_range *ranges = NULL;
	unsigned int n;

	if (range_parse(header, size, &ranges, &n) != kind)
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

static void what_is_no_range_means_the_whole(void **state)
{
	static const char *const headers[] = {
		"",	      "bytes",	     "bytes=",	      "bytes=-",
		"bytes=a-b",  "bytes=1",     "bytes=1-2x",    "bytes=+1-2",
		"bytes=1--2", "items=1-2",   "bytes=1-2;4-5", "bytes=--1",
		"bytes 1-2",  "bytes=0x1-2",
	};

	(void)state;
	is(RANGE_WHOLE, NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		is(RANGE_WHOLE, headers[i], 10);
}

static void are_parts(const char *header, uint64_t size, const char *wanted)
{
	cleanup_free struct byte_range *ranges = NULL;
	char got[512] = "";
	unsigned int n = 0;

	assert_int_equal(range_parse(header, size, &ranges, &n), RANGE_PART);
	for (unsigned int i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%llu-%llu", i ? "," : "",
			 (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last);
	assert_string_equal(got, wanted);
}

static void several_ranges_are_parts_in_order(void **state)
{
	(void)state;
	are_parts("bytes=0-1,4-5", 10, "0-1,4-5");
	are_parts("bytes=4-5 , 0-1", 10, "0-1,4-5");
	are_parts("bytes=-1,0-0", 10, "0-0,9-9");
}

static void ranges_that_touch_are_one(void **state)
{
	(void)state;
	are_parts("bytes=0-3,2-5", 10, "0-5");
	are_parts("bytes=0-3,4-5,8-8", 10, "0-5,8-8");
	are_parts("bytes=1-8,2-3", 10, "1-8");
	are_parts("bytes=0-", 10, "0-9");
}

static void ranges_behind_the_end_are_left_out(void **state)
{
	(void)state;
	are_parts("bytes=0-1,40-50", 10, "0-1");
	is(RANGE_UNSATISFIABLE, "bytes=10-11,40-50", 10);
}

static void too_many_ranges_mean_the_whole(void **state)
{
	char many[RANGES_ASKED_MAX * 16 + 32] = "bytes=";

	(void)state;
	is(RANGE_WHOLE, "bytes=0-3,4-9", 10); /* all of it */
	assert_int_equal(RANGES_MAX, 256);    /* of podman: see range.h */
	for (unsigned int i = 0; i < RANGES_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s%u-%u", i ? "," : "",
			 i * 10, i * 10 + 1);
	is(RANGE_PART, many, 100000);
	snprintf(many + strlen(many), sizeof(many) - strlen(many), ",90000-90001");
	is(RANGE_WHOLE, many, 100000);
	snprintf(many, sizeof(many), "bytes=0-1");
	for (unsigned int i = 1; i < RANGES_ASKED_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), ",0-1");
	is(RANGE_PART, many, 100000);
	snprintf(many + strlen(many), sizeof(many) - strlen(many), ",0-1");
	is(RANGE_WHOLE, many, 100000);
}

static void an_entity_tag_is_found_in_a_list(void **state)
{
	(void)state;
	assert_true(etag_listed("\"a\"", "\"a\"", false));
	assert_true(etag_listed(" \"b\" , \"a\"", "\"a\"", false));
	assert_true(etag_listed("W/\"a\"", "\"a\"", true));
	assert_true(etag_listed(" * ", "\"a\"", false));
	assert_true(etag_listed("\"x,y\", \"a\"", "\"a\"", true));
}

static void no_other_entity_tag_is_found(void **state)
{
	(void)state;
	assert_false(etag_listed(NULL, "\"a\"", true));
	assert_false(etag_listed("", "\"a\"", true));
	assert_false(etag_listed("a", "\"a\"", true));
	assert_false(etag_listed("\"aa\"", "\"a\"", true));
	assert_false(etag_listed("\"a", "\"a\"", true));
	assert_false(etag_listed("W/\"a\"", "\"a\"", false));
	assert_false(etag_listed("**", "\"a\"", true));
	assert_false(etag_listed("\"b \"a\"", "\"a\"", true));
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
	assert_true(accepts_zstd("zstd"));
	assert_true(accepts_zstd("gzip, ZSTD"));
	assert_true(accepts_zstd("zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"));
	assert_true(accepts_zstd("gzip;q=0 , zstd ; q=0.001"));
	assert_true(accepts_zstd("zstd;q=0.5, identity;q=0.5"));
	assert_true(accepts_zstd("identity;q=0.4, zstd;q=0.41"));
	assert_true(accepts_zstd("identity;q=0, zstd;q=0.1"));
	assert_true(accepts_zstd("identity, zstd"));
}

static void zstd_is_not_sent_to_who_does_not_want_it(void **state)
{
	(void)state;
	assert_false(accepts_zstd(NULL));
	assert_false(accepts_zstd(""));
	assert_false(accepts_zstd("gzip, deflate, br"));
	assert_false(accepts_zstd("zstd;q=0"));
	assert_false(accepts_zstd("zstd;q=0.000, gzip"));
	assert_false(accepts_zstd("xzstd, zstdx"));
	assert_false(accepts_zstd("*"));
	assert_false(accepts_zstd("zstd;q=0.1, identity;q=1"));
	assert_false(accepts_zstd("identity, zstd;q=0.999"));
	assert_false(accepts_zstd("zstd;q=0.5, identity;q=0.501"));
	assert_false(accepts_zstd("zstd;q="));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_range_is_a_part),
		cmocka_unit_test(a_suffix_counts_from_the_end),
		cmocka_unit_test(a_range_behind_the_end_cannot_be_satisfied),
		cmocka_unit_test(what_is_no_range_means_the_whole),
		cmocka_unit_test(several_ranges_are_parts_in_order),
		cmocka_unit_test(ranges_that_touch_are_one),
		cmocka_unit_test(ranges_behind_the_end_are_left_out),
		cmocka_unit_test(too_many_ranges_mean_the_whole),
		cmocka_unit_test(an_entity_tag_is_found_in_a_list),
		cmocka_unit_test(no_other_entity_tag_is_found),
		cmocka_unit_test(a_content_range_is_two_numbers),
		cmocka_unit_test(anything_else_is_not_a_content_range),
		cmocka_unit_test(zstd_is_sent_to_who_lists_it),
		cmocka_unit_test(zstd_is_not_sent_to_who_does_not_want_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
