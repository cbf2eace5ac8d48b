/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns which fetches run, how many of them at one source, and with which worker. A source that does
 * not answer must not take the places of those that do. Loop thread.
 */
#include "fetchd/fetch-internal.h"

#include <event2/event.h>
#include <string.h>

/* ---- lists ---- */

static void list_add(struct fetch_list *list, struct fetch *fetch)
{
	fetch->in = list;
	fetch->before = list->last;
	fetch->behind = NULL;
	if (list->last)
		list->last->behind = fetch;
	else
		list->first = fetch;
	list->last = fetch;
}

void fetch_dequeue(struct fetch *fetch)
{
	struct fetch_list *list = fetch->in;

	if (!list)
		return;
	if (fetch->before)
		fetch->before->behind = fetch->behind;
	else
		list->first = fetch->behind;
	if (fetch->behind)
		fetch->behind->before = fetch->before;
	else
		list->last = fetch->before;
	fetch->in = NULL;
	fetch->before = fetch->behind = NULL;
}

static struct fetch_list *queue_of(struct fetch *fetch)
{
	return fetch->background ? &fetch->table->background : &fetch->table->queue;
}

void fetch_enqueue(struct fetch *fetch)
{
	list_add(queue_of(fetch), fetch);
}

/* The first @n of @list have a chance again. */
static void requeue(struct fetch_list *list, size_t n)
{
	for (struct fetch *fetch; n && (fetch = list->first); n--) {
		fetch_dequeue(fetch);
		fetch_enqueue(fetch);
	}
}

/* ---- sources ---- */

/* A host that somebody fetches from now; it is there while somebody does. */
struct source_load {
	struct source_load *next;
	unsigned int n, n_background;	       /* background: of n */
	struct fetch_list waiting, background; /* for one of its places */
	char host[];
};

static unsigned int places_of_source(const struct fetch_table *table)
{
	return (table->running_max + 1) / 2;
}

/* Who is left alone now is asked only when nobody else is left. */
size_t fetch_pick_source(const struct fetch *fetch)
{
	const struct source_list *sources = &fetch->sources;
	size_t last_resort = sources->n;
	int64_t now = now_ms();

	for (size_t i = 0; i < sources->n; i++) {
		const char *host = sources->entries[i].host;

		if (fetch->bad_source[i] || fetch->tried[i])
			continue;
		if (!host || !breaker_is_open(fetch->table->breakers, host, now))
			return i;
		if (last_resort == sources->n)
			last_resort = i;
	}
	return last_resort;
}

static bool error_may_pass(int error)
{
	return error != -ENOENT && error != -EACCES && error != -EBADMSG && error != -E2BIG;
}

void fetch_judge_source(struct fetch *fetch, int error)
{
	struct breakers *breakers = fetch->table->breakers;
	const char *host = fetch->sources.entries[fetch->source].host;
	int64_t now = now_ms();

	if (error_may_pass(error))
		fetch->transient = true;
	else if (error)
		fetch->bad_source[fetch->source] = true;
	fetch->tried[fetch->source] = true;
	/* An empty file comes from nowhere, and what this host lacks is no fault of the other. */
	if (!host || !fetch->size_bytes || error == -ENOMEM || error == -EMFILE ||
	    error == -ENFILE || error == -EBUSY)
		return;
	if (!error || !error_may_pass(error))
		breaker_succeeded(breakers, host);
	else if (now < fetch->deadline_ms) /* else it had no time */
		breaker_failed(breakers, host, fetch->retry_after_ms, now);
}

/* Where the next attempt goes. Return: NULL for none, and for one that is no host. */
static const char *next_host(const struct fetch *fetch)
{
	size_t i = fetch_pick_source(fetch);

	return i < fetch->sources.n ? fetch->sources.entries[i].host : NULL;
}

static struct source_load *find_load(const struct fetch_table *table, const char *host)
{
	struct source_load *load = table->loads;

