/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files the cache keeps when there is no room for all: a value for each, from how often and
 * how lately it was used, and what it would cost to have it again.
 *
 *     value = clock + uses * (1 + 64 KiB / size) * (0.75 .. 1.25, by its name)
 *
 * The clock rises to the value of what was evicted last, so that what is not used any more sinks
 * against what comes new, however often it was used once (greedy dual, with frequency). A miss
 * costs a round trip, which counts as 64 KiB, and its bytes: small files are worth more for the
 * room they take. The factor makes files unequal that are used alike: of a set that is read in turn
 * and does not fit, always the same part stays, where going by age would keep none. What was
 * evicted is remembered for a while: when it comes back, it has its uses.
 *
 * 16 bytes a file at 80 % load. Any thread; short, under one lock.
 */
#pragma once

#include "lib/digest.h"

struct policy;

struct policy_totals {
	uint64_t files, bytes; /* bytes: in whole blocks of POLICY_BLOCK */
};

enum { POLICY_BLOCK = 4096 };

/** policy_new() - NULL = no memory. */
struct policy *policy_new(void) must_check;
void policy_free(struct policy *policy);

/** policy_key() - what stands for a digest here. Never 0. */
uint64_t policy_key(const struct digest *digest);

/**
 * policy_add() - a file is here. @used: somebody opened it; else it was brought ahead of that.
 * One that is known is left as it is, with its size. Return: 0 or -ENOMEM: it has no value, and is
 * among the first to go.
 */
int policy_add(struct policy *policy, uint64_t key, uint64_t size_bytes, bool used) must_check;

/**
 * policy_use() - it was opened, or read from, @n times. With 0 it is only worth again what it was
 * when it was used last: it may not go, and is not to be looked at first each time. What is not
 * here is no concern.
 */
void policy_use(struct policy *policy, uint64_t key, unsigned int n);

/** policy_remove() - it is gone. @evicted: for want of room, so that the clock goes on. */
void policy_remove(struct policy *policy, uint64_t key, bool evicted);

/** policy_value() - 0 for one that is not known. Comparable until the next policy_limit(). */
double policy_value(struct policy *policy, uint64_t key);

/**
 * policy_limit() - a value below which files of @bytes and little more are, as far as there are as
 * many. A look at all files: some milliseconds for each million.
 */
double policy_limit(struct policy *policy, uint64_t bytes);

struct policy_totals policy_totals(struct policy *policy);
