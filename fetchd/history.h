/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was done lately about each digest, for "intinode why": who could not give it, how long that
 * took, what was decided then. The last HISTORY_MAX events of all digests together. One thread.
 */
#pragma once

#include "lib/digest.h"
#include "lib/json.h"

enum { HISTORY_MAX = 4096 };

struct history;

/* Strings are copied; NULL or "": nothing to say. */
struct history_event {
	const char
		*what; /* static: "asked", "attempt", "retry", "published", "failed", "dropped" */
	const char *source;
	const char *problem;
	int64_t took_ms; /* attempt: this one; published, failed: all of it; retry: the wait */
	uint64_t bytes;	 /* that are there by now */
};

/** history_new() - NULL = no memory. */
struct history *history_new(void) must_check;
void history_free(struct history *history);

/** history_note() - without memory an event is left out. */
void history_note(struct history *history, const struct digest *digest,
		  const struct history_event *event);

/**
 * history_of() - the events of @digest, the oldest first: [{"at_ms" since 1970, "what", "source",
 * "problem", "took_ms", "bytes"}]. NULL = no memory.
 */
json_t *history_of(const struct history *history, const struct digest *digest) must_check;
