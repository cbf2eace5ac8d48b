/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the counts. Of two addresses that share a slot the one with more failures keeps it: many
 * addresses with one failure each must not hide one with many.
 */
#include "server/failures.h"

#include <string.h>

static size_t slot_of(const unsigned char *address)
{
	uint32_t hash = 2166136261u;

	for (unsigned int i = 0; i < FAILURES_ADDRESS_BYTES; i++)
		hash = (hash ^ address[i]) * 16777619u;
	return hash % FAILURES_SLOTS;
}

void failures_count(struct failures *failures,
		    const unsigned char address[static FAILURES_ADDRESS_BYTES], int64_t now_ms)
{
	struct failures_slot *slot = &failures->slots[slot_of(address)];
	bool is_over = slot->until_ms <= now_ms;

	if (!is_over && !memcmp(slot->address, address, FAILURES_ADDRESS_BYTES)) {
		slot->n++;
		return;
	}
	if (!is_over && slot->n > 1)
		return;
	memcpy(slot->address, address, FAILURES_ADDRESS_BYTES);
	slot->n = 1;
	slot->until_ms = now_ms + FAILURES_WINDOW_MS;
}

uint64_t failures_of(const struct failures *failures,
		     const unsigned char address[static FAILURES_ADDRESS_BYTES], int64_t now_ms)
{
	const struct failures_slot *slot = &failures->slots[slot_of(address)];

	if (slot->until_ms <= now_ms || memcmp(slot->address, address, FAILURES_ADDRESS_BYTES))
		return 0;
	return slot->n;
}
