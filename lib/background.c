/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how threads of the background start, wait and end. */
#include "lib/background.h"

#include <time.h>

static void destroy(struct background *background)
{
	pthread_cond_destroy(&background->wake);
	pthread_mutex_destroy(&background->lock);
}

int background_start(struct background *background, void *(*main)(void *argument), void *argument)
{
	pthread_condattr_t attributes;
	int r;

	background->stop = false;
	pthread_mutex_init(&background->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&background->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	r = pthread_create(&background->thread, NULL, main, argument);
	if (r)
		destroy(background);
	return -r;
}

void background_wake(struct background *background)
{
	pthread_cond_signal(&background->wake);
}

bool background_wait(struct background *background, int64_t end_ms)
{
	struct timespec ts = { .tv_sec = end_ms / 1000, .tv_nsec = end_ms % 1000 * 1000000 };

	if (end_ms < 0)
		return !pthread_cond_wait(&background->wake, &background->lock);
	return !pthread_cond_timedwait(&background->wake, &background->lock, &ts);
}

bool background_sleep(struct background *background, int64_t ms)
{
	int64_t end = now_ms() + ms;

	pthread_mutex_lock(&background->lock);
	while (!background->stop && background_wait(background, end))
		;
	pthread_mutex_unlock(&background->lock);
	return !background->stop;
}

void background_stop(struct background *background)
{
	pthread_mutex_lock(&background->lock);
	background->stop = true;
	pthread_cond_signal(&background->wake);
	pthread_mutex_unlock(&background->lock);
	pthread_join(background->thread, NULL);
	destroy(background);
}
