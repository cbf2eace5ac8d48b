/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table: a slot for each value of some bits of a digest, the newest file in it. */
#include "server/verified.h"

#include <stdatomic.h>
#include <string.h>

enum { SLOTS = 1 << 20 }; /* 8 MiB where all are used */

struct verified {
	atomic_uint_least64_t slots[SLOTS]; /* 0: none */
};

struct verified *verified_new(void)
{
	return calloc(1, sizeof(struct verified));
}

void verified_free(struct verified *verified)
{
	free(verified);
}

/*
 * A digest's bytes are as good as random ones: nobody finds content whose mark is that of a given
 * one. What clients have a say in must not reach @version without a key.
 */
static uint64_t mark_of(const struct digest *digest, uint64_t version, size_t *slot)
{
	uint64_t words[2];

	memcpy(words, digest->bytes, sizeof(words));
	*slot = words[0] % SLOTS;
	return (words[0] >> 20 ^ words[1] ^ version * 0x9E3779B97F4A7C15u) | 1;
}

bool verified_has(const struct verified *verified, const struct digest *digest, uint64_t version)
{
	size_t slot;
	uint64_t mark = mark_of(digest, version, &slot);

	return verified &&
	       atomic_load_explicit(&verified->slots[slot], memory_order_relaxed) == mark;
}

void verified_add(struct verified *verified, const struct digest *digest, uint64_t version)
{
	size_t slot;
	uint64_t mark = mark_of(digest, version, &slot);

	if (verified)
		atomic_store_explicit(&verified->slots[slot], mark, memory_order_relaxed);
}
