/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table: open addressing with linear probing, from which nothing is taken out but when it
 * is made anew. What was evicted stays as a ghost of no size until then.
 */
#include "fetchd/policy.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum {
	SLOTS_MIN = 1024,
	LOAD_MAX_PERCENT = 80,
	USES_MAX = 255,
	BLOCKS_MAX = (1 << 24) - 1, /* 64 GiB: larger ones count as that */
	BUCKETS = 1024,
	NARROWED = 4,	  /* times that a bucket is looked into */
	TRIP_BLOCKS = 16, /* what a round trip costs */
};

/* Beyond, values lose digits that matter. */
#define CLOCK_MAX 100000.0

struct slot {
	uint64_t key; /* 0: empty */
	float value;
	uint32_t blocks : 24; /* 0: a ghost */
	uint32_t uses : 8;
};

struct policy {
	pthread_mutex_t lock;
	struct slot *slots; /* owned; all below under lock */
	size_t n_slots, n_taken, n_files;
	uint64_t n_blocks;
	double clock;
};

struct policy *policy_new(void)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->slots = calloc(SLOTS_MIN, sizeof(*policy->slots));
	if (!policy->slots) {
		free(policy);
		return NULL;
	}
	policy->n_slots = SLOTS_MIN;
	pthread_mutex_init(&policy->lock, NULL);
	return policy;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	pthread_mutex_destroy(&policy->lock);
	free(policy->slots);
	free(policy);
}

uint64_t policy_key(const struct digest *digest)
{
	uint64_t key;

	memcpy(&key, digest->bytes, sizeof(key));
	return key ? key : 1;
}

/* The slot of @key, or the empty one where it would be. */
static struct slot *find(struct slot *slots, size_t n_slots, uint64_t key)
{
	size_t i = (size_t)(((unsigned __int128)key * n_slots) >> 64);

	while (slots[i].key && slots[i].key != key)
		i = i + 1 < n_slots ? i + 1 : 0;
	return &slots[i];
}

/* Ghosts are forgotten where there are more of them than files. */
static int make_room(struct policy *policy)
{
	bool keep_ghosts = policy->n_taken - policy->n_files <= policy->n_files;
	size_t n = keep_ghosts ? policy->n_taken : policy->n_files, n_slots;
	struct slot *slots;

	n_slots = n * 100 / LOAD_MAX_PERCENT * 5 / 4 + SLOTS_MIN;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < policy->n_slots; i++) {
		const struct slot *slot = &policy->slots[i];

		if (slot->key && (slot->blocks || keep_ghosts))
			*find(slots, n_slots, slot->key) = *slot;
	}
	free(policy->slots);
	policy->slots = slots;
	policy->n_slots = n_slots;
	policy->n_taken = n;
	return 0;
}

/* 0.75 to 1.25, by bits that do not choose the slot. */
static double factor_of(uint64_t key)
{
	return 0.75 + (double)(key * 0x9E3779B97F4A7C15u >> 48) / (2 * 65536.0);
}

static void set_value(const struct policy *policy, struct slot *slot, double uses)
{
	double worth = 1 + (double)TRIP_BLOCKS / slot->blocks;

	slot->value = (float)(policy->clock + uses * worth * factor_of(slot->key));
}

/* So that values stay small. */
static void turn_clock_back(struct policy *policy)
{
	for (size_t i = 0; i < policy->n_slots; i++)
		policy->slots[i].value -= (float)policy->clock;
	policy->clock = 0;
}

static uint32_t blocks_of(uint64_t size_bytes)
{
	uint64_t blocks = size_bytes / POLICY_BLOCK + (size_bytes % POLICY_BLOCK != 0);

	return blocks == 0 ? 1 : blocks < BLOCKS_MAX ? (uint32_t)blocks : BLOCKS_MAX;
}

static int add(struct policy *policy, uint64_t key, uint64_t size_bytes, bool used)
{
	struct slot *slot;

	if ((policy->n_taken + 1) * 100 > policy->n_slots * LOAD_MAX_PERCENT && make_room(policy))
		return -ENOMEM;
	slot = find(policy->slots, policy->n_slots, key);
	if (slot->blocks)
		return 0;
	policy->n_taken += !slot->key;
	slot->key = key;
	slot->blocks = blocks_of(size_bytes) & BLOCKS_MAX;
	if (used && slot->uses < USES_MAX)
		slot->uses++;
	set_value(policy, slot, used ? slot->uses : slot->uses + 0.5);
	policy->n_files++;
	policy->n_blocks += slot->blocks;
	return 0;
}

