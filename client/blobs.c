/* SPDX-License-Identifier: Apache-2.0 */
/* Owns lists and sets of digests. Digests are random bytes, so a few of them are the hash. */
#include "client/blobs.h"

#include <string.h>

struct digest blob_ref_digest(const struct blob_ref *ref)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };

	memcpy(digest.bytes, ref->sha256, SHA256_BYTES);
	return digest;
}

void blob_list_init(struct blob_list *list)
{
	*list = (struct blob_list){ .n = 0 };
	pthread_mutex_init(&list->lock, NULL);
}

void blob_list_deinit(struct blob_list *list)
{
	pthread_mutex_destroy(&list->lock);
	free(list->refs);
}

static int grow_list(struct blob_list *list)
{
	size_t max = list->max ? 2 * list->max : 256;
	struct blob_ref *grown = realloc(list->refs, max * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->refs = grown;
	list->max = max;
	return 0;
}

int blob_list_add(struct blob_list *list, const uint8_t *sha256, uint64_t size_bytes)
{
	int r = 0;

	pthread_mutex_lock(&list->lock);
	if (list->n == list->max)
		r = grow_list(list);
	if (!r) {
		struct blob_ref *ref = &list->refs[list->n++];

		memcpy(ref->sha256, sha256, SHA256_BYTES);
		ref->size_bytes = size_bytes;
	}
	pthread_mutex_unlock(&list->lock);
	return r;
}

static int compare_refs(const void *a, const void *b)
{
	const struct blob_ref *x = a, *y = b;

	return memcmp(x->sha256, y->sha256, SHA256_BYTES);
}

void blob_list_sort(struct blob_list *list)
{
	size_t kept = 0;

	if (list->n)
		qsort(list->refs, list->n, sizeof(*list->refs), compare_refs);
	for (size_t i = 0; i < list->n; i++) {
		if (kept == 0 || compare_refs(&list->refs[kept - 1], &list->refs[i]))
			list->refs[kept++] = list->refs[i];
	}
	list->n = kept;
}

const struct blob_ref *blob_list_find(const struct blob_list *list, const uint8_t *sha256)
{
	struct blob_ref key = { .size_bytes = 0 };

	memcpy(key.sha256, sha256, SHA256_BYTES);
	return list->n ? bsearch(&key, list->refs, list->n, sizeof(*list->refs), compare_refs)
		       : NULL;
}

void blob_seen_init(struct blob_seen *seen)
{
	*seen = (struct blob_seen){ .n = 0 };
	pthread_mutex_init(&seen->lock, NULL);
}

void blob_seen_deinit(struct blob_seen *seen)
{
	pthread_mutex_destroy(&seen->lock);
	free(seen->slots);
}

static const uint8_t free_slot[SHA256_BYTES];

/* The slot that holds @sha256, or the free one where it belongs. */
static size_t find_slot(const struct blob_seen *seen, const uint8_t *sha256)
{
	uint64_t hash;
	size_t i;

	memcpy(&hash, sha256, sizeof(hash));
	for (i = hash & (seen->n_slots - 1); memcmp(seen->slots[i], free_slot, SHA256_BYTES);
	     i = (i + 1) & (seen->n_slots - 1)) {
		if (!memcmp(seen->slots[i], sha256, SHA256_BYTES))
			break;
	}
	return i;
}

static int grow_seen(struct blob_seen *seen)
{
	struct blob_seen grown = { .n_slots = seen->n_slots ? 2 * seen->n_slots : 1024 };

	grown.slots = calloc(grown.n_slots, SHA256_BYTES);
	if (!grown.slots)
		return -ENOMEM;
	for (size_t i = 0; i < seen->n_slots; i++) {
		if (memcmp(seen->slots[i], free_slot, SHA256_BYTES))
			memcpy(grown.slots[find_slot(&grown, seen->slots[i])], seen->slots[i],
			       SHA256_BYTES);
	}
	free(seen->slots);
	seen->slots = grown.slots;
	seen->n_slots = grown.n_slots;
	return 0;
}

int blob_seen_add(struct blob_seen *seen, const uint8_t *sha256)
{
	size_t slot;
	int r = 0;

	pthread_mutex_lock(&seen->lock);
	if (2 * (seen->n + 1) > seen->n_slots)
		r = grow_seen(seen);
	if (!r) {
		slot = find_slot(seen, sha256);
		if (!memcmp(seen->slots[slot], free_slot, SHA256_BYTES)) {
			memcpy(seen->slots[slot], sha256, SHA256_BYTES);
			seen->n++;
			r = 1;
		}
	}
	pthread_mutex_unlock(&seen->lock);
	return r;
}
