/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what waits for the disk. Many of them sync at once: the file system then
 * commits their changes together, which is where the speed of small pushes comes from.
 */
#pragma once

#include "lib/util.h"

struct workers;

/* Embedded in what the job is about; in the queue at most once. */
struct job {
	void (*run)(struct job *job);
	struct job *next; /* under the queue's lock */
};

/** workers_new() - start @n threads. Return: 0 or -errno. */
int workers_new(unsigned int n, struct workers **out) must_check;

/** workers_submit() - any thread; never blocks. The queue is as long as there are callers. */
void workers_submit(struct workers *workers, struct job *job);

/** workers_free() - runs what is queued, then ends the threads. */
void workers_free(struct workers *workers);
