/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the cache's room share: fetchd/space.c decides, fetchd/space-evict.c does. */
#pragma once

#include <stdatomic.h>

#include "fetchd/offload.h"
#include "fetchd/space.h"

struct walk {
	struct offload_job job;
	DIR *dir; /* owned; NULL: none is under way */
	bool first;
	bool over;
	int error;
};

struct round {
	struct offload_job job;
	uint64_t want, files, bytes; /* to be evicted; what was */
	bool spared_young;	     /* and may not be spared the next time */
	uint64_t free_before;
	void (*done)(void *context, uint64_t files, uint64_t bytes);
	void *context;
	bool busy;
};

struct space {
	struct space_options options;
	struct policy *policy; /* owned */
	struct event *timer;   /* owned: the next step of the walk, or the next one */
	struct walk walk;
	struct round round;
	uint64_t evicted_files, evicted_bytes;
	uint64_t free_bytes, min_free_bytes; /* at free_ms */
	int64_t free_ms;
	uint64_t fs_bytes; /* of the whole file system; at free_ms, as the next */
	bool few_inodes;
	uint64_t promised;  /* to who fetches, and not in the cache yet */
	uint64_t reserved;  /* of that: the file system has taken it */
	int64_t in_vain_ms; /* until then no round is begun: the last one was in vain */
	int64_t held_ms;    /* the same, since what was evicted is not free */
	uint64_t came;	    /* bytes fetched since the last round began */
	bool said_held;
	atomic_bool stop;
	atomic_bool no_cachestat;
};

/** space_parse_name() - of a file of the cache. Return: is it one? */
bool space_parse_name(const char *name, struct digest *digest);

/** space_round_run() - of space->round.job. Offload thread. */
void space_round_run(struct offload_job *job);
