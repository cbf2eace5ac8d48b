/* SPDX-License-Identifier: Apache-2.0 */
/* lib/thin, lib/tarstream: layers made by hand, thinned and restored. */
#include "tests/unit/test.h"

#include <string.h>

#include "tests/unit/maketar.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char stub_text[] = "intinode {\"digest\":\"sha256:" HEX "\",\"size\":7,\"urls\":[]}";
static const struct thin_options defaults = {
	.inline_max = THIN_INLINE_DEFAULT,
	.inline_packed_max = THIN_INLINE_PACKED_DEFAULT,
};

/* ---- checking them ---- */

/* Accepted, restored, in pieces of several sizes; with so many stubs. Frees @tar. */
static void comes_back(struct bytes *tar, uint64_t n_stubs)
{
	static const size_t pieces[] = { 1, 511, 512, 513, 100000 };
	struct roundtrip trip;

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		int r = roundtrip_run(&trip, &defaults, tar->p, tar->len, pieces[i]);

		if (r)
			fail_msg("%s", trip.problem.text);
		assert_int_equal(trip.counts.n_stubs, n_stubs);
		assert_int_equal(trip.thick.len, tar->len);
		assert_memory_equal(trip.thick.p, tar->p, tar->len);
		roundtrip_free(&trip);
	}
	bytes_free(tar);
}

/* Refused, with these words. Frees @tar. */
static void is_refused(struct bytes *tar, const char *words)
{
	struct roundtrip trip;

	assert_int_equal(roundtrip_run(&trip, &defaults, tar->p, tar->len, 512), -EBADMSG);
	if (!strstr(trip.problem.text, words))
		fail_msg("'%s' is not in: %s", words, trip.problem.text);
	roundtrip_free(&trip);
	bytes_free(tar);
}

/* ---- the tests ---- */

static void a_large_file_becomes_a_stub_and_a_small_one_stays(void **state)
{
	struct bytes tar = { .p = NULL };
	struct roundtrip trip;
	struct stub stub;

	(void)state;
	tar_add_text(&tar, "large", 4097);
	tar_add_text(&tar, "small", 4096);
	tar_add_end(&tar);
	assert_int_equal(roundtrip_run(&trip, &defaults, tar.p, tar.len, 512), 0);
	assert_int_equal(trip.counts.n_stubs, 1);
	assert_int_equal(trip.counts.stub_bytes, 4097);
	assert_int_equal(trip.n_blobs, 1);
	/* header, stub, header, 4096, end */
	assert_int_equal(trip.thin.len, 512 + 512 + 512 + 4096 + 1024);
	assert_true(stub_parse(trip.thin.p + 512, strnlen((char *)trip.thin.p + 512, STUB_SIZE_MAX),
			       &stub));
	assert_int_equal(stub.size_bytes, 4097);
	roundtrip_free(&trip);
	comes_back(&tar, 1);
}

static void an_empty_file_is_never_a_stub(void **state)
{
	struct thin_options all = { .inline_max = 0 };
	struct bytes tar = { .p = NULL };
	struct roundtrip trip;

	(void)state;
	tar_add_text(&tar, "empty", 0);
	tar_add_text(&tar, "one", 1);
	assert_int_equal(roundtrip_run(&trip, &all, tar.p, tar.len, 512), 0);
	assert_int_equal(trip.counts.n_stubs, 1);
	roundtrip_free(&trip);
	bytes_free(&tar);
}

static void every_other_type_is_kept(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_entry(&tar, &(struct new_header){ .name = "dir/", .type = '5' }, NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = "link", .type = '1' }, NULL, 0);
	/* Old GNU tar gave hard links a size; there is no data behind it. */
	tar_add_entry(
		&tar,
		&(struct new_header){ .name = "hard", .type = '1', .size_field = "00000123456" },
		NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = "symlink", .type = '2' }, NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = "null", .type = '3' }, NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = "fifo", .type = '6' }, NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = ".wh.gone", .type = '0' }, NULL, 0);
	tar_add_entry(&tar, &(struct new_header){ .name = "volume", .type = 'V' }, NULL, 0);
	tar_add_end(&tar);
	comes_back(&tar, 0);
}

