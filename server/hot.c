/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table. Each key has a set of a few slots; a full set, and the hand that makes room,
 * take the slot that was not used since they came by last.
 */
#include "server/hot.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum {
	SHARDS = 16,
	ADMIT_ONE_OF = 32,  /* of those that need room made */
	SHARD_ENTRIES = 16, /* of the largest answers: fewer would drive each other out */
	SETS = 1024,	    /* of a shard */
	WAYS = 4,
	SEEN = 4096,	       /* of a shard: who was asked for once */
	ENTRY_OVERHEAD = 1536, /* headers, and libmicrohttpd's own */
};

struct hot_entry {
	atomic_uint refs;
	struct MHD_Response *response; /* owned */
	struct digest digest;
	bool zstd, used; /* used: under the shard's lock */
	uint32_t removals;
	uint64_t bytes;
	char repository[];
};

struct shard {
	pthread_mutex_t lock;
	uint64_t bytes;	   /* all below: under lock */
	unsigned int hand; /* slot */
	uint32_t dice;
	uint16_t seen[SEEN];
	uint16_t tags[SETS * WAYS]; /* of hashes: who is not meant is not looked at */
	struct hot_entry *slots[SETS * WAYS];
};

struct hot {
	uint64_t max_bytes; /* of a shard */
	unsigned int n_shards;
	atomic_bool was_used; /* was anything ever kept? */
	struct shard shards[SHARDS];
};

struct hot *hot_new(uint64_t max_bytes, uint64_t max_entry)
{
	struct hot *hot = calloc(1, sizeof(*hot));

	if (!hot)
		return NULL;
	hot->n_shards = SHARDS;
	while (hot->n_shards > 1 && max_bytes / hot->n_shards < SHARD_ENTRIES * max_entry)
		hot->n_shards /= 2;
	hot->max_bytes = max_bytes / hot->n_shards;
	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_init(&hot->shards[i].lock, NULL);
	return hot;
}

void hot_entry_unref(struct hot_entry *entry)
{
	if (!entry || atomic_fetch_sub(&entry->refs, 1) != 1)
		return;
	MHD_destroy_response(entry->response);
	free(entry);
}

void hot_free(struct hot *hot)
{
	if (!hot)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		for (size_t k = 0; k < SETS * WAYS; k++)
			hot_entry_unref(hot->shards[i].slots[k]);
		pthread_mutex_destroy(&hot->shards[i].lock);
	}
	free(hot);
}

