/* SPDX-License-Identifier: Apache-2.0 */
/* What the table of connections and its watchdog share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/background.h"
#include "server/connections.h"

enum {
	/* One lock each, so that the watchdog's look at all never holds up an accept for long. */
	CONNECTION_SHARDS = 64,
	ADDRESS_BUCKETS = 4096,
};

struct address {
	struct address *next;
	unsigned char key[16];
	unsigned int n; /* connections */
};

struct connection {
	struct connection *next, **link; /* under the shard's lock */
	struct connections *connections;
	struct shard *shard;
	struct address *address; /* may be NULL */
	int fd;			 /* the library's; good while this is in the table */
	bool encrypted;
	bool corked; /* the connection's thread's */
	enum connection_verdict verdict;
	atomic_int state;    /* enum connection_state; CUT is the last one */
	atomic_uint changes; /* of the state, by requests */
	int64_t start_ms;    /* of the connection */
	/* The watchdog's own. */
	unsigned int seen_changes;
	int64_t since_ms;  /* of the state */
	int64_t window_ms; /* start of the window in which the rate is measured */
	uint64_t window_bytes;
};

struct shard {
	pthread_mutex_t lock;
	struct connection *first; /* under lock */
};

struct connections {
	struct shard shards[CONNECTION_SHARDS];
	pthread_mutex_t address_lock;
	struct address *addresses[ADDRESS_BUCKETS]; /* under address_lock */
	atomic_uint n;
	atomic_uint_least64_t begun;
	atomic_int_least64_t counted_ms; /* when states were counted */
	atomic_uint_least64_t states[CONNECTION_STATES];
	atomic_uint_least64_t cuts[CUT_REASONS], refused;
	/* struct connection_limits, each by itself: they change while others read them. */
	atomic_uint_least64_t total, per_address, header_timeout_s, min_rate, rate_window_s;
	struct background watchdog;
	bool full; /* under the watchdog's lock: make room now */
};

/** watchdog_start(), watchdog_stop() - the thread. */
int watchdog_start(struct connections *connections) must_check;
void watchdog_stop(struct connections *connections);

/** connections_is_near_limit() - is it time to make room? */
bool connections_is_near_limit(struct connections *connections);

/** connection_waits() - is there nothing from the client that we have not read? */
bool connection_waits(const struct connection *connection);

/**
 * connection_cut() - shut it down, if it is still in @state. Under its shard's lock.
 * @answer: sent first where nothing else can be on its way; may be NULL.
 */
bool connection_cut(struct connection *connection, enum connection_state state, const char *answer);
