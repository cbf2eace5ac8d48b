/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the control socket share: the connections, and what is asked of the cache. */
#pragma once

#include "fetchd/batch.h"
#include "fetchd/controlserver.h"
#include "fetchd/supervisor.h"

/* Digests that come in several requests. */
struct digest_list {
	struct digest *digests; /* owned */
	size_t n, max;
};

struct client {
	struct controlserver *server;
	struct bufferevent *stream; /* owned */
	struct fetch_waiter waiter;
	struct event *timer; /* owned: deadline of a fetch */
	bool waiting;	     /* for an answer: it is asked nothing more */
	struct digest_list to_pin;
	struct batch *batch; /* owned: what it waits for; NULL */
	struct client *next, **prev;
};

struct controlserver {
	struct supervisor *supervisor; /* borrowed */
	struct evconnlistener *listener;
	struct event *pause; /* owned: after an accept that failed */
	struct client *clients;
	unsigned int n_clients;
	/* Borrowed: who asked for the round, and for the discard, under way; NULL: gone, or nobody.
	 */
	struct client *evicts, *discards;
	bool discarding;
};

/** control_reply() - takes over @answer; NULL = no memory. */
void control_reply(struct client *client, json_t *answer);
void control_reply_error(struct client *client, int error, const char *text);

/** control_resume() - after an answer that came later: read on. */
void control_resume(struct client *client);

/** control_sources() - those that @request names for @digest; NULL: for many. As control.h says. */
int control_sources(struct client *client, const json_t *request, const struct digest *digest,
		    struct source_list *sources, struct problem *problem) must_check;

/* Operations on the cache, see lib/control.h. */
void control_prefetch(struct client *client, const json_t *request);
void control_evict(struct client *client, const json_t *request);
void control_discard(struct client *client, const json_t *request);
void control_pin(struct client *client, const json_t *request);
void control_unpin(struct client *client, const json_t *request);
void control_pins(struct client *client, const json_t *request);
