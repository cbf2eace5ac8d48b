/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns every fetch from the first waiter to the published file.
 *
 * Loop thread. How the bytes come is in fetchd/fetch-transfer.c.
 */
#include "fetchd/fetch-internal.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>

#include "fetchd/offload.h"
#include "fetchd/workerlink.h"

enum {
	BACKOFF_MIN_MS = 100,
	BACKGROUND_ROUNDS = 6,
	BACKOFF_MAX_MS = 2000,
	SEAL_DELAY_MS = 1000,
	LINGER_S = 1,
};

/* ---- the table ---- */

static struct fetch **bucket_of(struct fetch_table *table, const struct digest *digest)
{
	unsigned int hash = (unsigned int)digest->bytes[0] | (unsigned int)digest->bytes[1] << 8;

	return &table->buckets[hash % N_BUCKETS];
}

/* By size as well: a stub that lies about it must not get into the way of one that does not. */
static struct fetch *find(struct fetch_table *table, const struct digest *digest,
			  uint64_t size_bytes)
{
	struct fetch *fetch = *bucket_of(table, digest);

	while (fetch && (fetch->size_bytes != size_bytes || !digest_equal(&fetch->digest, digest)))
		fetch = fetch->next_in_bucket;
	return fetch;
}

static void unlink_fetch(struct fetch *fetch)
{
	struct fetch **p = bucket_of(fetch->table, &fetch->digest);

	while (*p != fetch)
		p = &(*p)->next_in_bucket;
	*p = fetch->next_in_bucket;
	fetch_dequeue(fetch);
}

static void free_fetch(struct fetch *fetch)
{
	fetch_transfer_stop(fetch);
	cache_abort(fetch->writer);
	if (fetch->timer)
		event_free(fetch->timer);
	if (fetch->linger)
		event_free(fetch->linger);
	source_list_clear(&fetch->sources);
	free(fetch);
}

static void seal_run(struct offload_job *job)
{
	struct fetch_table *table = container_of(job, struct fetch_table, seal_job);
	int r = cache_seal(table->cache);

	if (r < 0)
		log_error("cache: making files durable failed: %s", strerror(-r));
}

static void request_seal(struct fetch_table *table)
{
	const struct timeval delay = { .tv_sec = SEAL_DELAY_MS / 1000 };

	if (table->seal_running)
		table->seal_wanted = true;
	else if (!evtimer_pending(table->seal_timer, NULL))
		evtimer_add(table->seal_timer, &delay);
}

static void seal_done(struct offload_job *job)
{
	struct fetch_table *table = container_of(job, struct fetch_table, seal_job);

	table->seal_running = false;
	if (table->seal_wanted) {
		table->seal_wanted = false;
		request_seal(table);
	}
}

static void on_seal_timer(evutil_socket_t fd, short what, void *context)
{
	struct fetch_table *table = context;

	(void)fd;
	(void)what;
	table->seal_running = true;
	offload_submit(table->offload, &table->seal_job);
}

void fetch_note(struct fetch *fetch, const char *what, int64_t took_ms, const char *problem)
{
	char where[512] = "";

	if (fetch->source < fetch->sources.n)
		source_describe(&fetch->sources.entries[fetch->source], where, sizeof(where));
	history_note(fetch->table->history, &fetch->digest,
		     &(struct history_event){
			     .what = what,
			     .source = where,
			     .problem = problem,
			     .took_ms = took_ms,
			     .bytes = fetch->writer ? cache_written(fetch->writer) : 0,
		     });
}

/* ---- the end of a fetch ---- */

void fetch_finish(struct fetch *fetch, int error)
{
	struct fetch_table *table = fetch->table;
	char text[DIGEST_TEXT_SIZE];
	struct fetch_waiter *waiter;
	int64_t took_ms = now_ms() - fetch->started_ms;

	/* Before it is counted as there. */
	fetch_release_space(fetch);
	fetch_note(fetch,
		   !error		 ? "published"
		   : error == -ECANCELED ? "dropped"
					 : "failed",
		   took_ms,
		   !error		 ? ""
		   : error == -ECANCELED ? "nobody waits for it any more"
		   : fetch->problem[0]	 ? fetch->problem
					 : strerror(-error));
	if (error == -ECANCELED) {
		log_debug("%s: nobody waits for it any more", digest_format(&fetch->digest, text));
	} else if (error) {
		table->totals.errors++;
		log_warning("%s (%llu bytes) could not be fetched: %s",
			    digest_format(&fetch->digest, text),
			    (unsigned long long)fetch->size_bytes,
			    fetch->problem[0] ? fetch->problem : strerror(-error));
	} else {
		suspects_clear(table->suspects, &fetch->digest);
		table->totals.files++;
		table->totals.bytes += fetch->size_bytes;
		log_debug("%s (%llu bytes) fetched in %lld ms", digest_format(&fetch->digest, text),
			  (unsigned long long)fetch->size_bytes, (long long)took_ms);
		request_seal(table);
		if (table->space)
			space_note_fetched(table->space, &fetch->digest, fetch->size_bytes,
					   !fetch->background);
	}
	fetch_stop_running(fetch);
	unlink_fetch(fetch);
	while ((waiter = fetch->waiters)) {
		fetch->waiters = waiter->next;
		if (waiter->next)
			waiter->next->prev = &fetch->waiters;
		waiter->fetch = NULL;
		waiter->done(waiter, error, fetch->problem);
	}
	free_fetch(fetch);
	fetch_start_queued(table);
}

