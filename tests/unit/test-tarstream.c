/* SPDX-License-Identifier: Apache-2.0 */
/* lib/tarstream, lib/tarheader: sizes that no layer of a test has. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/tarstream.h"
#include "tests/unit/maketar.h"

static int count_data(void *context, const void *bytes, size_t len)
{
	(void)bytes;
	*(uint64_t *)context += len;
	return 0;
}

static int ignore_begin(void *context, const struct tarstream_entry *entry)
{
	(void)context;
	(void)entry;
	return 0;
}

static int ignore(void *context, const void *bytes, size_t len)
{
	(void)context;
	(void)bytes;
	(void)len;
	return 0;
}

static const struct tarstream_handler counting = {
	.begin = ignore_begin,
	.data = count_data,
	.end = ignore,
	.raw = ignore,
};

static void a_file_of_nine_gigabytes_is_walked(void **state)
{
	/* 9 GiB and 1 byte in base-256 */
	struct new_header h = { .name = "huge",
				.type = '0',
				.size_field = "\200\0\0\0\0\0\0\002\100\0\0\001" };
	uint64_t size = 9ULL * 1024 * 1024 * 1024 + 1, n = 0;
	enum { PIECE = 1024 * 1024 };
	cleanup_free uint8_t *piece = calloc(1, PIECE);
	cleanup_tarstream struct tarstream *stream = tarstream_new(&counting, &n);
	uint8_t block[TAR_BLOCK];

	(void)state;
	tar_header_make(block, &h, 0);
	assert_int_equal(tarstream_feed(stream, block, sizeof(block), NULL), 0);
	for (uint64_t left = tar_padded(size); left > 0;) {
		size_t len = left < PIECE ? (size_t)left : PIECE;

		assert_int_equal(tarstream_feed(stream, piece, len, NULL), 0);
		left -= len;
	}
	assert_int_equal(n, size);
	assert_int_equal(tarstream_finish(stream, NULL), 0);
}

static void the_headers_of_a_file_of_nine_gigabytes_are_resized_and_back(void **state)
{
	static const char *const fields[] = { "\200\0\0\0\0\0\0\002\100\0\0\001", "110000000001" };
	uint64_t size = 9ULL * 1024 * 1024 * 1024 + 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		struct new_header h = { .name = "huge", .type = '0', .size_field = fields[i] };
		uint8_t block[TAR_BLOCK], resized[TAR_BLOCK];
		struct tar_header header;

		tar_header_make(block, &h, 0);
		assert_int_equal(tar_header_parse(block, &header, NULL), 0);
		assert_int_equal(header.size_bytes, size);
		assert_int_equal(tar_resize_is_reversible(block, sizeof(block), size, 150, resized),
				 1);
		assert_int_equal(tar_header_parse(resized, &header, NULL), 0);
		assert_int_equal(header.size_bytes, 150);
	}
}

static void pax_records_are_read_to_the_byte(void **state)
{
	static const char *const bad[] = { "7 a=b\n", "6 a=b",	"6 ab\n\n", "a a=b\n",
					   "6a=bc\n", "06 a=b", "5 =b\n" };
	struct pax_record record;
	size_t off = 0;

	(void)state;
	assert_int_equal(pax_next("6 a=b\n5 c=\n", 11, &off, &record), 1);
	assert_true(pax_key_is(&record, "a"));
	assert_int_equal(record.value_len, 1);
	assert_int_equal(pax_next("6 a=b\n5 c=\n", 11, &off, &record), 1);
	assert_true(pax_key_is(&record, "c"));
	assert_int_equal(record.value_len, 0);
	assert_int_equal(pax_next("6 a=b\n5 c=\n", 11, &off, &record), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		off = 0;
		assert_int_equal(pax_next(bad[i], strlen(bad[i]), &off, &record), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_of_nine_gigabytes_is_walked),
		cmocka_unit_test(the_headers_of_a_file_of_nine_gigabytes_are_resized_and_back),
		cmocka_unit_test(pax_records_are_read_to_the_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