static void two_entries_with_one_name_are_both_kept(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "twice", 5000);
	tar_add_text(&tar, "twice", 6000);
	tar_add_end(&tar);
	comes_back(&tar, 2);
}

static void sizes_are_changed_in_the_style_they_have(void **state)
{
	/* eleven digits and a blank; twelve digits; blanks before; base-256 */
	static const char *const styles[] = { "00000011610 ", "000000011610", "      11610 ",
					      "\200\0\0\0\0\0\0\0\0\0\023\210" };
	cleanup_free char *text = tar_text(5000);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(styles); i++) {
		struct bytes tar = { .p = NULL };

		tar_add_entry(
			&tar,
			&(struct new_header){ .name = "f", .type = '0', .size_field = styles[i] },
			text, 5000);
		tar_add_end(&tar);
		comes_back(&tar, 1);
	}
}

static void checksums_keep_their_style(void **state)
{
	static const char *const styles[] = { "%07o", "%6o" };
	cleanup_free char *text = tar_text(5000);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(styles); i++) {
		struct bytes tar = { .p = NULL };

		tar_add_entry(&tar,
			      &(struct new_header){
				      .name = "f", .type = '0', .checksum_style = styles[i] },
			      text, 5000);
		comes_back(&tar, 1);
	}
}

static void a_checksum_of_signed_bytes_is_accepted_and_the_file_left_whole(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "caf\xc3\xa9", 5000);
	tar_set_checksum(tar.p, NULL, true);
	comes_back(&tar, 0);
}

static void a_wrong_checksum_is_refused(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "good", 10);
	tar_add_text(&tar, "bad", 10);
	tar.p[1024 + 1]++;
	is_refused(&tar, "at byte 1024: not a tar header");
}

static void padding_that_is_not_zero_leaves_the_file_whole(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "odd", 5000);
	tar.p[tar.len - 1] = 'x';
	tar_add_text(&tar, "even", 5000);
	comes_back(&tar, 1);
}

static void what_is_behind_the_end_mark_is_kept(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "f", 5000);
	tar_add_end(&tar);
	bytes_add(&tar, "anything at all", 15);
	comes_back(&tar, 1);
}

static void an_archive_without_end_mark_is_accepted(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	comes_back(&tar, 0);
	tar_add_text(&tar, "f", 5000);
	comes_back(&tar, 1);
}

static void an_archive_cut_anywhere_else_is_refused(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "first", 5000);
	for (size_t len = 1; len < tar.len; len += 97) {
		struct bytes cut = { .p = NULL };

		bytes_add(&cut, tar.p, len);
		is_refused(&cut, len < TAR_BLOCK ? "''" : "'first'");
	}
	bytes_free(&tar);
}

/* ---- pax and GNU ---- */

static void a_pax_size_is_changed_with_as_many_digits(void **state)
{
	static const char *const sizes[] = { "00000011610", "00000000000", "00000000237" };
	cleanup_free char *text = tar_text(5000);

	(void)state;
	/* The ustar field agrees, says nothing, or happens to say what the stub's will. */
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bytes tar = { .p = NULL };

		tar_add_extension(&tar, 'x', "13 size=5000\n");
		tar_add_entry(
			&tar,
			&(struct new_header){ .name = "f", .type = '0', .size_field = sizes[i] },
			text, 5000);
		comes_back(&tar, 1);
	}
}

static void a_size_too_short_for_a_stubs_is_left_whole(void **state)
{
	struct thin_options all = { .inline_max = 0 };
	struct bytes tar = { .p = NULL };
	struct roundtrip trip;

	(void)state;
	tar_add_extension(&tar, 'x', "10 size=9\n");
	tar_add_text(&tar, "f", 9);
	assert_int_equal(roundtrip_run(&trip, &all, tar.p, tar.len, 512), 0);
	assert_int_equal(trip.counts.n_stubs, 0);
	assert_int_equal(trip.counts.n_whole, 1);
	assert_memory_equal(trip.thick.p, tar.p, tar.len);
	roundtrip_free(&trip);
	bytes_free(&tar);
}