/* ---- between attempts ---- */

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct fetch *fetch = context;

	(void)fd;
	(void)what;
	fetch_enqueue(fetch);
	fetch_start_queued(fetch->table);
}

static void next_round(struct fetch *fetch)
{
	int64_t wait_ms = BACKOFF_MIN_MS, left_ms = fetch->deadline_ms - now_ms();
	struct timeval tv;

	/* Nobody is blocked by one in the background: who wants it asks again. */
	if (!fetch->transient || (fetch->background && fetch->round >= BACKGROUND_ROUNDS)) {
		fetch_finish(fetch, fetch->no_room ? -ENOSPC : -EIO);
		return;
	}
	for (unsigned int i = 0; i < fetch->round && wait_ms < BACKOFF_MAX_MS; i++)
		wait_ms *= 2;
	if (fetch->retry_after_ms > wait_ms)
		wait_ms = fetch->retry_after_ms;
	wait_ms += random() % (wait_ms / 2 + 1);
	if (wait_ms >= left_ms) {
		if (fetch->no_room)
			snprintf(fetch->problem, sizeof(fetch->problem),
				 "room for it in the cache was not made in time");
		fetch_finish(fetch, fetch->no_room ? -ENOSPC : -EIO);
		return;
	}
	fetch_note(fetch, "retry", wait_ms, "");
	fetch->round++;
	memset(fetch->tried, 0, sizeof(fetch->tried));
	fetch->transient = false;
	fetch->retry_after_ms = -1;
	tv.tv_sec = wait_ms / 1000;
	tv.tv_usec = wait_ms % 1000 * 1000;
	evtimer_add(fetch->timer, &tv);
	/* Others have a turn meanwhile. */
	fetch_stop_running(fetch);
	event_active(fetch->table->start, 0, 0);
}

/* The worker died, not the source: the same again, unless it is always this one. */
static void after_death(struct fetch *fetch)
{
	unsigned int deaths = 0;
	char text[DIGEST_TEXT_SIZE];

	if (fetch->is_suspect)
		deaths = suspects_note_death(fetch->table->suspects, &fetch->digest, now_ms());
	if (deaths < SUSPECT_QUARANTINED) {
		fetch->transient = true;
		next_round(fetch);
		return;
	}
	fetch_is_quarantined(fetch);
	log_error("%s is quarantined: %s", digest_format(&fetch->digest, text), fetch->problem);
	fetch_finish(fetch, -EIO);
}

void fetch_next_source(struct fetch *fetch, int error)
{
	char where[512];

	source_describe(&fetch->sources.entries[fetch->source], where, sizeof(where));
	log_debug("%s: %s", where, fetch->problem[0] ? fetch->problem : strerror(-error));
	fetch_note(fetch, "attempt", now_ms() - fetch->attempt_ms,
		   fetch->problem[0] ? fetch->problem : strerror(-error));
	if (fetch->worker_died) {
		after_death(fetch);
		return;
	}
	if (error == -EBADMSG && fetch->writer_base) {
		/* Its beginning came from another source, which may be the one that lied. */
		cache_abort(steal_ptr(fetch->writer));
		fetch->writer_base = 0;
		fetch_start_attempt(fetch);
		return;
	}
	fetch_judge_source(fetch, error);
	fetch_start_attempt(fetch);
}

void fetch_start_attempt(struct fetch *fetch)
{
	int r;

	fetch->source = fetch_pick_source(fetch);
	if (fetch->source >= fetch->sources.n) {
		if (!fetch->sources.n)
			snprintf(fetch->problem, sizeof(fetch->problem),
				 "no source is known; name one with 'intinode mount --source' or a "
				 "[registry HOST] section");
		next_round(fetch);
		return;
	}
	r = fetch_enter_source(fetch);
	if (r == -EBUSY) {
		fetch_stop_running(fetch);
		fetch_enqueue(fetch);
		event_active(fetch->table->start, 0, 0);
		return;
	}
	if (!r)
		r = fetch_transfer_start(fetch);
	if (r == -E2BIG) {
		snprintf(fetch->problem, sizeof(fetch->problem), "the URL is too long");
		fetch_next_source(fetch, r);
	} else if (r == -ENOSPC) {
		snprintf(fetch->problem, sizeof(fetch->problem),
			 "there is no room for it in the cache, and none can be made");
		fetch_finish(fetch, r);
	} else if (r == -EAGAIN || r == -EMFILE || r == -ENFILE) {
		/* The worker is being replaced, room is being made, something is full: later. */
		fetch->transient = true;
		next_round(fetch);
	} else if (r) {
		snprintf(fetch->problem, sizeof(fetch->problem), "cannot start the transfer: %s",
			 strerror(-r));
		fetch_finish(fetch, r);
	}
}

