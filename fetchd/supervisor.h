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
#include "fetchd/space.h"
#include "fetchd/workerlink.h"

struct supervisor {
	struct options options;
	struct event_base *base;
	struct cache *cache;
	struct cache_usage usage; /* at start; what was fetched since is in the totals */
	struct offload *offload;
	int network_fd; /* owned: of the host's network; -1: this process is there itself */
	struct workerlink *link;
	struct fetch_table *fetches;
	struct pins *pins;
	struct space *space;
	struct keeper *keeper;
	struct mounts *mounts;
	int64_t started_ms;
};
