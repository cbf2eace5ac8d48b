/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of digests, 16 bytes each: filled, sorted, then asked. Two digests that share their
 * first 16 bytes are one: who uses the set must be safe when it says yes too often.
 *
 * Context: one thread.
 */
#pragma once

#include "lib/digest.h"

struct digest_key {
	uint64_t a, b;
};

struct digest_set {
	struct digest_key *keys; /* owned */
	size_t n, max;
	bool sorted;
};

/** digest_set_add() - Return: 0 or -ENOMEM. */
int digest_set_add(struct digest_set *set, const struct digest *digest) must_check;

/** digest_set_merge() - add all of @more. Return: 0 or -ENOMEM. */
int digest_set_merge(struct digest_set *set, const struct digest_set *more) must_check;

/** digest_set_has() - sorts what was added since it was last asked: do not mix the two. */
bool digest_set_has(struct digest_set *set, const struct digest *digest);

void digest_set_deinit(struct digest_set *set);

#define cleanup_digest_set __attribute__((cleanup(digest_set_deinit)))
