/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub: a thread that hashes every file of the cache once an interval, at a bounded rate. What
 * is damaged is discarded, and fetched again when it is opened. What it reads does not stay in
 * memory for that: else it would look like used. STATE/scrub says where it stands.
 */
#pragma once

#include "fetchd/space.h"

struct scrub;

struct scrub_options {
	struct cache *cache; /* borrowed */
	struct space *space; /* borrowed */
	const char *state;   /* borrowed: directory */
	uint64_t interval_s; /* from the end of one to the start of the next */
	uint64_t rate;	     /* bytes a second */
};

/** scrub_new() - Return: 0 or negative errno. */
int scrub_new(const struct scrub_options *options, struct scrub **out) must_check;
/** scrub_free() - waits for the file that it reads. NULL is fine. */
void scrub_free(struct scrub *scrub);

/** scrub_describe() - {"files", "bad"}: looked at and found since the start. NULL: none runs. */
json_t *scrub_describe(const struct scrub *scrub) must_check;