/* ---- callers ---- */

/* Half done is worth finishing: somebody will ask again. */
static void on_linger(evutil_socket_t fd, short what, void *context)
{
	struct fetch *fetch = context;

	(void)fd;
	(void)what;
	if (fetch->busy) {
		fetch->aborted = true;
		return;
	}
	if (fetch->writer && cache_written(fetch->writer) > fetch->size_bytes / 2)
		return;
	fetch_finish(fetch, -ECANCELED);
}

static int create(struct fetch_table *table, const struct digest *digest, uint64_t size_bytes,
		  bool background, struct fetch **out)
{
	struct fetch *fetch = calloc(1, sizeof(*fetch));
	struct fetch **bucket = bucket_of(table, digest);

	if (!fetch)
		return -ENOMEM;
	fetch->table = table;
	fetch->digest = *digest;
	fetch->size_bytes = size_bytes;
	fetch->background = background;
	fetch->pipe_fd = -1;
	fetch->retry_after_ms = -1;
	fetch->started_ms = now_ms();
	fetch->timer = evtimer_new(table->base, on_timer, fetch);
	fetch->linger = evtimer_new(table->base, on_linger, fetch);
	if (!fetch->timer || !fetch->linger) {
		free_fetch(fetch);
		return -ENOMEM;
	}
	fetch->next_in_bucket = *bucket;
	*bucket = fetch;
	fetch_enqueue(fetch);
	history_note(table->history, digest, &(struct history_event){ .what = "asked" });
	*out = fetch;
	return 0;
}

int fetch_wait(struct fetch_table *table, const struct digest *digest, uint64_t size_bytes,
	       const struct source_list *sources, int64_t deadline_ms, struct fetch_waiter *waiter)
{
	struct fetch *fetch;
	int r;

	if (cache_has(table->cache, digest, size_bytes))
		return 1;
	fetch = find(table, digest, size_bytes);
	if (!fetch) {
		r = create(table, digest, size_bytes, waiter->background, &fetch);
		if (r)
			return r;
	}
	r = source_copy_all(&fetch->sources, sources);
	if (r && !fetch->waiters && !fetch->running) {
		unlink_fetch(fetch);
		free_fetch(fetch);
		return r;
	}
	if (deadline_ms > fetch->deadline_ms)
		fetch->deadline_ms = deadline_ms;
	fetch->aborted = false;
	evtimer_del(fetch->linger);
	if (!waiter->background)
		fetch_to_foreground(fetch);
	waiter->fetch = fetch;
	waiter->next = fetch->waiters;
	waiter->prev = &fetch->waiters;
	if (waiter->next)
		waiter->next->prev = &waiter->next;
	fetch->waiters = waiter;
	/* In the loop's next turn, so that done() never comes before we return. */
	event_active(table->start, 0, 0);
	return 0;
}

/* A caller whose lookup was answered with "try again" comes back at once; others may not. */
static void nobody_waits(struct fetch *fetch)
{
	const struct timeval wait = { .tv_sec = LINGER_S };

	evtimer_add(fetch->linger, &wait);
}

void fetch_unwait(struct fetch_table *table, struct fetch_waiter *waiter)
{
	struct fetch *fetch = waiter->fetch;

	(void)table;
	if (!fetch)
		return;
	*waiter->prev = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	waiter->fetch = NULL;
	fetch_to_background(fetch);
	if (!fetch->waiters)
		nobody_waits(fetch);
}

int fetch_table_new(struct event_base *base, struct cache *cache, struct offload *offload,
		    struct workerlink *link, unsigned int running_max, struct fetch_table **out)
{
	struct fetch_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	table->base = base;
	table->cache = cache;
	table->offload = offload;
	table->link = link;
	table->running_max = running_max;
	table->seal_job = (struct offload_job){ .run = seal_run, .done = seal_done };
	table->seal_timer = evtimer_new(base, on_seal_timer, table);
	table->start = event_new(base, -1, 0, fetch_on_start, table);
	table->suspects = suspects_new();
	table->history = history_new();
	table->breakers = breakers_new();
	if (!table->seal_timer || !table->start || !table->suspects || !table->history ||
	    !table->breakers) {
		fetch_table_free(table);
		return -ENOMEM;
	}
	*out = table;
	return 0;
}

void fetch_table_free(struct fetch_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < N_BUCKETS; i++) {
		while (table->buckets[i]) {
			snprintf(table->buckets[i]->problem, PROBLEM_MAX, "fetchd stops");
			table->running_max = 0;
			fetch_finish(table->buckets[i], -EIO);
		}
	}
	workerlink_free(table->apart);
	suspects_free(table->suspects);
	history_free(table->history);
	breakers_free(table->breakers);
	if (table->seal_timer)
		event_free(table->seal_timer);
	if (table->start)
		event_free(table->start);
	free(table);
}

void fetch_table_use_space(struct fetch_table *table, struct space *space)
{
	table->space = space;
}