	while (load && strcmp(load->host, host))
		load = load->next;
	return load;
}

/* How many may begin there: programs that wait leave nothing of the other half to the others. */
static unsigned int places_left(const struct fetch_table *table, const struct source_load *load,
				bool background)
{
	unsigned int places = places_of_source(table), half = (places + 1) / 2;
	unsigned int left = places > load->n ? places - load->n : 0;

	if (background && load->n_background >= half)
		return 0;
	return background && left > half - load->n_background ? half - load->n_background : left;
}

/* Return: what it has to wait for, or NULL. */
static struct fetch_list *full_source(const struct fetch *fetch)
{
	const char *host = next_host(fetch);
	struct source_load *load = host ? find_load(fetch->table, host) : NULL;

	if (!load || places_left(fetch->table, load, fetch->background))
		return NULL;
	return fetch->background ? &load->background : &load->waiting;
}

static void leave_source(struct fetch *fetch)
{
	struct fetch_table *table = fetch->table;
	struct source_load *load = steal_ptr(fetch->load), **p = &table->loads;

	if (!load)
		return;
	event_active(table->start, 0, 0);
	load->n--;
	load->n_background -= fetch->background;
	if (load->n)
		return;
	requeue(&load->waiting, SIZE_MAX);
	requeue(&load->background, SIZE_MAX);
	while (*p != load)
		p = &(*p)->next;
	*p = load->next;
	free(load);
}

int fetch_enter_source(struct fetch *fetch)
{
	struct fetch_table *table = fetch->table;
	const char *host = fetch->sources.entries[fetch->source].host;
	size_t size = host ? strlen(host) + 1 : 0;

	leave_source(fetch);
	if (!host)
		return 0;
	if (full_source(fetch))
		return -EBUSY;
	breaker_enter(table->breakers, host, now_ms());
	fetch->load = find_load(table, host);
	if (!fetch->load) {
		fetch->load = malloc(sizeof(*fetch->load) + size);
		if (!fetch->load)
			return -ENOMEM;
		*fetch->load = (struct source_load){ .next = table->loads };
		memcpy(fetch->load->host, host, size);
		table->loads = fetch->load;
	}
	fetch->load->n++;
	fetch->load->n_background += fetch->background;
	return 0;
}

static void set_background(struct fetch *fetch, bool background)
{
	unsigned int change = background ? 1 : -1U;
	bool waits = fetch->in != NULL;

	fetch_dequeue(fetch);
	if (fetch->running)
		fetch->table->n_background += change;
	if (fetch->load)
		fetch->load->n_background += change;
	fetch->background = background;
	if (waits)
		fetch_enqueue(fetch);
}

void fetch_to_foreground(struct fetch *fetch)
{
	if (!fetch->background)
		return;
	set_background(fetch, false);
	if (!evtimer_pending(fetch->timer, NULL))
		return;
	/* Sources may have come with the program; those that were asked may answer by now. */
	evtimer_del(fetch->timer);
	memset(fetch->tried, 0, sizeof(fetch->tried));
	fetch->retry_after_ms = -1;
	fetch_enqueue(fetch);
}

void fetch_to_background(struct fetch *fetch)
{
	for (const struct fetch_waiter *waiter = fetch->waiters; waiter; waiter = waiter->next) {
		if (!waiter->background)
			return;
	}
	if (fetch->waiters && !fetch->background)
		set_background(fetch, true);
}

/* ---- the queue ---- */

/* Half of the places while no program waits for any, else a quarter. */
static bool may_run_background(const struct fetch_table *table)
{
	bool alone = table->n_running == table->n_background;

	for (const struct source_load *load = table->loads; load; load = load->next)
		alone = alone && !load->waiting.first;
	return table->n_background < (table->running_max + 3) / (alone ? 2 : 4);
}

/* The next that may run now. Who may not waits apart, so that nobody is looked at in vain twice. */
static struct fetch *take_from(struct fetch_table *table, struct fetch_list *queue)
{
	struct fetch *fetch;

