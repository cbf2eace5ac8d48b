/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses sent wrong passwords lately: who tries one after the other is stopped before
 * each of them costs a verification.
 *
 * Context: the caller locks.
 */
#pragma once

#include "lib/util.h"

enum { FAILURES_ADDRESS_BYTES = 16, FAILURES_SLOTS = 1024, FAILURES_WINDOW_MS = 60 * 1000 };

struct failures {
	struct failures_slot {
		unsigned char address[FAILURES_ADDRESS_BYTES];
		uint64_t n;
		int64_t until_ms;
	} slots[FAILURES_SLOTS];
};

/** failures_count() - one more from @address. */
void failures_count(struct failures *failures,
		    const unsigned char address[static FAILURES_ADDRESS_BYTES], int64_t now_ms);

/** failures_of() - how many came from @address in this window, that began with the first. */
uint64_t failures_of(const struct failures *failures,
		     const unsigned char address[static FAILURES_ADDRESS_BYTES], int64_t now_ms);
