/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas: how much content the repositories that a rule fits may have together, and all of them.
 * What counts is the size of each blob and manifest in each repository that has it, as it was
 * pushed; that contents are shared and packed on disk is the operator's gain.
 *
 * The sums live in memory. They are counted from the files at start-up and again after each
 * collection, and follow each link that comes or goes meanwhile. Uploads under way hold what
 * they have brought and announced.
 *
 * Context: any thread. Every call takes NULL for "no quotas".
 */
#pragma once

#include <stdatomic.h>

#include "lib/digest.h"
#include "server/rules.h"

struct store;
struct quotas;

/** quotas_new() - none yet. @store: borrowed, outlives it. */
int quotas_new(const struct store *store, struct quotas **out) must_check;
void quotas_free(struct quotas *quotas);

/**
 * quotas_set() - at start-up, and while uploads go on. A count that runs begins anew, where the
 * patterns changed; where only the limits did, the sums stand. Waits for nobody.
 * @rules: looked at only now.
 * @total_bytes: of all repositories together; 0: no such quota.
 * Return: 0; -ENOMEM, and they stay as they were.
 */
int quotas_set(struct quotas *quotas, const struct rules *rules, uint64_t total_bytes) must_check;

/**
 * quotas_count() - count all from the files. Blocks, long.
 * @stop: ends it early; may be NULL.
 */
int quotas_count(struct quotas *quotas, const atomic_bool *stop) must_check;

/**
 * quota_try() - hold @bytes more for a repository; does not block.
 * Return: 0; -EDQUOT with @problem for the client; -EAGAIN: not counted yet, nothing is held.
 */
int quota_try(struct quotas *quotas, const char *repository, uint64_t bytes,
	      struct problem *problem) must_check;

/** quota_hold() - the same, counting first where that has to be. Blocks. */
int quota_hold(struct quotas *quotas, const char *repository, uint64_t bytes,
	       struct problem *problem) must_check;

/** quota_release() - what was held is a link by now, or nothing. */
void quota_release(struct quotas *quotas, const char *repository, uint64_t bytes);

/** quota_note_link() - a link came, or went. While its content can still be looked at. */
void quota_note_link(struct quotas *quotas, const char *repository, const struct digest *digest,
		     bool came);
