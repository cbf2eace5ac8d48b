/* SPDX-License-Identifier: Apache-2.0 */
/* Packed files: written, read back from anywhere, and damaged in every way. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "server/pack.h"

static char *make_text(size_t len)
{
	char *text = malloc(len + 1);
	unsigned int x = 1;

	assert_non_null(text);
	for (size_t i = 0; i < len; i++) {
		x = x * 1103515245 + 12345;
		text[i] = (char)('a' + (x >> 16) % 4);
	}
	return text;
}

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, bytes, len), 0);
	return fd;
}

static int pack_file(const char *text, size_t len, struct pack_info *info)
{
	cleanup_close int in = file_of(text, len);
	int out = memfd_create("packed", MFD_CLOEXEC);
	uint64_t packed = 0;

	assert_int_equal(pack_fd(in, len, out, NULL, &packed), 0);
	assert_int_equal(lseek(out, 0, SEEK_END), packed);
	assert_int_equal(pack_stat(out, packed, info), 0);
	assert_int_equal(info->size_bytes, len);
	return out;
}

static void range_is(int fd, const struct pack_info *info, const char *text, uint64_t off,
		     size_t len)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	cleanup_free char *got = malloc(len);

	assert_int_equal(unpacker_new(fd, info, off, &unpacker), 0);
	assert_int_equal(unpacker_read(unpacker, got, len), len);
	assert_memory_equal(got, text + off, len);
}

static void every_range_comes_back(void **state)
{
	enum { LEN = 3 * PACK_FRAME + 77 };
	cleanup_free char *text = make_text(LEN), *all = malloc(LEN);
	struct pack_info info;
	cleanup_close int fd = pack_file(text, LEN, &info);
	static const uint64_t edges[] = { 0,
					  1,
					  PACK_FRAME - 1,
					  PACK_FRAME,
					  PACK_FRAME + 1,
					  3 * PACK_FRAME - 1,
					  3 * PACK_FRAME,
					  LEN - 1 };

	(void)state;
	assert_int_equal(info.n_frames, 4);
	assert_int_equal(unpack_all(fd, &info, all), 0);
	assert_memory_equal(all, text, LEN);
	for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
		for (size_t j = i; j < ARRAY_SIZE(edges); j++)
			range_is(fd, &info, text, edges[i], (size_t)(edges[j] - edges[i] + 1));
	}
}

static void sizes_around_a_frame_come_back(void **state)
{
	static const size_t sizes[] = { PACK_SIZE_MIN, PACK_FRAME - 1, PACK_FRAME, PACK_FRAME + 1,
					2 * PACK_FRAME };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cleanup_free char *text = make_text(sizes[i]), *all = malloc(sizes[i]);
		cleanup_free void *packed = NULL;
		struct pack_info info;
		size_t len;

		assert_int_equal(pack_bytes(text, sizes[i], &packed, &len), 0);
		cleanup_close int fd = file_of(packed, len);
		assert_int_equal(pack_stat(fd, len, &info), 0);
		assert_int_equal(info.size_bytes, sizes[i]);
		assert_int_equal(unpack_all(fd, &info, all), 0);
		assert_memory_equal(all, text, sizes[i]);
		range_is(fd, &info, text, sizes[i] - 1, 1);
	}
}

static void the_end_is_the_end(void **state)
{
	cleanup_free char *text = make_text(20000);
	cleanup_unpacker struct unpacker *unpacker = NULL;
	struct pack_info info;
	cleanup_close int fd = pack_file(text, 20000, &info);
	char got[64];

	(void)state;
	assert_int_equal(unpacker_new(fd, &info, 19990, &unpacker), 0);
	assert_int_equal(unpacker_read(unpacker, got, sizeof(got)), 10);
	assert_int_equal(unpacker_read(unpacker, got, sizeof(got)), 0);
}

/* A file takes whole blocks: what stays within them is left as it came. */
static void what_saves_no_block_is_not_packed(void **state)
{
	(void)state;
	assert_false(pack_is_worth(100, 1000));
	assert_false(pack_is_worth(10, PACK_BLOCK));
	assert_true(pack_is_worth(PACK_BLOCK, PACK_BLOCK + 1));
	assert_false(pack_is_worth(PACK_BLOCK + 1, 2 * PACK_BLOCK));
	assert_true(pack_is_worth(9 * PACK_BLOCK, 10 * PACK_BLOCK));
	assert_false(pack_is_worth(9 * PACK_BLOCK + 1, 10 * PACK_BLOCK));
	assert_false(pack_is_worth(10 * PACK_BLOCK, 11 * PACK_BLOCK));
	assert_true(pack_is_worth(0, 0));
}

static void what_does_not_shrink_is_not_packed(void **state)
{
	cleanup_free char *text = make_text(100000);
	cleanup_close int in = -1, out = memfd_create("packed", MFD_CLOEXEC);
	uint64_t packed;
	void *bytes;
	size_t len;
	unsigned int x = 7;

	(void)state;
	assert_int_equal(pack_bytes(text, PACK_SIZE_MIN - 1, &bytes, &len), -ENOTSUP);
	memcpy(text, "\x1f\x8b", 2);
	assert_int_equal(pack_bytes(text, 100000, &bytes, &len), -ENOTSUP);
	for (size_t i = 0; i < 100000; i++) {
		x = x * 1103515245 + 12345;
		text[i] = (char)(x >> 16);
	}
	assert_int_equal(pack_bytes(text, 100000, &bytes, &len), -ENOTSUP);
	in = file_of(text, 100000);
	assert_int_equal(pack_fd(in, 100000, out, NULL, &packed), -ENOTSUP);
}

