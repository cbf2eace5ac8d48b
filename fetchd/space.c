/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the bounds, and the walks over the cache's directory. Walks and rounds are jobs of the
 * offload threads, one of each kind at a time; what they share with the loop is the policy, which
 * has its lock, and counters.
 */
#include "fetchd/space-internal.h"

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/log.h"

enum {
	HIGH_PERCENT = 95,
	LOW_PERCENT = 90,
	WALK_FILES = 2000, /* looked at in one job, before others get the thread */
	WALK_PAUSE_MS = 50,
	WALK_EVERY_S = 15 * 60,
	FREE_LOOK_MS = 100, /* so long what statvfs() said is believed */
	IN_VAIN_MS = 1000,
	HELD_MS = 30 * 1000,
	HELD_MIN_BYTES = 64 * 1024 * 1024,
	FULL_MIN_BYTES = 16 * 1024 * 1024,
};

/* ---- walks ---- */

/* What is not known yet is added, also later: not every file comes by a fetch that is seen here. */
static int look_at(struct space *space, const char *name, bool first)
{
	cleanup_close int fd = -1;
	struct digest digest;
	struct stat st;
	uint64_t key;
	int r;

	if (!space_parse_name(name, &digest) ||
	    fstatat(cache_dirfd(space->options.cache), name, &st, AT_SYMLINK_NOFOLLOW) ||
	    !S_ISREG(st.st_mode))
		return 0;
	key = policy_key(&digest);
	r = policy_add(space->policy, key, (uint64_t)st.st_size, false);
	if (first || r)
		return r;
	fd = cache_open_blob(space->options.cache, &digest);
	if (fd >= 0 && space_is_in_memory(space, fd))
		policy_use(space->policy, key, 1);
	return 0;
}

static void walk_run(struct offload_job *job)
{
	struct space *space = container_of(job, struct space, walk.job);
	struct walk *walk = &space->walk;
	struct dirent *entry;

	walk->error = 0;
	if (!walk->dir)
		walk->error = open_dir_at(cache_dirfd(space->options.cache), ".", &walk->dir);
	for (unsigned int i = 0; !walk->error && i < WALK_FILES; i++) {
		walk->error = next_entry(walk->dir, &entry);
		walk->over = !walk->error && !entry;
		if (walk->error || walk->over)
			break;
		walk->error = look_at(space, entry->d_name, walk->first);
	}
}

static void set_timer(struct space *space, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	evtimer_add(space->timer, &tv);
}

static void check_bounds(struct space *space);

static void walk_done(struct offload_job *job)
{
	struct space *space = container_of(job, struct space, walk.job);
	struct walk *walk = &space->walk;

	if (walk->error)
		log_warning("cache: the walk over its files has ended: %s", strerror(-walk->error));
	if (!walk->error && !walk->over) {
		set_timer(space, walk->first ? 0 : WALK_PAUSE_MS);
		return;
	}
	if (walk->dir)
		closedir(steal_ptr(walk->dir));
	walk->over = false;
	walk->first = false;
	check_bounds(space);
	set_timer(space, WALK_EVERY_S * 1000);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct space *space = context;

	(void)fd;
	(void)what;
	offload_submit(space->options.offload, &space->walk.job);
}

/* ---- rounds ---- */

static uint64_t free_now(struct space *space)
{
	struct statvfs fs;

	if (space->free_ms && now_ms() - space->free_ms < FREE_LOOK_MS)
		return space->free_bytes;
	if (fstatvfs(cache_dirfd(space->options.cache), &fs))
		return UINT64_MAX;
	space->free_ms = now_ms();
	space->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	space->fs_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	space->few_inodes = fs.f_files && fs.f_favail < fs.f_files / 100;
	/* On a small file system the default would leave nothing. */
	space->min_free_bytes = space->fs_bytes / 20;
	if (space->options.min_free_bytes < space->min_free_bytes)
		space->min_free_bytes = space->options.min_free_bytes;
	return space->free_bytes;
}

/* Files that are gone may be held by who does not forget them: then more of them make no room. */
static bool is_held(struct space *space)
{
	const struct round *round = &space->round;
	/* What came meanwhile took what this made free. */
	uint64_t before = round->free_before, now = free_now(space) + space->came + space->reserved;

	if (round->bytes < HELD_MIN_BYTES || now > before + round->bytes / 4)
		return false;
	if (!space->said_held)
		log_warning(
			"cache: %llu bytes were evicted, and are not free: files are held open, "
			"or by mounts that are not seen from here",
			(unsigned long long)round->bytes);
	space->said_held = true;
	return true;
}

static void round_done(struct offload_job *job)
{
	struct space *space = container_of(job, struct space, round.job);
	struct round *round = &space->round;

	round->busy = false;
	space->free_ms = 0;
	space->in_vain_ms = 0;
	space->held_ms = is_held(space) ? now_ms() + HELD_MS : 0;
	if (!round->files && !round->spared_young)
		space->in_vain_ms = now_ms() + IN_VAIN_MS;
	space->evicted_files += round->files;
	space->evicted_bytes += round->bytes;
	if (round->files)
		log_info("cache: %llu files, %llu bytes, were evicted",
			 (unsigned long long)round->files, (unsigned long long)round->bytes);
	if (round->done && !space->stop)
		round->done(round->context, round->files, round->bytes);
	round->done = NULL;
}

static bool begin_round(struct space *space, uint64_t bytes)
{
	struct round *round = &space->round;

	if (round->busy)
		return false;
	round->busy = true;
	round->want = bytes;
	round->files = round->bytes = 0;
	round->spared_young = false;
	round->free_before = free_now(space);
	space->came = 0;
	offload_submit(space->options.offload, &round->job);
	return true;
}