static void attributes_and_long_names_are_kept(void **state)
{
	static const char xattr[] = "29 SCHILY.xattr.user.a=b\nc\0d\n";
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_extension(&tar, 'g', "20 comment=a commit\n");
	tar_add_entry(&tar, &(struct new_header){ .name = "ext", .type = 'x' }, xattr,
		      sizeof(xattr) - 1);
	tar_add_extension(&tar, 'L', "a/name/of/more/than/one/hundred/bytes");
	tar_add_extension(&tar, 'K', "and/a/link");
	tar_add_text(&tar, "f", 5000);
	tar_add_end(&tar);
	comes_back(&tar, 1);
}

static void a_global_header_at_the_end_is_kept(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_text(&tar, "f", 5000);
	tar_add_extension(&tar, 'g', "12 comment=\n");
	tar_add_end(&tar);
	comes_back(&tar, 1);
}

static void headers_that_readers_understand_differently_are_refused(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_extension(&tar, 'g', "13 size=5000\n");
	tar_add_text(&tar, "f", 5000);
	is_refused(&tar, "sets a size for all");
	tar_add_extension(&tar, 'x', "13 size=5000\n13 size=0009\n");
	tar_add_text(&tar, "f", 5000);
	is_refused(&tar, "given twice");
	tar_add_extension(&tar, 'x', "13 size=-500\n");
	tar_add_text(&tar, "f", 5000);
	is_refused(&tar, "not a number");
	tar_add_extension(&tar, 'X', "13 size=5000\n");
	is_refused(&tar, "Solaris");
	tar_add_extension(&tar, 'x', "14 size=5000\n");
	is_refused(&tar, "malformed pax");
	tar_add_extension(&tar, 'x', "13 size=5000\n");
	tar_add_end(&tar);
	is_refused(&tar, "without an entry");
	tar_add_entry(&tar,
		      &(struct new_header){
			      .name = "f",
			      .type = '0',
			      .size_field = "\377\377\377\377\377\377\377\377\377\377\377\377" },
		      NULL, 0);
	is_refused(&tar, "not a number");
}

static void headers_without_end_are_refused(void **state)
{
	cleanup_free char *text = tar_text(1100000);
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_entry(&tar, &(struct new_header){ .name = "ext", .type = 'L' }, text, 1100000);
	is_refused(&tar, "larger than 1 MiB");
}

static void sparse_files_are_left_whole(void **state)
{
	uint8_t map[TAR_BLOCK] = { 0 };
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_extension(&tar, 'x', "22 GNU.sparse.major=1\n");
	tar_add_text(&tar, "pax", 5000);
	tar_add_entry(&tar, &(struct new_header){ .name = "gnu", .type = 'S' }, NULL, 0);
	tar_add_end(&tar);
	comes_back(&tar, 0);
	/* A map that goes on for two blocks lies between the header and the data. */
	tar_add_text(&tar, "first", 5000);
	tar_add_entry(&tar,
		      &(struct new_header){ .name = "gnu",
					    .type = 'S',
					    .size_field = "00000000003",
					    .sparse_more = true },
		      NULL, 0);
	map[504] = 1;
	bytes_add(&tar, map, sizeof(map));
	map[504] = 0;
	bytes_add(&tar, map, sizeof(map));
	bytes_add(&tar, "abc", 3);
	tar_add_padding(&tar, 0);
	tar_add_text(&tar, "last", 5000);
	comes_back(&tar, 2);
}

/* ---- files that are stubs ---- */

static void a_file_that_is_a_stub_becomes_a_stub_of_itself(void **state)
{
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_entry(&tar, &(struct new_header){ .name = "stub", .type = '0' }, stub_text,
		      strlen(stub_text));
	comes_back(&tar, 1);
	/* Almost one: an ordinary file. */
	tar_add_entry(&tar, &(struct new_header){ .name = "almost", .type = '0' }, stub_text,
		      strlen(stub_text) - 1);
	comes_back(&tar, 0);
}