int policy_add(struct policy *policy, uint64_t key, uint64_t size_bytes, bool used)
{
	int r;

	pthread_mutex_lock(&policy->lock);
	r = add(policy, key, size_bytes, used);
	pthread_mutex_unlock(&policy->lock);
	return r;
}

void policy_use(struct policy *policy, uint64_t key, unsigned int n)
{
	struct slot *slot;

	pthread_mutex_lock(&policy->lock);
	slot = find(policy->slots, policy->n_slots, key);
	if (slot->blocks) {
		slot->uses = (n < USES_MAX - (unsigned int)slot->uses ? slot->uses + n : USES_MAX) &
			     USES_MAX;
		set_value(policy, slot, slot->uses);
	}
	pthread_mutex_unlock(&policy->lock);
}

void policy_remove(struct policy *policy, uint64_t key, bool evicted)
{
	struct slot *slot;

	pthread_mutex_lock(&policy->lock);
	slot = find(policy->slots, policy->n_slots, key);
	if (slot->blocks) {
		policy->n_files--;
		policy->n_blocks -= slot->blocks;
		slot->blocks = 0;
		if (evicted && slot->value > policy->clock)
			policy->clock = slot->value;
	}
	pthread_mutex_unlock(&policy->lock);
}

double policy_value(struct policy *policy, uint64_t key)
{
	const struct slot *slot;
	double value;

	pthread_mutex_lock(&policy->lock);
	slot = find(policy->slots, policy->n_slots, key);
	value = slot->blocks ? slot->value : 0;
	pthread_mutex_unlock(&policy->lock);
	return value;
}

/* Blocks of files with values from *@low on, in equal steps up to *@high; what is below comes
 * first. */
static void count(const struct policy *policy, double low, double high,
		  uint64_t buckets[static BUCKETS])
{
	double step = (high - low) / BUCKETS;

	memset(buckets, 0, BUCKETS * sizeof(*buckets));
	for (size_t i = 0; i < policy->n_slots; i++) {
		const struct slot *slot = &policy->slots[i];
		double n = (slot->value - low) / step;

		if (slot->blocks && n < BUCKETS)
			buckets[n > 0 ? (size_t)n : 0] += slot->blocks;
	}
}

static void bounds(const struct policy *policy, double *low, double *high)
{
	*low = HUGE_VAL;
	*high = -HUGE_VAL;
	for (size_t i = 0; i < policy->n_slots; i++) {
		const struct slot *slot = &policy->slots[i];

		if (slot->blocks && slot->value < *low)
			*low = slot->value;
		if (slot->blocks && slot->value > *high)
			*high = slot->value;
	}
}

/* Under lock. Each turn looks into the one step of the last in which the limit is. */
static double limit(const struct policy *policy, uint64_t blocks)
{
	uint64_t buckets[BUCKETS];
	double low, high;

	bounds(policy, &low, &high);
	for (unsigned int turn = 0; turn < NARROWED && high > low; turn++) {
		double step = (high - low) / BUCKETS;
		uint64_t sum = 0;
		unsigned int i = 0;

		count(policy, low, high, buckets);
		while (i < BUCKETS && sum + buckets[i] < blocks)
			sum += buckets[i++];
		if (i == BUCKETS)
			break;
		/* What is below was counted with the first of the next turn. */
		high = low + (i + 1) * step;
		low += i * step;
		if (turn + 1 == NARROWED || low == high)
			break;
	}
	return nextafter(high, HUGE_VAL);
}

double policy_limit(struct policy *policy, uint64_t bytes)
{
	double value = 0;

	pthread_mutex_lock(&policy->lock);
	if (policy->clock > CLOCK_MAX)
		turn_clock_back(policy);
	if (policy->n_files && bytes)
		value = limit(policy, bytes / POLICY_BLOCK + (bytes % POLICY_BLOCK != 0));
	pthread_mutex_unlock(&policy->lock);
	return value;
}

struct policy_totals policy_totals(struct policy *policy)
{
	struct policy_totals totals;

	pthread_mutex_lock(&policy->lock);
	totals = (struct policy_totals){ policy->n_files, policy->n_blocks * POLICY_BLOCK };
	pthread_mutex_unlock(&policy->lock);
	return totals;
}
