/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the thread and STATE/scrub. A pass goes by the first byte of the digests, from 00 to ff, so
 * that it can go on after a restart.
 */
#include "fetchd/scrub.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/background.h"
#include "lib/log.h"

enum {
	SHARDS = 256,
	NICE = 19,
	LOOK_MS = 60 * 1000, /* how often it looks whether it is due, by a clock that may be set */
	PIECE = 256 * 1024,
	FILE_COST = 4096, /* of the rate, for what a piece costs beside its bytes */
	SLEEP_MIN_US = 5000,
	STATE_MAX = 64,
};

struct scrub {
	struct scrub_options options;
	char *path;	    /* owned: STATE/scrub */
	int64_t end_s;	    /* wall clock: of the last pass; the thread's own, as the next */
	unsigned int shard; /* that is next; 0: no pass is under way */
	uint64_t owed_us;
	atomic_uint_least64_t n_files, n_bad;
	struct background background;
};

static void save(const struct scrub *scrub)
{
	char text[STATE_MAX];
	int n = snprintf(text, sizeof(text), "%lld %u\n", (long long)scrub->end_s, scrub->shard);
	int r = write_file_durably_at(AT_FDCWD, scrub->path, text, (size_t)n, 0600);

	if (r)
		log_debug("scrub: its place cannot be written: %s", strerror(-r));
}

/* What cannot be read, or is from the future, counts as a cache that is new today. */
static void load(struct scrub *scrub)
{
	cleanup_free char *text = NULL;
	int64_t now_s = (int64_t)time(NULL);
	long long end_s;
	unsigned int shard;
	size_t len;

	scrub->end_s = now_s;
	if (read_file_at(AT_FDCWD, scrub->path, STATE_MAX, &text, &len) ||
	    sscanf(text, "%lld %u", &end_s, &shard) != 2 || end_s > now_s || shard >= SHARDS)
		return;
	scrub->end_s = end_s;
	scrub->shard = shard;
}

static bool is_stopping(const struct scrub *scrub)
{
	return scrub->background.stop;
}

/* Return: false to end. */
static bool wait_until_due(struct scrub *scrub)
{
	while (!is_stopping(scrub) && !scrub->shard) {
		int64_t left_ms =
			(scrub->end_s + (int64_t)scrub->options.interval_s - (int64_t)time(NULL)) *
			1000;

		if (left_ms <= 0)
			break;
		background_sleep(&scrub->background, left_ms < LOOK_MS ? left_ms : LOOK_MS);
	}
	return !is_stopping(scrub);
}

/* What is owed to the rate is slept off when it is worth it: small files owe little each. */
static void keep_rate(struct scrub *scrub, uint64_t bytes)
{
	scrub->owed_us += bytes * 1000000 / scrub->options.rate;
	if (scrub->owed_us < SLEEP_MIN_US)
		return;
	background_sleep(&scrub->background, (int64_t)(scrub->owed_us / 1000));
	scrub->owed_us %= 1000;
}

/* Slowly. Return: 0; -ECANCELED; -errno. */
static int hash_file(struct scrub *scrub, int fd, struct digest *out)
{
	cleanup_hasher struct hasher *hasher = hasher_new(DIGEST_SHA256);
	cleanup_free char *piece = malloc(PIECE);
	uint64_t off = 0;
	ssize_t n;

	if (!hasher || !piece)
		return -ENOMEM;
	while ((n = pread_full(fd, piece, PIECE, off)) > 0) {
		hasher_update(hasher, piece, (size_t)n);
		off += (uint64_t)n;
		keep_rate(scrub, (uint64_t)n + FILE_COST);
		if (is_stopping(scrub))
			return -ECANCELED;
	}
	if (n < 0)
		return (int)n;
	hasher_final(hasher, out);
	return 0;
}

static void look_at(struct scrub *scrub, const struct digest *digest)
{
	cleanup_close int fd = cache_open_blob(scrub->options.cache, digest);
	char text[DIGEST_TEXT_SIZE];
	struct digest found;
	bool was_resident;
	int r;

	if (fd < 0) /* evicted a moment ago */
		return;
	was_resident = space_is_in_memory(scrub->options.space, fd);
	r = hash_file(scrub, fd, &found);
	if (!was_resident)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (r == -ECANCELED || r == -ENOMEM)
		return;
	scrub->n_files++;
	if (!r && digest_equal(&found, digest))
		return;
	scrub->n_bad++;
	log_error("scrub: %s: %s; it is discarded, and will be fetched again",
		  digest_format(digest, text), r ? strerror(-r) : "its bytes are others");
	r = space_discard_now(scrub->options.space, digest);
	if (r)
		log_error("scrub: %s cannot be discarded: %s", text, strerror(-r));
}

static void look_at_shard(struct scrub *scrub)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry = NULL;
	struct digest digest;
	int r = open_dir_at(cache_dirfd(scrub->options.cache), ".", &dir);

	while (!r && !is_stopping(scrub)) {
		r = next_entry(dir, &entry);
		if (r || !entry)
			break;
		if (!digest_parse_hex(DIGEST_SHA256, entry->d_name, strlen(entry->d_name),
				      &digest) &&
		    digest.bytes[0] == scrub->shard)
			look_at(scrub, &digest);
	}
	if (r)
		log_warning("scrub: some files could not be looked at: %s", strerror(-r));
}

static void *scrub_main(void *argument)
{
	struct scrub *scrub = argument;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	load(scrub);
	save(scrub);
	while (wait_until_due(scrub)) {
		look_at_shard(scrub);
		if (is_stopping(scrub))
			break;
		scrub->shard = (scrub->shard + 1) % SHARDS;
		if (!scrub->shard)
			scrub->end_s = (int64_t)time(NULL);
		if (scrub->shard % 16 == 0)
			save(scrub);
	}
	save(scrub);
	return NULL;
}

int scrub_new(const struct scrub_options *options, struct scrub **out)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	int r;

	if (!scrub)
		return -ENOMEM;
	scrub->options = *options;
	scrub->path = format_text("%s/scrub", options->state);
	r = scrub->path ? background_start(&scrub->background, scrub_main, scrub) : -ENOMEM;
	if (r) {
		free(scrub->path);
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
	free(scrub->path);
	free(scrub);
}

json_t *scrub_describe(const struct scrub *scrub)
{
	if (!scrub)
		return json_null();
	return json_pack("{s:I, s:I}", "files", (json_int_t)scrub->n_files, "bad",
			 (json_int_t)scrub->n_bad);
}
