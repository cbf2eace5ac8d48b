/* SPDX-License-Identifier: Apache-2.0 */
/* Owns a check's course and its bounds: what runs in which order, how fast, what is said. */
#include "server/fsck-internal.h"

#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "server/quarantine.h"

enum { SLEEP_MAX_MS = 200 }; /* so that a stop is seen in time */

int fsck_found(struct fsck *fsck, const char *kind, const char *repository, const char *name,
	       int error, const char *text)
{
	char shown[PROBLEM_MAX], failure[128] = "";
	struct fsck_problem problem = {
		.kind = kind, .repository = repository, .name = shown, .repaired = !error
	};
	cleanup_free char *whole = NULL;

	log_escape(shown, sizeof(shown), name, strlen(name));
	if (error && error != -EAGAIN)
		snprintf(failure, sizeof(failure), "; the repair failed: %s", strerror(-error));
	whole = format_text("%s%s", text, failure);
	if (!whole)
		return -ENOMEM;
	problem.text = whole;
	fsck->report->n_problems++;
	fsck->report->n_repaired += problem.repaired;
	return fsck->options->found(fsck->options->context, &problem);
}

/* Keeps the mean of all bytes read so far below the rate. */
static int pace(struct fsck *fsck)
{
	const struct fsck_options *options = fsck->options;
	uint64_t rate = options->rate ? options->rate : options->live ? FSCK_RATE_LIVE : 0;

	while (rate) {
		double due_ms = 1000.0 * (double)fsck->report->n_bytes / (double)rate;
		double ahead_ms = due_ms - (double)(now_ms() - fsck->start_ms);
		struct timespec pause = { 0 };

		if (options->stop && *options->stop)
			return -ECANCELED;
		if (ahead_ms < 1)
			break;
		if (ahead_ms > SLEEP_MAX_MS)
			ahead_ms = SLEEP_MAX_MS;
		pause.tv_nsec = (long)(ahead_ms * 1e6);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int fsck_tick(struct fsck *fsck, const char *what, uint64_t n)
{
	const struct fsck_options *options = fsck->options;
	int r;

	if (options->stop && *options->stop)
		return -ECANCELED;
	r = pace(fsck);
	return r ? r : options->progress(options->context, what, n);
}

int fsck_quarantine(struct fsck *fsck, int dirfd, const char *name, const char *label)
{
	return fsck->options->repair ? quarantine_move(fsck->store, dirfd, name, label) : -EAGAIN;
}

static int repositories(struct fsck *fsck)
{
	int r;

	if (!fsck->options->repair)
		return fsck_repositories(fsck);
	r = store_begin_upkeep(fsck->store, fsck->options->stop);
	if (r)
		return r;
	r = fsck_repositories(fsck);
	store_end_upkeep(fsck->store);
	return r;
}

int fsck_contents(struct store *store, const struct fsck_options *options, unsigned int shard,
		  struct fsck_report *report)
{
	struct fsck fsck = { .store = store,
			     .options = options,
			     .report = report,
			     .start_ms = now_ms(),
			     .contents_only = true };

	return fsck_shard(&fsck, shard);
}

int fsck_run(struct store *store, struct index *index, const struct fsck_options *options,
	     struct fsck_report *report, struct problem *problem)
{
	struct fsck fsck = { .store = store,
			     .index = index,
			     .options = options,
			     .report = report,
			     .start_ms = now_ms() };
	int r;

	*report = (struct fsck_report){ 0 };
	r = fsck_blobs(&fsck);
	if (!r)
		r = repositories(&fsck);
	if (!r)
		r = fsck_index(&fsck);
	report->duration_ms = (uint64_t)(now_ms() - fsck.start_ms);
	if (r)
		return problem_set(problem, r, "fsck did not get to its end: %s", strerror(-r));
	return 0;
}
