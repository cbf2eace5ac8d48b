/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the progress line and the thread that draws it. Counting is safe from any thread. */
#include "client/progress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { REDRAW_MS = 200 };

struct progress {
	const char *what;
	atomic_llong done, expected;
	int64_t start_ms;
	bool drawing;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	bool stop; /* under lock */
};

char *progress_format_bytes(uint64_t bytes, char out[static 16])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1000;
		unit++;
	}
	snprintf(out, 16, unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

uint64_t progress_done(const struct progress *progress)
{
	return (uint64_t)progress->done;
}

int64_t progress_elapsed_ms(const struct progress *progress)
{
	return now_ms() - progress->start_ms;
}

static void draw(struct progress *progress)
{
	int64_t done = progress->done, expected = progress->expected;
	int64_t ms = progress_elapsed_ms(progress);
	int64_t rate = ms > 0 ? done * 1000 / ms : 0;
	char a[16], b[16], c[16], rest[96] = "";

	if (expected > 0 && rate > 0 && done <= expected) {
		int64_t left = (expected - done) / rate;

		snprintf(rest, sizeof(rest), " of %s (%lld %%), %lld:%02lld left",
			 progress_format_bytes((uint64_t)expected, b),
			 (long long)(done * 100 / expected), (long long)(left / 60),
			 (long long)(left % 60));
	}
	fprintf(stderr, "\r%s: %s%s, %s/s\033[K", progress->what,
		progress_format_bytes((uint64_t)done, a), rest,
		progress_format_bytes((uint64_t)rate, c));
	fflush(stderr);
}

static void *draw_thread(void *arg)
{
	struct progress *progress = arg;

	pthread_mutex_lock(&progress->lock);
	while (!progress->stop) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += REDRAW_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&progress->stopped, &progress->lock, &until);
		if (!progress->stop)
			draw(progress);
	}
	pthread_mutex_unlock(&progress->lock);
	fputs("\r\033[K", stderr);
	fflush(stderr);
	return NULL;
}

struct progress *progress_new(const char *what, bool quiet)
{
	struct progress *progress = calloc(1, sizeof(*progress));

	if (!progress)
		return NULL;
	progress->what = what;
	progress->start_ms = now_ms();
	pthread_mutex_init(&progress->lock, NULL);
	pthread_cond_init(&progress->stopped, NULL);
	if (!quiet && isatty(STDERR_FILENO))
		progress->drawing = !pthread_create(&progress->thread, NULL, draw_thread, progress);
	return progress;
}

void progress_expect(struct progress *progress, uint64_t bytes)
{
	progress->expected += (long long)bytes;
}

void progress_add(struct progress *progress, int64_t bytes)
{
	progress->done += bytes;
}

void progress_free(struct progress *progress)
{
	if (!progress)
		return;
	if (progress->drawing) {
		pthread_mutex_lock(&progress->lock);
		progress->stop = true;
		pthread_cond_signal(&progress->stopped);
		pthread_mutex_unlock(&progress->lock);
		pthread_join(progress->thread, NULL);
	}
	pthread_cond_destroy(&progress->stopped);
	pthread_mutex_destroy(&progress->lock);
	free(progress);
}