static void packing_can_be_stopped(void **state)
{
	cleanup_free char *text = make_text(2 * PACK_FRAME);
	cleanup_close int in = file_of(text, 2 * PACK_FRAME), out = memfd_create("p", MFD_CLOEXEC);
	atomic_bool stop = true;
	uint64_t packed;

	(void)state;
	assert_int_equal(pack_fd(in, 2 * PACK_FRAME, out, &stop, &packed), -ECANCELED);
}

/* Reads @len bytes from @off on: an error, or nothing but the content and all of it. */
static int read_damaged(int fd, uint64_t file_bytes, const char *text, size_t size, uint64_t off,
			size_t len)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	cleanup_free char *got = malloc(len);
	struct pack_info info;
	ssize_t n;
	int r = pack_stat(fd, file_bytes, &info);

	if (r)
		return r;
	assert_int_equal(info.size_bytes, size);
	r = unpacker_new(fd, &info, off, &unpacker);
	if (r)
		return r;
	n = unpacker_read(unpacker, got, len);
	if (n < 0)
		return (int)n;
	assert_int_equal(n, len);
	assert_memory_equal(got, text + off, len);
	return 0;
}

static void read_all_damaged(int fd, uint64_t file_bytes, const char *text, size_t size)
{
	cleanup_free char *got = malloc(size);
	struct pack_info info;

	if (pack_stat(fd, file_bytes, &info))
		return;
	assert_int_equal(info.size_bytes, size);
	if (!unpack_all(fd, &info, got))
		assert_memory_equal(got, text, size);
}

/* All of it, and ranges that end within a frame, or begin there, or both. */
static void is_error_or_content(const char *packed, size_t len, const char *text, size_t size)
{
	cleanup_close int fd = file_of(packed, len);

	read_all_damaged(fd, len, text, size);
	(void)!read_damaged(fd, len, text, size, 0, size);
	(void)!read_damaged(fd, len, text, size, 0, 10);
	(void)!read_damaged(fd, len, text, size, 1000, 3000);
	(void)!read_damaged(fd, len, text, size, PACK_FRAME - 10, 20);
	(void)!read_damaged(fd, len, text, size, PACK_FRAME + 500, 100);
	(void)!read_damaged(fd, len, text, size, size - 10, 10);
}

static void damage_is_never_taken_for_content(void **state)
{
	enum { SIZE = PACK_FRAME + 5000 };
	cleanup_free char *text = make_text(SIZE);
	cleanup_free char *packed = NULL;
	size_t len;

	(void)state;
	assert_int_equal(pack_bytes(text, SIZE, (void **)&packed, &len), 0);
	for (size_t i = 0; i<len; i += i + 64> len ? 1 : 997) {
		packed[i] ^= 0x41;
		is_error_or_content(packed, len, text, SIZE);
		packed[i] ^= 0x41;
	}
	for (size_t cut = 0; cut < len; cut += 1009) {
		cleanup_close int fd = file_of(packed, cut);

		assert_int_not_equal(read_damaged(fd, cut, text, SIZE, 0, SIZE), 0);
	}
}

/* Frames of the same length with other content: a wrong length leads from one to another. */
static void no_bit_of_the_table_leads_to_other_content(void **state)
{
	enum { FRAMES = 6, SIZE = (FRAMES - 1) * PACK_FRAME + 5000 };
	cleanup_free char *text = malloc(SIZE);
	cleanup_free char *packed = NULL;
	size_t len;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = (char)('a' + i / PACK_FRAME);
	assert_int_equal(pack_bytes(text, SIZE, (void **)&packed, &len), 0);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		packed[bit / 8] ^= (char)(1 << bit % 8);
		is_error_or_content(packed, len, text, SIZE);
		packed[bit / 8] ^= (char)(1 << bit % 8);
	}
	/* The last content's length, which alone says how long all of it is. */
	packed[len - 9 - 4] ^= 8;
	{
		cleanup_close int fd = file_of(packed, len);
		struct pack_info info;

		assert_int_equal(pack_stat(fd, len, &info), -EBADMSG);
	}
}

static void a_reader_that_rests_goes_on_where_it_was(void **state)
{
	enum { SIZE = 2 * PACK_FRAME + 5000, PIECE = 30000 };
	cleanup_free char *text = make_text(SIZE), *got = malloc(SIZE);
	cleanup_unpacker struct unpacker *unpacker = NULL;
	struct pack_info info;
	cleanup_close int fd = pack_file(text, SIZE, &info);
	size_t done = 0;
	ssize_t n;

	(void)state;
	assert_int_equal(unpacker_new(fd, &info, 0, &unpacker), 0);
	while ((n = unpacker_read(unpacker, got + done,
				  SIZE - done < PIECE ? SIZE - done : PIECE)) > 0) {
		done += (size_t)n;
		unpacker_rest(unpacker);
		if (done < SIZE)
			assert_true(unpacker_seek(unpacker, done));
	}
	assert_int_equal(done, SIZE);
	assert_memory_equal(got, text, SIZE);
	assert_false(unpacker_seek(unpacker, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_range_comes_back),
		cmocka_unit_test(sizes_around_a_frame_come_back),
		cmocka_unit_test(the_end_is_the_end),
		cmocka_unit_test(what_saves_no_block_is_not_packed),
		cmocka_unit_test(what_does_not_shrink_is_not_packed),
		cmocka_unit_test(packing_can_be_stopped),
		cmocka_unit_test(damage_is_never_taken_for_content),
		cmocka_unit_test(no_bit_of_the_table_leads_to_other_content),
		cmocka_unit_test(a_reader_that_rests_goes_on_where_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
