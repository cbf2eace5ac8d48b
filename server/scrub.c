/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the thread that hashes all blobs now and then, and STORE/scrub, where it stands. */
#include "server/scrub.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/background.h"
#include "lib/log.h"
#include "server/fsck.h"

enum {
	NICE = 19,
	LOOK_S = 60, /* how often it looks whether it is due, by a clock that may be set */
	SAVE_MS = 60 * 1000,
	STATE_MAX = 64,
};

struct scrub {
	struct store *store; /* borrowed */
	uint64_t interval_s, rate;
	int64_t end_s;	    /* wall clock: of the last walk; the thread's own, as the next two */
	unsigned int shard; /* that is next; 0: no walk is running */
	int64_t saved_ms;
	atomic_uint_least64_t n_blobs, n_bad;
	struct background background;
};

static void save(struct scrub *scrub)
{
	char text[STATE_MAX];
	int n = snprintf(text, sizeof(text), "%lld %u\n", (long long)scrub->end_s, scrub->shard);
	int r = write_file_durably_at(scrub->store->root_fd, "scrub", text, (size_t)n, 0600);

	if (r)
		log_warning("scrub: its place cannot be written, it may begin anew: %s",
			    strerror(-r));
	scrub->saved_ms = now_ms();
}

/* What cannot be read or is from the future counts as a store that is new today. */
static void load(struct scrub *scrub)
{
	cleanup_close int fd = store_openat(scrub->store->root_fd, "scrub", O_RDONLY, 0);
	char text[STATE_MAX] = "";
	long long end_s;
	unsigned int shard;
	bool good = fd >= 0 && pread_full(fd, text, sizeof(text) - 1, 0) > 0 &&
		    sscanf(text, "%lld %u", &end_s, &shard) == 2;

	if (good && end_s <= store_now() && shard < FSCK_SHARDS) {
		scrub->end_s = end_s;
		scrub->shard = shard;
		return;
	}
	scrub->end_s = store_now();
	save(scrub);
}

static bool wait_s(struct scrub *scrub, int64_t seconds)
{
	return background_sleep(&scrub->background, seconds * 1000);
}

/* Return: false to end. */
static bool wait_until_due(struct scrub *scrub)
{
	while (!scrub->background.stop) {
		int64_t age_s = store_now() - scrub->end_s;
		int64_t left_s = (int64_t)scrub->interval_s - age_s;

		if (age_s < 0) /* the clock was set back */
			scrub->end_s = store_now();
		if ((scrub->shard || left_s <= 0) && !store_is_read_only(scrub->store))
			break;
		wait_s(scrub, left_s > 0 && left_s < LOOK_S ? left_s : LOOK_S);
	}
	return !scrub->background.stop;
}

static int found(void *context, const struct fsck_problem *problem)
{
	struct scrub *scrub = context;

	scrub->n_bad++;
	log_error("scrub: blob %s: %s%s", problem->name, problem->text,
		  problem->repaired ? ": until then it is answered as missing" : "");
	return 0;
}

static int progress(void *context, const char *what, uint64_t n)
{
	(void)context;
	(void)what;
	(void)n;
	return 0;
}

static void walk_shard(struct scrub *scrub)
{
	const struct fsck_options options = { .repair = true,
					      .live = true,
					      .rate = scrub->rate,
					      .stop = &scrub->background.stop,
					      .found = found,
					      .progress = progress,
					      .context = scrub };
	struct fsck_report report = { 0 };
	int r = fsck_contents(scrub->store, &options, scrub->shard, &report);

	scrub->n_blobs += report.n_blobs;
	if (r == -ECANCELED)
		return;
	if (r)
		log_warning("scrub: some blobs could not be checked this time: %s", strerror(-r));
	scrub->shard++;
	if (scrub->shard < FSCK_SHARDS && now_ms() - scrub->saved_ms >= SAVE_MS)
		save(scrub);
}

static void *scrub_main(void *argument)
{
	struct scrub *scrub = argument;

	/* Not SCHED_IDLE: it may take a blob's lock. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	load(scrub);
	while (wait_until_due(scrub)) {
		walk_shard(scrub);
		while (scrub->shard < FSCK_SHARDS && wait_until_due(scrub))
			walk_shard(scrub);
		if (scrub->shard < FSCK_SHARDS)
			break;
		scrub->shard = 0;
		scrub->end_s = store_now();
		save(scrub);
	}
	if (scrub->shard)
		save(scrub);
	return NULL;
}

int scrub_new(struct store *store, uint64_t interval_s, uint64_t rate, struct scrub **out)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	int r;

	if (!scrub)
		return -ENOMEM;
	scrub->store = store;
	scrub->interval_s = interval_s;
	scrub->rate = rate;
	r = background_start(&scrub->background, scrub_main, scrub);
	if (r) {
		free(scrub);
		return r;
	}
	*out = scrub;
	return 0;
}

void scrub_free(struct scrub *scrub)
{
	if (!scrub)
		return;
	background_stop(&scrub->background);
	free(scrub);
}

uint64_t scrub_blobs(const struct scrub *scrub)
{
	return scrub ? scrub->n_blobs : 0;
}

uint64_t scrub_bad(const struct scrub *scrub)
{
	return scrub ? scrub->n_bad : 0;
}