/* A digest's own bytes are as good as any hash of it; the repository is mixed in. */
static uint64_t hash_of(const struct hot_key *key)
{
	uint64_t hash;

	memcpy(&hash, key->digest->bytes, sizeof(hash));
	for (const char *p = key->repository; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 0x9E3779B97F4A7C15u;
	return hash ^ (hash >> 29) ^ (key->zstd ? 0x5851F42D4C957F2Du : 0);
}

static bool entry_is(const struct hot_entry *entry, const struct hot_key *key)
{
	return entry && entry->zstd == key->zstd && digest_equal(&entry->digest, key->digest) &&
	       !strcmp(entry->repository, key->repository);
}

static struct shard *shard_of(struct hot *hot, uint64_t hash)
{
	return &hot->shards[hash % hot->n_shards];
}

/* Return: the first slot of its set. */
static size_t set_of(uint64_t hash)
{
	return hash / SHARDS % SETS * WAYS;
}

static uint16_t tag_of(uint64_t hash)
{
	return (uint16_t)(hash >> 48 | 1);
}

/* Under lock. Return: what must be given back when the lock is not held any more. */
static struct hot_entry *take_out(struct shard *shard, struct hot_entry **slot)
{
	struct hot_entry *entry = *slot;

	*slot = NULL;
	if (entry)
		shard->bytes -= entry->bytes + ENTRY_OVERHEAD;
	return entry;
}

struct hot_entry *hot_get(struct hot *hot, const struct hot_key *key, uint32_t removals)
{
	uint64_t hash = hash_of(key);
	struct hot_entry *found = NULL, *stale = NULL;
	size_t first = set_of(hash);
	struct shard *shard;

	if (!hot || !atomic_load_explicit(&hot->was_used, memory_order_relaxed))
		return NULL;
	shard = shard_of(hot, hash);
	pthread_mutex_lock(&shard->lock);
	for (size_t i = first; i < first + WAYS; i++) {
		struct hot_entry **slot = &shard->slots[i];

		if (shard->tags[i] != tag_of(hash) || !entry_is(*slot, key))
			continue;
		if ((*slot)->removals == removals) {
			found = *slot;
			found->used = true;
			atomic_fetch_add(&found->refs, 1);
		} else {
			stale = take_out(shard, slot);
		}
		break;
	}
	pthread_mutex_unlock(&shard->lock);
	hot_entry_unref(stale);
	return found;
}

/* Under lock. Was it asked for before, as far as we remember? It was now. */
static bool is_second_time(struct shard *shard, uint64_t hash)
{
	uint16_t *seen = &shard->seen[hash / SHARDS % SEEN];
	bool known = *seen == tag_of(hash);

	*seen = tag_of(hash);
	return known;
}

bool hot_ask(struct hot *hot, const struct hot_key *key)
{
	uint64_t hash = hash_of(key);
	struct shard *shard;
	bool known;

	if (!hot)
		return false;
	shard = shard_of(hot, hash);
	pthread_mutex_lock(&shard->lock);
	known = is_second_time(shard, hash);
	if (known && shard->bytes + hot->max_bytes / 32 > hot->max_bytes) {
		/* Not each eighth: who asks in a circle of eight would have one of them kept. */
		shard->dice = shard->dice * 1664525 + 1013904223;
		known = (shard->dice >> 16) % ADMIT_ONE_OF == 0;
	}
	pthread_mutex_unlock(&shard->lock);
	return known;
}

/* Under lock: the slot of a set for a newcomer. */
static struct hot_entry **choose(struct hot_entry **set, const struct hot_key *key)
{
	struct hot_entry **idle = NULL;

	for (size_t i = 0; i < WAYS; i++) {
		if (!set[i] || entry_is(set[i], key))
			return &set[i];
		if (!set[i]->used && !idle)
			idle = &set[i];
		set[i]->used = false;
	}
	return idle ? idle : &set[0];
}

/* Under lock: room for @need bytes, by the hand. What goes is chained to be given back. */
static size_t make_room(struct hot *hot, struct shard *shard, uint64_t need,
			struct hot_entry *out[static WAYS])
{
	size_t n = 0;

	for (unsigned int steps = 0; steps < 2 * SETS * WAYS && n < WAYS - 1; steps++) {
		struct hot_entry **slot = &shard->slots[shard->hand++ % (SETS * WAYS)];

		if (shard->bytes + need <= hot->max_bytes)
			break;
		if (*slot && (*slot)->used)
			(*slot)->used = false;
		else if (*slot)
			out[n++] = take_out(shard, slot);
	}
	return n;
}

static struct hot_entry *entry_new(const struct hot_key *key, struct MHD_Response *response,
				   uint64_t bytes, uint32_t removals)
{
	size_t len = strlen(key->repository) + 1;
	struct hot_entry *entry = malloc(sizeof(*entry) + len);

	if (!entry)
		return NULL;
	atomic_init(&entry->refs, 2); /* the table's and the caller's */
	entry->response = response;
	entry->digest = *key->digest;
	entry->zstd = key->zstd;
	entry->used = false;
	entry->removals = removals;
	entry->bytes = bytes;
	memcpy(entry->repository, key->repository, len);
	return entry;
}

struct hot_entry *hot_put(struct hot *hot, const struct hot_key *key, struct MHD_Response *response,
			  uint64_t bytes, uint32_t removals)
{
	uint64_t hash = hash_of(key), need = bytes + ENTRY_OVERHEAD;
	struct shard *shard = shard_of(hot, hash);
	struct hot_entry *entry = NULL, *gone[WAYS + 1] = { NULL };
	struct hot_entry **slot;
	size_t n = 0;

	pthread_mutex_lock(&shard->lock);
	n = make_room(hot, shard, need, gone);
	if (shard->bytes + need <= hot->max_bytes)
		entry = entry_new(key, response, bytes, removals);
	if (entry) {
		slot = choose(&shard->slots[set_of(hash)], key);
		gone[n++] = take_out(shard, slot);
		*slot = entry;
		shard->tags[slot - shard->slots] = tag_of(hash);
		atomic_store_explicit(&hot->was_used, true, memory_order_relaxed);
		shard->bytes += need;
	}
	pthread_mutex_unlock(&shard->lock);
	for (size_t i = 0; i < n; i++)
		hot_entry_unref(gone[i]);
	return entry;
}

struct MHD_Response *hot_entry_response(const struct hot_entry *entry)
{
	return entry->response;
}

uint64_t hot_entry_bytes(const struct hot_entry *entry)
{
	return entry->bytes;
}
