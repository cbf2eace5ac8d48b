/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: what the parts of fetchd that share one event loop know of each other.
 */
#pragma once

#include "fetchd/fetch.h"
#include "fetchd/keep.h"
#include "fetchd/mounts.h"
#include "fetchd/offload.h"
#include "fetchd/options.h"
#include "fetchd/pins.h"
#include "fetchd/scrub.h"
#include "fetchd/space.h"
#include "fetchd/workerlink.h"

struct supervisor {
	struct options options;
	struct event_base *base;
	struct cache *cache;
	enum cache_state cache_state;
	struct cache_usage usage; /* at start, where it was looked at before anything else */
	struct offload_job recover_job;
	bool recovered; /* what is in the cache is durable, or known not to be */
	struct offload *offload;
	int network_fd; /* owned: of the host's network; -1: this process is there itself */
	struct workerlink *link;
	struct fetch_table *fetches;
	struct pins *pins;
	struct space *space;
	struct scrub *scrub; /* NULL: nobody looks for rot */
	struct keeper *keeper;
	struct mounts *mounts;
	int64_t started_ms;
};
