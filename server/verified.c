/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table: a set for each value of some bits of a digest, the two newest of each kind
 * in it.
 */
#include "server/verified.h"

#include <stdatomic.h>
#include <string.h>

enum { SETS = 1 << 19, WAYS = 2 }; /* 16 MiB where all are used */

/* Who asks for one kind asks for the other next: a set is half a line of the processor's cache. */
struct set {
	atomic_uint_least64_t marks[VERIFIED_KINDS][WAYS]; /* 0: none */
};

struct verified {
	struct set sets[SETS];
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
static uint64_t mark_of(const struct digest *digest, uint64_t version, size_t *set)
{
	uint64_t words[2];

	memcpy(words, digest->bytes, sizeof(words));
	*set = words[0] % SETS;
	return (words[0] >> 20 ^ words[1] ^ version * 0x9E3779B97F4A7C15u) | 1;
}

static uint64_t mark_in(const atomic_uint_least64_t *mark)
{
	return atomic_load_explicit(mark, memory_order_relaxed);
}

bool verified_has(const struct verified *verified, enum verified_kind kind,
		  const struct digest *digest, uint64_t version)
{
	size_t set;
	uint64_t mark = mark_of(digest, version, &set);

	return verified && (mark_in(&verified->sets[set].marks[kind][0]) == mark ||
			    mark_in(&verified->sets[set].marks[kind][1]) == mark);
}

/* The newest is first, the one before second; what two threads add at once may be lost. */
void verified_add(struct verified *verified, enum verified_kind kind, const struct digest *digest,
		  uint64_t version)
{
	size_t set;
	uint64_t mark = mark_of(digest, version, &set);
	atomic_uint_least64_t *marks;

	if (!verified)
		return;
	marks = verified->sets[set].marks[kind];
	if (mark_in(&marks[0]) == mark)
		return;
	atomic_store_explicit(&marks[1], mark_in(&marks[0]), memory_order_relaxed);
	atomic_store_explicit(&marks[0], mark, memory_order_relaxed);
}