	while ((fetch = queue->first)) {
		struct fetch_list *full = full_source(fetch);

		fetch_dequeue(fetch);
		if (full)
			list_add(full, fetch);
		else if (table->runs_apart &&
			 suspects_is_apart(table->suspects, &fetch->digest, now_ms()))
			list_add(&table->waits_apart, fetch);
		else
			return fetch;
	}
	return NULL;
}

static struct fetch *take_from_queue(struct fetch_table *table)
{
	struct fetch *fetch = take_from(table, &table->queue);

	if (!fetch && may_run_background(table))
		fetch = take_from(table, &table->background);
	return fetch;
}

/*
 * Those whose source has places again. They may not take them: another source is better by now, or
 * nobody waits for them any more. So it is asked until there is nobody to call.
 */
static bool call_some(struct fetch_list *list, unsigned int n)
{
	if (!list->first || !n)
		return false;
	requeue(list, n);
	return true;
}

static bool call_waiting(struct fetch_table *table)
{
	bool called = false;

	for (struct source_load *load = table->loads; load; load = load->next) {
		called = call_some(&load->waiting, places_left(table, load, false)) || called;
		if (may_run_background(table) && !load->waiting.first)
			called = call_some(&load->background, places_left(table, load, true)) ||
				 called;
	}
	return called;
}

static int choose_worker(struct fetch *fetch)
{
	struct fetch_table *table = fetch->table;
	int r;

	fetch->link = table->link;
	if (!suspects_is_apart(table->suspects, &fetch->digest, now_ms()))
		return 0;
	table->runs_apart = fetch;
	fetch->link = table->apart;
	if (table->apart)
		return 0;
	r = workerlink_new_like(table->link, &table->apart);
	fetch->link = table->apart;
	return r;
}

void fetch_stop_running(struct fetch *fetch)
{
	struct fetch_table *table = fetch->table;

	if (fetch->running)
		table->n_running--;
	if (fetch->running && fetch->background)
		table->n_background--;
	fetch->running = false;
	leave_source(fetch);
	if (table->runs_apart != fetch)
		return;
	table->runs_apart = NULL;
	requeue(&table->waits_apart, SIZE_MAX);
	/* Its worker ends there, and not amid a call of its own. */
	event_active(table->start, 0, 0);
}

bool fetch_is_quarantined(struct fetch *fetch)
{
	int64_t ms = suspects_quarantine_ms(fetch->table->suspects, &fetch->digest, now_ms());

	if (ms)
		snprintf(fetch->problem, sizeof(fetch->problem),
			 "the network worker died of it %d times: it is left alone for %lld s more",
			 SUSPECT_QUARANTINED, (long long)(ms + 999) / 1000);
	return ms > 0;
}

static void start_one(struct fetch *fetch)
{
	int r;

	fetch->running = true;
	fetch->table->n_running++;
	fetch->table->n_background += fetch->background;
	if (fetch_is_quarantined(fetch)) {
		fetch_finish(fetch, -EIO);
		return;
	}
	r = choose_worker(fetch);
	if (!r) {
		fetch_start_attempt(fetch);
		return;
	}
	snprintf(fetch->problem, sizeof(fetch->problem), "cannot start a network worker for it: %s",
		 strerror(-r));
	fetch_finish(fetch, r);
}

void fetch_start_queued(struct fetch_table *table)
{
	struct fetch *fetch;

	if (table->starting)
		return;
	table->starting = true;
	do {
		while (table->n_running < table->running_max && (fetch = take_from_queue(table)))
			start_one(fetch);
	} while (table->n_running < table->running_max && call_waiting(table));
	table->starting = false;
}

void fetch_on_start(evutil_socket_t fd, short what, void *context)
{
	struct fetch_table *table = context;

	(void)fd;
	(void)what;
	fetch_start_queued(table);
	if (table->apart && !table->runs_apart)
		workerlink_free(steal_ptr(table->apart));
}