static void a_file_that_is_a_stub_and_cannot_be_escaped_is_refused(void **state)
{
	cleanup_free char *block = calloc(1, TAR_BLOCK + sizeof(stub_text));
	struct bytes tar = { .p = NULL };

	(void)state;
	tar_add_entry(&tar, &(struct new_header){ .name = "padded", .type = '0' }, stub_text,
		      strlen(stub_text));
	tar.p[tar.len - 1] = 'x';
	is_refused(&tar, "'padded' holds the text of a stub");
	tar_add_entry(&tar, &(struct new_header){ .name = "contiguous", .type = '7' }, stub_text,
		      strlen(stub_text));
	is_refused(&tar, "'contiguous' holds the text of a stub");
	/* Behind the map of a sparse file. */
	assert_non_null(block);
	memcpy(block + TAR_BLOCK, stub_text, sizeof(stub_text));
	tar_add_extension(&tar, 'x', "22 GNU.sparse.major=1\n");
	tar_add_entry(&tar, &(struct new_header){ .name = "holes", .type = '0' }, block,
		      TAR_BLOCK + strlen(stub_text));
	is_refused(&tar, "'holes' holds the text of a stub");
}

/* ---- what looks compressed ---- */

static void fill_evenly(uint8_t *bytes, size_t len)
{
	uint32_t x = 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24);
	}
}

static void a_small_file_that_looks_compressed_becomes_a_stub(void **state)
{
	struct bytes tar = { .p = NULL };
	uint8_t bytes[2000];

	(void)state;
	fill_evenly(bytes, sizeof(bytes));
	assert_true(thin_looks_packed(bytes, sizeof(bytes)));
	tar_add_entry(&tar, &(struct new_header){ .name = "packed", .type = '0' }, bytes, 1025);
	tar_add_entry(&tar, &(struct new_header){ .name = "tiny", .type = '0' }, bytes, 1024);
	tar_add_text(&tar, "text", 2000);
	comes_back(&tar, 1);
}

static void text_does_not_look_compressed(void **state)
{
	cleanup_free char *text = tar_text(4096);

	(void)state;
	assert_false(thin_looks_packed(text, 4096));
	assert_false(thin_looks_packed(text, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_file_becomes_a_stub_and_a_small_one_stays),
		cmocka_unit_test(an_empty_file_is_never_a_stub),
		cmocka_unit_test(every_other_type_is_kept),
		cmocka_unit_test(two_entries_with_one_name_are_both_kept),
		cmocka_unit_test(sizes_are_changed_in_the_style_they_have),
		cmocka_unit_test(checksums_keep_their_style),
		cmocka_unit_test(a_checksum_of_signed_bytes_is_accepted_and_the_file_left_whole),
		cmocka_unit_test(a_wrong_checksum_is_refused),
		cmocka_unit_test(padding_that_is_not_zero_leaves_the_file_whole),
		cmocka_unit_test(what_is_behind_the_end_mark_is_kept),
		cmocka_unit_test(an_archive_without_end_mark_is_accepted),
		cmocka_unit_test(an_archive_cut_anywhere_else_is_refused),
		cmocka_unit_test(a_pax_size_is_changed_with_as_many_digits),
		cmocka_unit_test(a_size_too_short_for_a_stubs_is_left_whole),
		cmocka_unit_test(attributes_and_long_names_are_kept),
		cmocka_unit_test(a_global_header_at_the_end_is_kept),
		cmocka_unit_test(headers_that_readers_understand_differently_are_refused),
		cmocka_unit_test(headers_without_end_are_refused),
		cmocka_unit_test(sparse_files_are_left_whole),
		cmocka_unit_test(a_file_that_is_a_stub_becomes_a_stub_of_itself),
		cmocka_unit_test(a_file_that_is_a_stub_and_cannot_be_escaped_is_refused),
		cmocka_unit_test(a_small_file_that_looks_compressed_becomes_a_stub),
		cmocka_unit_test(text_does_not_look_compressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
