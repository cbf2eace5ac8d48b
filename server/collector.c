/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the thread that collects, and its clock: leases are times of the wall clock, so after
 * a step of that clock nothing is removed for as long as a lease lasts.
 */
#include "server/collector.h"

#include <string.h>
#include <sys/resource.h>

#include "lib/background.h"
#include "lib/log.h"
#include "server/quota.h"

enum { NICE = 10, STEP_MIN_S = 2 /* both clocks are read in whole seconds */ };

struct collector {
	struct store *store; /* borrowed */
	struct index *index; /* borrowed */
	struct collector_options options;
	pthread_mutex_t running; /* held during a collection */
	struct background background;
	bool recount;	       /* under lock */
	int64_t offset_s;      /* wall clock less monotonic; under running */
	int64_t not_before_ms; /* monotonic; under running */
};

/* Under running. May leases be judged by the wall clock? */
static bool clock_is_steady(struct collector *collector)
{
	int64_t offset_s = store_now() - now_ms() / 1000;
	int64_t step_s = offset_s - collector->offset_s;
	int64_t most_s = collector->store->lease_s / 4;

	collector->offset_s = offset_s;
	if (most_s < STEP_MIN_S)
		most_s = STEP_MIN_S;
	if (step_s > most_s || step_s < -most_s) {
		collector->not_before_ms = now_ms() + collector->store->lease_s * 1000;
		log_warning("gc: the clock was set by %lld s; nothing is collected for %lld s, so "
			    "that no lease ends by that",
			    (long long)step_s, (long long)collector->store->lease_s);
	}
	return now_ms() >= collector->not_before_ms;
}

static void log_report(const struct gc_report *report)
{
	if (report->manifests || report->links || report->blobs || report->unreadable)
		log_info("gc: %llu manifests, %llu links and %llu blobs removed, %llu bytes given "
			 "back, in %llu ms",
			 (unsigned long long)report->manifests, (unsigned long long)report->links,
			 (unsigned long long)report->blobs, (unsigned long long)report->bytes,
			 (unsigned long long)report->duration_ms);
}

int collector_run(struct collector *collector, const struct gc_options *options,
		  struct gc_report *report, struct problem *problem)
{
	int r;

	pthread_mutex_lock(&collector->running);
	if (collector->background.stop)
		r = problem_set(problem, -ECANCELED, "gc: the server is stopping");
	else if (store_is_read_only(collector->store))
		r = problem_set(problem, -EROFS, "gc: the store is read-only: %s",
				store_read_only_reason(collector->store));
	else if (!store_has_all_leases(collector->store))
		r = problem_set(
			problem, -EAGAIN,
			"gc: the store was read-only a short while ago; leases could not be "
			"given then, so nothing is collected for half of one");
	else if (!clock_is_steady(collector))
		r = problem_set(problem, -EAGAIN,
				"gc: the clock was set; leases cannot be judged for now");
	else
		r = gc_run(collector->store, collector->index, options, report, problem);
	if (!r && !options->dry_run)
		log_report(report);
	pthread_mutex_unlock(&collector->running);
	return r;
}

/* What the quotas' sums may have too much, for what went while they were counted. */
static void count(struct collector *collector)
{
	int r = quotas_count(collector->store->quotas, &collector->background.stop);

	if (r && r != -ECANCELED)
		log_error("quotas: what the repositories have cannot be counted: %s", strerror(-r));
}

static bool wait_interval(struct collector *collector)
{
	int64_t interval_ms = (int64_t)collector->options.interval_s * 1000;
	int64_t end = interval_ms ? now_ms() + interval_ms : -1;

	pthread_mutex_lock(&collector->background.lock);
	while (!collector->background.stop) {
		if (collector->recount) {
			collector->recount = false;
			pthread_mutex_unlock(&collector->background.lock);
			count(collector);
			pthread_mutex_lock(&collector->background.lock);
			continue;
		}
		if (!background_wait(&collector->background, end))
			break;
	}
	pthread_mutex_unlock(&collector->background.lock);
	return !collector->background.stop;
}

void collector_recount(struct collector *collector)
{
	pthread_mutex_lock(&collector->background.lock);
	collector->recount = true;
	background_wake(&collector->background);
	pthread_mutex_unlock(&collector->background.lock);
}

static void *collector_main(void *argument)
{
	struct collector *collector = argument;
	const struct gc_options options = { .untagged_s = collector->options.untagged_s,
					    .stop = &collector->background.stop };

	/* Not SCHED_IDLE: it takes locks that requests wait for. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	count(collector);
	while (wait_interval(collector)) {
		struct problem problem = { "" };
		struct gc_report report;
		int r = collector_run(collector, &options, &report, &problem);

		if (r && r != -ECANCELED && r != -EAGAIN && r != -EROFS)
			log_error("%s", problem_text(&problem, r));
		count(collector);
	}
	return NULL;
}

int collector_new(struct store *store, struct index *index, const struct collector_options *options,
		  struct collector **out)
{
	struct collector *collector = calloc(1, sizeof(*collector));
	int r;

	if (!collector)
		return -ENOMEM;
	collector->store = store;
	collector->index = index;
	collector->options = *options;
	collector->offset_s = store_now() - now_ms() / 1000;
	pthread_mutex_init(&collector->running, NULL);
	r = background_start(&collector->background, collector_main, collector);
	if (r) {
		pthread_mutex_destroy(&collector->running);
		free(collector);
		return r;
	}
	*out = collector;
	return 0;
}

void collector_free(struct collector *collector)
{
	if (!collector)
		return;
	background_stop(&collector->background);
	pthread_mutex_destroy(&collector->running);
	free(collector);
}
