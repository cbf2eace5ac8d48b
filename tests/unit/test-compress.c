/* SPDX-License-Identifier: Apache-2.0 */
/* lib/compress: streams in pieces of any size, whole, cut and damaged. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/compress.h"
#include "lib/log.h"
#include "tests/unit/maketar.h"

enum { TEXT_LEN = 1000 * 1000 };

static int add(void *context, const void *bytes, size_t len)
{
	bytes_add(context, bytes, len);
	return 0;
}

static void pack(enum oci_compression compression, const char *text, size_t piece,
		 struct bytes *out)
{
	cleanup_compressor struct compressor *c = compressor_new(compression, 0);

	assert_non_null(c);
	for (size_t off = 0; off < TEXT_LEN; off += piece) {
		size_t left = TEXT_LEN - off;

		assert_int_equal(
			compressor_feed(c, text + off, left < piece ? left : piece, add, out), 0);
	}
	assert_int_equal(compressor_finish(c, add, out), 0);
}

static int unpack(enum oci_compression compression, const struct bytes *packed, size_t len,
		  size_t piece, struct bytes *out)
{
	cleanup_decompressor struct decompressor *d = decompressor_new(compression);
	int r = 0;

	assert_non_null(d);
	for (size_t off = 0; !r && off < len; off += piece)
		r = decompressor_feed(d, packed->p + off, len - off < piece ? len - off : piece,
				      add, out, NULL);
	return r ? r : decompressor_finish(d, NULL);
}

static void what_goes_in_comes_out_whatever_the_pieces(void **state)
{
	cleanup_free char *text = tar_text(TEXT_LEN);

	(void)state;
	for (int i = OCI_UNCOMPRESSED; i <= OCI_ZSTD; i++) {
		struct bytes a = { .p = NULL }, b = { .p = NULL }, back = { .p = NULL };

		pack((enum oci_compression)i, text, 777, &a);
		pack((enum oci_compression)i, text, TEXT_LEN, &b);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.p, b.p, a.len);
		assert_int_equal(unpack((enum oci_compression)i, &a, a.len, 1000, &back), 0);
		assert_int_equal(back.len, TEXT_LEN);
		assert_memory_equal(back.p, text, TEXT_LEN);
		bytes_free(&a);
		bytes_free(&b);
		bytes_free(&back);
	}
}

static void members_behind_each_other_are_one_stream(void **state)
{
	cleanup_free char *text = tar_text(TEXT_LEN);

	(void)state;
	for (int i = OCI_GZIP; i <= OCI_ZSTD; i++) {
		struct bytes packed = { .p = NULL }, back = { .p = NULL };

		pack((enum oci_compression)i, text, TEXT_LEN, &packed);
		pack((enum oci_compression)i, text, TEXT_LEN, &packed);
		assert_int_equal(unpack((enum oci_compression)i, &packed, packed.len, 1, &back), 0);
		assert_int_equal(back.len, 2 * TEXT_LEN);
		bytes_free(&packed);
		bytes_free(&back);
	}
}

static void a_stream_that_is_cut_off_is_an_error(void **state)
{
	cleanup_free char *text = tar_text(TEXT_LEN);

	(void)state;
	for (int i = OCI_GZIP; i <= OCI_ZSTD; i++) {
		struct bytes packed = { .p = NULL }, back = { .p = NULL };

		pack((enum oci_compression)i, text, TEXT_LEN, &packed);
		for (size_t len = 0; len < packed.len; len += 1 + packed.len / 50)
			assert_int_equal(unpack((enum oci_compression)i, &packed, len, 1000, &back),
					 -EBADMSG);
		bytes_free(&packed);
		bytes_free(&back);
	}
}

static void a_damaged_stream_is_an_error(void **state)
{
	cleanup_free char *text = tar_text(TEXT_LEN);

	(void)state;
	for (int i = OCI_GZIP; i <= OCI_ZSTD; i++) {
		struct bytes packed = { .p = NULL }, back = { .p = NULL };

		pack((enum oci_compression)i, text, TEXT_LEN, &packed);
		packed.p[packed.len / 2] ^= 0x55;
		assert_int_equal(unpack((enum oci_compression)i, &packed, packed.len, 1000, &back),
				 -EBADMSG);
		bytes_free(&packed);
		bytes_free(&back);
	}
}

static int refuse(void *context, const void *bytes, size_t len)
{
	(void)context;
	(void)bytes;
	(void)len;
	return -ENOSPC;
}

static void the_error_of_the_sink_is_passed_up(void **state)
{
	cleanup_compressor struct compressor *c = compressor_new(OCI_ZSTD, 0);

	(void)state;
	assert_int_equal(compressor_feed(c, "text", 4, refuse, NULL), 0);
	assert_int_equal(compressor_finish(c, refuse, NULL), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out_whatever_the_pieces),
		cmocka_unit_test(members_behind_each_other_are_one_stream),
		cmocka_unit_test(a_stream_that_is_cut_off_is_an_error),
		cmocka_unit_test(a_damaged_stream_is_an_error),
		cmocka_unit_test(the_error_of_the_sink_is_passed_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
