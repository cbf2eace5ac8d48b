/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collection of garbage, while requests go on. In this order:
 *
 *   manifests  (only on request) that no tag and no other manifest leads to
 *   links      to blobs that no manifest of their repository names
 *   contents   that no repository links to
 *
 * and none of them before its lease has run out (store.h). Of a repository that is not understood
 * to the last name (a manifest that has not its digest, a tag that leads nowhere, a directory that
 * is gone) nothing goes, and a walk that could not be read to its end ends the collection.
 * Everything is decided by the files of the store, nothing by the index. There is no window in
 * which pushes must wait: what a request has just made use of was renewed by it, and what has been
 * renewed since the collection began is not removed. That holds as long as a request takes less
 * than half a lease between its look and its publish.
 */
#pragma once

#include <stdatomic.h>

#include "server/index.h"
#include "server/store.h"

enum { GC_NEVER = -1 };

struct gc_options {
	bool dry_run;
	int64_t untagged_s;	 /* age of manifests nothing leads to; GC_NEVER: they stay */
	const atomic_bool *stop; /* may be NULL */
	/* Now and then, for a progress line; may be NULL. */
	void (*progress)(void *context, const char *what, uint64_t n);
	void *context;
};

struct gc_report {
	uint64_t repositories, unreadable; /* unreadable: nothing of them was removed */
	uint64_t manifests, links, blobs;  /* removed, or to be removed */
	uint64_t bytes;			   /* given back by the blobs */
	uint64_t duration_ms;
};

/**
 * gc_run() - one collection.
 * @index: brought in step with what is removed.
 * Return: 0; -ECANCELED; -errno with @problem. What was done until then stays done.
 * Context: a thread of its own, one at a time; takes long.
 */
int gc_run(struct store *store, struct index *index, const struct gc_options *options,
	   struct gc_report *report, struct problem *problem) must_check;
