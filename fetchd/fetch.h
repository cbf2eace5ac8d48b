/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches: one per digest, however many wait for it (DESIGN.md, "A miss, step by step").
 *
 *   QUEUED ─► RUNNING (source after source, round after round) ─► COMMIT ─► published
 *                 └─ nobody waits any more, less than half done ─► dropped
 *                 └─ no source left that may answer before the deadline ─► failed
 *
 * All calls: loop thread.
 */
#pragma once

#include "fetchd/source.h"
#include "lib/cache.h"
#include "lib/json.h"

struct event_base;
struct fetch;
struct fetch_table;
struct offload;
struct space;
struct workerlink;

/* One caller that waits; embedded in whatever it waits for. */
struct fetch_waiter {
	/* Called once: 0, or negative errno with a text for a person. */
	void (*done)(struct fetch_waiter *waiter, int error, const char *problem);
	/*
	 * No program is blocked: it is fetched when no other wants to be, a few at a time. Set
	 * before fetch_wait().
	 */
	bool background;
	struct fetch *fetch; /* fetch's; NULL when not waiting */
	struct fetch_waiter *next, **prev;
};

struct fetch_totals {
	uint64_t files, bytes, errors;
};

/** fetch_table_new() - everything is borrowed for the table's life. */
int fetch_table_new(struct event_base *base, struct cache *cache, struct offload *offload,
		    struct workerlink *link, unsigned int running_max,
		    struct fetch_table **out) must_check;

/** fetch_table_use_space() - ask @space before each fetch, and tell it what came. Borrowed. */
void fetch_table_use_space(struct fetch_table *table, struct space *space);

/** fetch_table_free() - waiters are told -EIO. */
void fetch_table_free(struct fetch_table *table);

/**
 * fetch_wait() - wait until @digest is in the cache, starting its fetch where none runs.
 * @sources: copied; new ones are added to a fetch that runs.
 * @deadline_ms: as now_ms(); the fetch tries until the latest deadline of its waiters.
 * Return: 0, done() will be called (never before this returns); 1, it is in the cache
 * already and done() will not be called; negative errno.
 */
int fetch_wait(struct fetch_table *table, const struct digest *digest, uint64_t size_bytes,
	       const struct source_list *sources, int64_t deadline_ms,
	       struct fetch_waiter *waiter) must_check;

/** fetch_unwait() - wait no longer; done() will not be called. Fine when not waiting. */
void fetch_unwait(struct fetch_table *table, struct fetch_waiter *waiter);

void fetch_totals(const struct fetch_table *table, struct fetch_totals *out);

/** fetch_describe() - an array of what is under way, for status. NULL = no memory. */
json_t *fetch_describe(const struct fetch_table *table) must_check;

/** fetch_suspects() - what a worker died of lately: see suspects_describe(). NULL = no memory. */
json_t *fetch_suspects(const struct fetch_table *table) must_check;

/** fetch_apart_pid() - of the worker that has a suspect for itself, or -1. */
pid_t fetch_apart_pid(const struct fetch_table *table);

/** fetch_history() - what was done lately about @digest: see history_of(). NULL = no memory. */
json_t *fetch_history(const struct fetch_table *table, const struct digest *digest) must_check;

/** fetch_hosts() - those that failed last: see breakers_describe(). NULL = no memory. */
json_t *fetch_hosts(const struct fetch_table *table) must_check;
