/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of fetches share: fetchd/fetch.c decides, fetchd/fetch-queue.c says whose turn it
 * is, fetchd/fetch-transfer.c moves bytes.
 */
#pragma once

#include <event2/util.h>

#include "fetchd/breaker.h"
#include "fetchd/fetch.h"
#include "fetchd/history.h"
#include "fetchd/offload.h"
#include "fetchd/space.h"
#include "fetchd/suspects.h"
#include "fetchd/workerlink.h"

enum { N_BUCKETS = 1024 };

/* Fetches that wait for the same thing, in their order. */
struct fetch_list {
	struct fetch *first, *last;
};

struct fetch {
	struct fetch_table *table;
	struct fetch *next_in_bucket;
	struct fetch_list *in; /* where it waits; NULL: nowhere */
	struct fetch *before, *behind;
	struct digest digest;
	uint64_t size_bytes;
	struct source_list sources;
	struct fetch_waiter *waiters;
	int64_t started_ms, deadline_ms;
	int64_t attempt_ms; /* when the present attempt began */

	bool running, busy, aborted; /* busy: a pool job has the writer and the pipe */
	bool background;	     /* no program waits for it */
	struct cache_writer *writer; /* owned */
	uint64_t promised;	     /* room for it, see space_ask() */
	bool reserved;		     /* see space_reserved() */
	bool no_room;		     /* there was none when it was tried last */
	uint64_t writer_base;	     /* bytes it had when the attempt began */
	size_t source;		     /* index of the attempt's source */
	struct source_load *load;    /* of its host; borrowed; NULL: none is taken */
	unsigned int round;
	bool transient;		      /* a source of this round may answer later */
	bool bad_source[SOURCES_MAX]; /* will not have it */
	bool tried[SOURCES_MAX];      /* in this round */
	struct event *readable;
	struct event *timer;  /* the next round */
	struct event *linger; /* nobody has waited for a while */
	int pipe_fd;	      /* owned, -1: none */
	bool eof;
	bool committed;		 /* cache_commit() was called: io_error is its answer */
	int io_error;		 /* of the cache or the pipe */
	bool have_result;	 /* loop thread only, as what follows */
	int result_error;	 /* of the worker */
	bool worker_died;	 /* and so this attempt ended */
	bool is_suspect;	 /* and of what it was at, this may be why */
	struct workerlink *link; /* borrowed: whose worker the attempt has; NULL: none */
	int64_t retry_after_ms;
	char problem[PROBLEM_MAX];
	struct worker_job worker_job;
	struct offload_job offload_job;
};

struct fetch_table {
	struct event_base *base;
	struct cache *cache;
	struct offload *offload;
	struct workerlink *link; /* borrowed */
	/* Who is suspected goes to a worker that others do not need, one at a time. */
	struct suspects *suspects; /* owned */
	struct workerlink *apart;  /* owned; NULL: not needed now */
	struct fetch *runs_apart;  /* NULL: nobody */
	struct fetch_list waits_apart;
	unsigned int running_max, n_running;
	unsigned int n_background; /* of those that run */
	struct source_load *loads; /* owned */
	struct breakers *breakers; /* owned */
	struct fetch *buckets[N_BUCKETS];
	struct fetch_list queue, background;
	struct fetch_totals totals;
	struct history *history; /* owned */
	struct space *space;	 /* borrowed; NULL: room is not looked after */
	bool starting;		 /* start_queued() runs */
	struct event *start, *seal_timer;
	struct offload_job seal_job;
	bool seal_running, seal_wanted;
};

/** fetch_transfer_start() - begin an attempt with the present source. Return: 0 or -errno. */
int fetch_transfer_start(struct fetch *fetch) must_check;

/** fetch_transfer_stop() - no more bytes; not while a pool job runs. */
void fetch_transfer_stop(struct fetch *fetch);

/** fetch_release_space() - it needs no more room. */
void fetch_release_space(struct fetch *fetch);

/** fetch_next_source() - an attempt ended with @error; what now is decided here. */
void fetch_next_source(struct fetch *fetch, int error);

/** fetch_finish() - tell every waiter, and free it. */
void fetch_finish(struct fetch *fetch, int error);

/** fetch_start_attempt() - with the present source, or the next that is good. */
void fetch_start_attempt(struct fetch *fetch);

/** fetch_pick_source() - which one to ask next in this round; sources.n: none is left. */
size_t fetch_pick_source(const struct fetch *fetch);

/** fetch_judge_source() - the present one was asked, and ended with @error, 0 or -errno. */
void fetch_judge_source(struct fetch *fetch, int error);

/**
 * fetch_enter_source() - take a place at the present source, at most half of all that may run; the
 * one before is given back. Return: 0; -EBUSY when there is none; -ENOMEM.
 */
int fetch_enter_source(struct fetch *fetch) must_check;

/**
 * fetch_enqueue() - behind all others that wait for a turn.
 * fetch_dequeue() - wherever it waits; fine when it does not.
 */
void fetch_enqueue(struct fetch *fetch);
void fetch_dequeue(struct fetch *fetch);

/**
 * fetch_to_foreground() - a program waits for it now: it does not sleep as long as one in the
 * background may. fetch_to_background() - unless a program still waits.
 */
void fetch_to_foreground(struct fetch *fetch);
void fetch_to_background(struct fetch *fetch);

/**
 * fetch_start_queued() - begin as many as may run. One that fails at once comes back here: then
 * the outer call goes on.
 */
void fetch_start_queued(struct fetch_table *table);

/** fetch_on_start() - the same, as an event: in the loop's next turn. */
void fetch_on_start(evutil_socket_t fd, short what, void *context);

/** fetch_stop_running() - others have a turn. Fine for one that does not run. */
void fetch_stop_running(struct fetch *fetch);

/** fetch_is_quarantined() - then the problem says so. */
bool fetch_is_quarantined(struct fetch *fetch);

/** fetch_note() - for its history. @what: "attempt" of the present source, or of the whole. */
void fetch_note(struct fetch *fetch, const char *what, int64_t took_ms, const char *problem);
