/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that works in the background and waits between two pieces of work: its lock, what
 * wakes it, and how it is told to end.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "lib/util.h"

struct background {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool stop; /* set under lock */
};

/** background_start() - run @main(@argument). Return: 0, or negative errno: nothing to stop. */
int background_start(struct background *background, void *(*main)(void *argument),
		     void *argument) must_check;

/** background_wake() - the thread looks again. @background's lock is held. */
void background_wake(struct background *background);

/**
 * background_wait() - until it is woken, or until @end_ms of now_ms(); negative: no end. The lock
 * is held. Return: false when that time has come.
 */
bool background_wait(struct background *background, int64_t end_ms);

/** background_sleep() - @ms, or until it shall stop. Return: false when it shall. */
bool background_sleep(struct background *background, int64_t ms);

/** background_stop() - tell it to stop, and wait until it has. */
void background_stop(struct background *background);
