/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing behind a writer: the digest is that of the file, however the two take turns. */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/mman.h>

#include "server/follower.h"

enum { PIECE = 100 * 1000, PIECES = 200 };

static struct followers *followers;

static int set_up(void **state)
{
	(void)state;
	return followers_new(2, &followers);
}

static int tear_down(void **state)
{
	(void)state;
	followers_free(followers);
	return 0;
}

static void write_piece(int fd, unsigned int i)
{
	static char piece[PIECE];

	memset(piece, (int)i, sizeof(piece));
	assert_int_equal(write_all(fd, piece, sizeof(piece)), 0);
}

static void is_digest_of(int fd, const struct digest *got)
{
	struct digest wanted;
	uint64_t size;

	assert_int_equal(digest_compute_fd(got->algorithm, fd, &wanted, &size), 0);
	assert_true(digest_equal(got, &wanted));
}

static void a_file_is_hashed_while_it_grows(void **state)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct follower *follower = follower_new(followers, DIGEST_SHA512);
	struct digest digest;

	(void)state;
	for (unsigned int i = 1; i <= PIECES; i++) {
		write_piece(fd, i);
		follower_feed(follower, fd, (uint64_t)i * PIECE, NULL, 0);
	}
	assert_int_equal(follower_finish(follower, fd, (uint64_t)PIECES * PIECE, &digest), 0);
	is_digest_of(fd, &digest);
	assert_int_equal(follower_algorithm(follower), DIGEST_SHA512);
	follower_free(follower);
}

static void a_pause_in_between_changes_nothing(void **state)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct follower *follower = follower_new(followers, DIGEST_SHA256);
	struct digest digest;

	(void)state;
	for (unsigned int i = 1; i <= PIECES; i++) {
		int copy = dup(fd);

		write_piece(fd, i);
		follower_feed(follower, copy, (uint64_t)i * PIECE, NULL, 0);
		follower_pause(follower);
		close(copy);
	}
	assert_int_equal(follower_finish(follower, fd, (uint64_t)PIECES * PIECE, &digest), 0);
	is_digest_of(fd, &digest);
	follower_free(follower);
}

/* Some from memory, some from the file, some pieces shorter; many that want memory at once. */
static void what_is_in_memory_is_hashed_from_there(void **state)
{
	struct follower *all[20];
	char *pieces[ARRAY_SIZE(all)];
	int fds[ARRAY_SIZE(all)];
	uint64_t size = 0;

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(all); k++) {
		all[k] = follower_new(followers, DIGEST_SHA256);
		pieces[k] = malloc(FOLLOWER_PIECE);
		fds[k] = memfd_create("test", MFD_CLOEXEC);
	}
	for (unsigned int i = 1; i <= PIECES; i++) {
		size_t len = i % 3 ? FOLLOWER_PIECE : FOLLOWER_PIECE / i;

		size += len;
		for (size_t k = 0; k < ARRAY_SIZE(all); k++) {
			bool in_memory = (i + k) % 5 != 0;

			memset(pieces[k], (int)(i + k), len);
			assert_int_equal(write_all(fds[k], pieces[k], len), 0);
			follower_feed(all[k], fds[k], size, in_memory ? &pieces[k] : NULL, len);
			if ((i + k) % 50 == 0)
				follower_pause(all[k]);
		}
	}
	for (size_t k = 0; k < ARRAY_SIZE(all); k++) {
		struct digest digest;

		assert_int_equal(follower_finish(all[k], fds[k], size, &digest), 0);
		is_digest_of(fds[k], &digest);
		follower_free(all[k]);
		free(pieces[k]);
		close(fds[k]);
	}
}

static void nothing_is_a_digest_too(void **state)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct follower *follower = follower_new(followers, DIGEST_SHA256);
	struct digest digest;

	(void)state;
	assert_int_equal(follower_finish(follower, fd, 0, &digest), 0);
	is_digest_of(fd, &digest);
	follower_free(follower);
}

static void a_file_that_is_too_short_is_an_error(void **state)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct follower *follower = follower_new(followers, DIGEST_SHA256);
	struct digest digest;

	(void)state;
	write_piece(fd, 1);
	follower_feed(follower, fd, 2 * PIECE, NULL, 0);
	assert_int_equal(follower_finish(follower, fd, 2 * PIECE, &digest), -EIO);
	follower_free(follower);
}

static void many_can_be_dropped_in_the_middle(void **state)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct follower *all[50];

	(void)state;
	for (unsigned int i = 1; i <= PIECES; i++)
		write_piece(fd, i);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		all[i] = follower_new(followers, DIGEST_SHA256);
		follower_feed(all[i], fd, (uint64_t)PIECES * PIECE, NULL, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		follower_free(all[i]);
	follower_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_hashed_while_it_grows),
		cmocka_unit_test(a_pause_in_between_changes_nothing),
		cmocka_unit_test(what_is_in_memory_is_hashed_from_there),
		cmocka_unit_test(nothing_is_a_digest_too),
		cmocka_unit_test(a_file_that_is_too_short_is_an_error),
		cmocka_unit_test(many_can_be_dropped_in_the_middle),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
