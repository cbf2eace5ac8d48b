/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes files behind who writes them: the writer goes on while the bytes that are there already
 * are hashed by another thread; and the kernel is told to bring them to the disk meanwhile, so that
 * the sync at the end is short. What the writer has in memory it hands over, for other memory, as
 * long as there is some; the rest is read back from the file, so neither waits for the other before
 * the end.
 *
 * Context: calls for one follower are made by one thread at a time.
 */
#pragma once

#include "lib/digest.h"

struct followers; /* the threads */
struct follower;  /* one file */

enum { FOLLOWER_PIECE = 128 * 1024 };

int followers_new(unsigned int n_threads, struct followers **out) must_check;
void followers_free(struct followers *followers);

/** follower_new() - from the start of a file on. NULL = no memory. */
struct follower *follower_new(struct followers *followers,
			      enum digest_algorithm algorithm) must_check;

/** follower_free() - also in the middle. Waits for one read at most. NULL does nothing. */
void follower_free(struct follower *follower);

enum digest_algorithm follower_algorithm(const struct follower *follower);

/**
 * follower_feed() - @fd has @size_bytes of content by now. It must stay open, and those bytes as
 * they are, until follower_pause(), follower_finish() or follower_free(). Never waits.
 * @piece: NULL, or the last @len of those bytes, in memory of FOLLOWER_PIECE bytes from malloc();
 * *@piece may be other such memory afterwards.
 */
void follower_feed(struct follower *follower, int fd, uint64_t size_bytes, char **piece,
		   size_t len);

/** follower_pause() - @fd may be closed afterwards. Waits for one read at most. */
void follower_pause(struct follower *follower);

/**
 * follower_finish() - the digest of the first @size_bytes of @fd. Hashes what is left itself.
 * Return: 0; -EIO when the file could not be read to there.
 */
int follower_finish(struct follower *follower, int fd, uint64_t size_bytes,
		    struct digest *out) must_check;
