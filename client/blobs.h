/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many digests with sizes: the contents an image's stubs name. 40 bytes each, which is the
 * only memory of a conversion that grows with the number of files. Any thread.
 */
#pragma once

#include <pthread.h>

#include "lib/digest.h"

struct blob_ref {
	uint8_t sha256[SHA256_BYTES];
	uint64_t size_bytes;
};

/** blob_ref_digest() - as the rest of the program spells it. */
struct digest blob_ref_digest(const struct blob_ref *ref);

struct blob_list {
	pthread_mutex_t lock;
	struct blob_ref *refs; /* owned */
	size_t n, max;
};

void blob_list_init(struct blob_list *list);
void blob_list_deinit(struct blob_list *list);

/** blob_list_add() - @sha256: SHA256_BYTES. Return: 0 or -ENOMEM. */
int blob_list_add(struct blob_list *list, const uint8_t *sha256, uint64_t size_bytes) must_check;

/** blob_list_sort() - by digest, each once. No lock: when nobody adds any more. */
void blob_list_sort(struct blob_list *list);

/** blob_list_find() - in a sorted list; NULL: not there. */
const struct blob_ref *blob_list_find(const struct blob_list *list, const uint8_t *sha256);

/* Which digests were seen; an open hash table. */
struct blob_seen {
	pthread_mutex_t lock;
	uint8_t (*slots)[SHA256_BYTES]; /* owned; all zero: free */
	size_t n, n_slots;		/* n_slots: a power of two */
};

void blob_seen_init(struct blob_seen *seen);
void blob_seen_deinit(struct blob_seen *seen);

/** blob_seen_add() - Return: 1 it is new, 0 it was there, -ENOMEM. */
int blob_seen_add(struct blob_seen *seen, const uint8_t *sha256) must_check;
