/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When garbage is collected in a running server: every so often, and when somebody asks. One
 * thread, one collection at a time.
 */
#pragma once

#include "server/gc.h"

struct collector;

struct collector_options {
	uint64_t interval_s; /* 0: only when asked */
	int64_t untagged_s;  /* gc.h */
};

/** collector_new() - @store, @index: borrowed, outlive it. */
int collector_new(struct store *store, struct index *index, const struct collector_options *options,
		  struct collector **out) must_check;

/** collector_free() - ends a collection that runs, early. Blocks until the thread is gone. */
void collector_free(struct collector *collector);

/** collector_recount() - the quotas changed: their sums are counted now, by the thread. */
void collector_recount(struct collector *collector);

/**
 * collector_run() - a collection now, behind one that runs. Blocks until it is done.
 * @options: as gc_run(); its stop is looked at, too.
 */
int collector_run(struct collector *collector, const struct gc_options *options,
		  struct gc_report *report, struct problem *problem) must_check;