int space_shrink(struct space *space, uint64_t bytes,
		 void (*done)(void *context, uint64_t files, uint64_t bytes), void *context)
{
	if (!begin_round(space, bytes))
		return -EBUSY;
	space->round.done = done;
	space->round.context = context;
	return 0;
}

/* ---- bounds ---- */

static uint64_t part_of(uint64_t bytes, unsigned int percent)
{
	return bytes / 100 * percent;
}

/* What is to go so that all bounds are kept well, with @more bytes to come. */
static uint64_t excess(struct space *space, uint64_t more, unsigned int percent)
{
	uint64_t used = policy_totals(space->policy).bytes, free_bytes = free_now(space);
	uint64_t max = part_of(space->options.max_bytes, percent), coming = more + space->promised;
	uint64_t min_free = part_of(space->min_free_bytes, 200 - percent), over = 0;

	if (space->options.max_bytes != UINT64_MAX && (used > max || coming > max - used))
		over = used + coming - max;
	coming -= space->reserved;
	if (free_bytes < min_free || coming > free_bytes - min_free) {
		uint64_t lacking = min_free + coming - free_bytes;

		over = lacking > over ? lacking : over;
	}
	/* One for each file, whatever its size: a part of the files, then. */
	if (space->few_inodes && over < used / 20)
		over = used / 20;
	return over;
}

static void check_bounds(struct space *space)
{
	if (!space->walk.first && now_ms() >= space->in_vain_ms && now_ms() >= space->held_ms &&
	    excess(space, 0, HIGH_PERCENT))
		begin_round(space, excess(space, 0, LOW_PERCENT));
}

void space_note_fetched(struct space *space, const struct digest *digest, uint64_t size_bytes,
			bool used)
{
	if (policy_add(space->policy, policy_key(digest), size_bytes, used))
		log_debug("cache: no memory for a file's value");
	space->came += size_bytes;
	check_bounds(space);
}

/* Could it be there at all, if everything else were gone? A stub may claim any size. */
static bool is_possible(struct space *space, uint64_t size_bytes)
{
	uint64_t used = policy_totals(space->policy).bytes, free_bytes = free_now(space);

	return size_bytes <= space->options.max_bytes && size_bytes <= space->fs_bytes &&
	       free_bytes + used > space->min_free_bytes &&
	       size_bytes <= free_bytes + used - space->min_free_bytes;
}

/* Return: -EAGAIN: a round runs, or what is there is not known yet; -ENOSPC. */
static int make_room(struct space *space, uint64_t bytes)
{
	if (space->walk.first || space->round.busy)
		return -EAGAIN;
	if (now_ms() < space->in_vain_ms)
		return -ENOSPC;
	if (now_ms() < space->held_ms) /* who holds it may let go; a fetch has its deadline */
		return -EAGAIN;
	begin_round(space, bytes);
	return -EAGAIN;
}

int space_ask(struct space *space, uint64_t size_bytes)
{
	if (!is_possible(space, size_bytes) && !space->walk.first)
		return -ENOSPC;
	if (excess(space, size_bytes, 100))
		return make_room(space, excess(space, size_bytes, LOW_PERCENT));
	space->promised += size_bytes;
	return 0;
}

int space_is_full(struct space *space, uint64_t size_bytes)
{
	space->free_ms = 0;
	if (!is_possible(space, size_bytes))
		return -ENOSPC;
	return make_room(space, size_bytes > FULL_MIN_BYTES ? size_bytes : FULL_MIN_BYTES);
}

void space_reserved(struct space *space, uint64_t size_bytes)
{
	space->reserved += size_bytes;
	space->free_ms = 0;
}

void space_release(struct space *space, uint64_t size_bytes, bool reserved)
{
	space->promised -= size_bytes;
	if (reserved)
		space->reserved -= size_bytes;
	space->free_ms = 0;
}

void space_stop(struct space *space)
{
	if (space)
		space->stop = true;
}

/* ---- life ---- */

int space_new(const struct space_options *options, struct space **out)
{
	struct space *space = calloc(1, sizeof(*space));

	if (!space)
		return -ENOMEM;
	space->options = *options;
	space->policy = policy_new();
	space->timer = evtimer_new(options->base, on_timer, space);
	space->walk.job = (struct offload_job){ .run = walk_run, .done = walk_done };
	space->walk.first = true;
	space->round.job = (struct offload_job){ .run = space_round_run, .done = round_done };
	if (!space->policy || !space->timer) {
		space_free(space);
		return -ENOMEM;
	}
	set_timer(space, 0);
	*out = space;
	return 0;
}

void space_free(struct space *space)
{
	if (!space)
		return;
	if (space->walk.dir)
		closedir(space->walk.dir);
	if (space->timer)
		event_free(space->timer);
	policy_free(space->policy);
	free(space);
}

json_t *space_describe(const struct space *space)
{
	struct policy_totals totals = policy_totals(space->policy);
	uint64_t max = space->options.max_bytes;

	return json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:b}", "files",
			 (json_int_t)totals.files, "bytes", (json_int_t)totals.bytes, "max_bytes",
			 max == UINT64_MAX ? json_null() : json_integer((json_int_t)max),
			 "free_bytes", (json_int_t)space->free_bytes, "min_free_bytes",
			 (json_int_t)space->min_free_bytes, "evicted_files",
			 (json_int_t)space->evicted_files, "evicted_bytes",
			 (json_int_t)space->evicted_bytes, "walking", space->walk.first);
}
