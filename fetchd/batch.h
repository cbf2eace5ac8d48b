/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many files that are fetched ahead of being opened: in the order they were named, some at a time,
 * when no program waits for another. Loop thread.
 */
#pragma once

#include "fetchd/fetch.h"

struct batch;

struct batch_blob {
	struct digest digest;
	uint64_t size_bytes;
};

struct batch_result {
	uint64_t fetched, cached, failed;
	uint64_t bytes;		   /* of those fetched */
	char problem[PROBLEM_MAX]; /* of the last that failed */
};

struct batch_options {
	struct event_base *base;
	struct fetch_table *table; /* borrowed */
	struct batch_blob *blobs;  /* taken over, also on failure */
	size_t n;
	const struct source_list *sources; /* copied */
	/* Called once, unless it was ended before; the batch is gone then. */
	void (*done)(void *context, const struct batch_result *result);
	void *context;
};

/** batch_new() - done() is called from the loop, never before this returns. */
int batch_new(const struct batch_options *options, struct batch **out) must_check;

/** batch_end() - done() will not be called; what is under way may come to its end. NULL is fine. */
void batch_end(struct batch *batch);
