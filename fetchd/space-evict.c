/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the removal of files: which ones of those of little value are spared, and what is damaged.
 */
#include "fetchd/space-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "fetchd/overlays.h"
#include "fetchd/pins.h"
#include "lib/log.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5; the same for all architectures */
#endif

enum {
	/*
	 * Who waited for a file looks for it again when it was published; then it must be there.
	 * Less where nothing else would make room.
	 */
	YOUNG_MS = 2000,
	YOUNG_LAST_MS = 250,
	ALL = UINT16_MAX,
};

/* See cachestat(2); older headers do not have them. */
struct cachestat_range {
	uint64_t off, len;
};

struct cachestat_result {
	uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

bool space_is_in_memory(struct space *space, int fd)
{
	struct cachestat_range range = { 0, 0 };
	struct cachestat_result result;

	if (space->no_cachestat)
		return false;
	if (syscall(SYS_cachestat, fd, &range, &result, 0)) {
		space->no_cachestat = errno == ENOSYS || errno == EPERM;
		return false;
	}
	return result.cache > 0;
}

/* A write lease is given only to who has the file alone (fcntl(2)). */
static bool is_open_elsewhere(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK))
		return errno == EAGAIN;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

bool space_parse_name(const char *name, struct digest *digest)
{
	return !digest_parse_hex(DIGEST_SHA256, name, strlen(name), digest);
}

/* ---- rounds ---- */

/* By the time of its last byte. A clock that was set makes it old. */
static bool is_young(const struct stat *st, int64_t young_ms)
{
	struct timespec now;
	int64_t age_ms;

	clock_gettime(CLOCK_REALTIME, &now);
	age_ms = (now.tv_sec - st->st_mtim.tv_sec) * 1000 +
		 (now.tv_nsec - st->st_mtim.tv_nsec) / 1000000;
	return age_ms >= 0 && age_ms < young_ms;
}

/* What a pass over the files takes. */
struct pass {
	unsigned int factor; /* so many times the bytes that are wanted are below the limit */
	bool spare_resident;
	int64_t young_ms;
};

/* Return: 1: it is gone; 0: spared, or gone already; negative errno. */
static int evict(struct space *space, const char *name, double limit, const struct pass *pass)
{
	struct round *round = &space->round;
	cleanup_close int fd = -1;
	struct digest digest;
	struct stat st;
	uint64_t key;
	int r;

	if (!space_parse_name(name, &digest))
		return 0;
	key = policy_key(&digest);
	if (policy_value(space->policy, key) >= limit)
		return 0;
	if (pins_has(space->options.pins, key)) {
		policy_use(space->policy, key, 0);
		return 0;
	}
	fd = cache_open_blob(space->options.cache, &digest);
	if (fd < 0 || fstat(fd, &st))
		return 0;
	if (is_young(&st, pass->young_ms)) {
		round->spared_young = true;
		return 0;
	}
	if (pass->spare_resident && space_is_in_memory(space, fd)) {
		policy_use(space->policy, key, 1);
		return 0;
	}
	if (is_open_elsewhere(fd)) {
		policy_use(space->policy, key, 1);
		return 0;
	}
	close(steal_fd(&fd));
	r = cache_remove(space->options.cache, &digest);
	if (r)
		return r;
	policy_remove(space->policy, key, true);
	round->files++;
	round->bytes += (uint64_t)st.st_blocks * 512;
	return 1;
}

static int do_pass(struct space *space, double limit, const struct pass *pass)
{
	cleanup_closedir DIR *dir = NULL;
	const struct round *round = &space->round;
	struct dirent *entry = NULL;
	int r = open_dir_at(cache_dirfd(space->options.cache), ".", &dir);

	while (!r && round->bytes < round->want && !space->stop) {
		r = next_entry(dir, &entry);
		if (r || !entry)
			break;
		if (evict(space, entry->d_name, limit, pass) < 0)
			log_warning("cache: %s cannot be evicted", entry->d_name);
	}
	return r;
}

/*
 * The least valuable first. Those with pages in memory are spared, and more valuable ones taken
 * instead, as long as that is enough.
 */
void space_round_run(struct offload_job *job)
{
	struct space *space = container_of(job, struct space, round.job);
	struct round *round = &space->round;
	static const struct pass passes[] = {
		{ 1, true, YOUNG_MS },	  { 4, true, YOUNG_MS },	 { 16, true, YOUNG_MS },
		{ 2, false, YOUNG_MS },	  { 16, false, YOUNG_MS },	 { 256, false, YOUNG_MS },
		{ ALL, false, YOUNG_MS }, { ALL, false, YOUNG_LAST_MS },
	};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(passes) && round->bytes < round->want; i++) {
		uint64_t left = round->want - round->bytes;
		uint64_t below = passes[i].factor != ALL && left < UINT64_MAX / passes[i].factor
					 ? left * passes[i].factor
					 : UINT64_MAX;

		r = do_pass(space, policy_limit(space->policy, below), &passes[i]);
	}
	if (r)
		log_error("cache: no room can be made: %s", strerror(-r));
	if (round->files)
		overlays_forget(space->options.run);
}

/* ---- damage ---- */

struct discard {
	struct offload_job job;
	struct space *space; /* borrowed */
	struct digest digest;
	int error;
	void (*done)(void *context, int error);
	void *context;
};

int space_discard_now(struct space *space, const struct digest *digest)
{
	int r = cache_remove(space->options.cache, digest);

	if (r)
		return r;
	policy_remove(space->policy, policy_key(digest), false);
	overlays_forget(space->options.run);
	return 0;
}

static void discard_run(struct offload_job *job)
{
	struct discard *discard = container_of(job, struct discard, job);

	discard->error = space_discard_now(discard->space, &discard->digest);
}

static void discard_done(struct offload_job *job)
{
	struct discard *discard = container_of(job, struct discard, job);

	if (!discard->space->stop)
		discard->done(discard->context, discard->error);
	free(discard);
}

int space_discard(struct space *space, const struct digest *digest,
		  void (*done)(void *context, int error), void *context)
{
	struct discard *discard = malloc(sizeof(*discard));

	if (!discard)
		return -ENOMEM;
	*discard = (struct discard){ .job = { .run = discard_run, .done = discard_done },
				     .space = space,
				     .digest = *digest,
				     .done = done,
				     .context = context };
	offload_submit(space->options.offload, &discard->job);
	return 0;
}
