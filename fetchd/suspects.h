/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Suspects: digests whose transfers were under way when a network worker died. Who dies of one, a
 * bug that its bytes or its server found, would die of it again and again, and take what others
 * wait for with it. So a digest that was there twice goes to a worker of its own, and when that
 * one dies as well, it is quarantined: not fetched for a while (SAFETY.md, threat 25 and fault 19).
 *
 * Bounded: the oldest ones are forgotten. Times are as of now_ms(). One thread.
 */
#pragma once

#include "lib/digest.h"
#include "lib/json.h"

struct suspects;

enum {
	SUSPECT_APART = 2,	 /* deaths before it is kept apart */
	SUSPECT_QUARANTINED = 3, /* and before it is left alone */
	SUSPECT_QUARANTINE_MS = 10 * 60 * 1000,
	SUSPECTS_MAX = 256,
};

/** suspects_new() - NULL = no memory. */
struct suspects *suspects_new(void) must_check;
void suspects_free(struct suspects *suspects);

/** suspects_note_death() - Return: of how many deaths it is suspected now. */
unsigned int suspects_note_death(struct suspects *suspects, const struct digest *digest,
				 int64_t now);

/** suspects_clear() - it is here now: nobody died of it. */
void suspects_clear(struct suspects *suspects, const struct digest *digest);

/** suspects_is_apart() - must it have a worker of its own? */
bool suspects_is_apart(const struct suspects *suspects, const struct digest *digest, int64_t now);

/** suspects_quarantine_ms() - how long it is not to be fetched yet; 0: it may be. */
int64_t suspects_quarantine_ms(const struct suspects *suspects, const struct digest *digest,
			       int64_t now);

/** suspects_describe() - an array, for status. NULL = no memory. */
json_t *suspects_describe(const struct suspects *suspects, int64_t now) must_check;
