/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of threads that take jobs from one bounded queue. The first failure stops it: jobs
 * that wait are dropped, and everybody who submits or waits gets that error.
 */
#pragma once

#include <pthread.h>

#include "lib/log.h"

/* The first error of several threads, with its words. Zeroed is ready for use. */
struct failure {
	pthread_mutex_t lock;
	int error;
	struct problem problem;
};

void failure_init(struct failure *failure);

/** failure_set() - remember @error unless there is one already. 0 is ignored. Return: @error. */
int failure_set(struct failure *failure, int error, const struct problem *problem);

/** failure_get() - the first error, with its words in @problem (may be NULL); 0: none so far. */
int failure_get(struct failure *failure, struct problem *problem) must_check;

struct pool;

struct pool_options {
	unsigned int n_threads;
	/* Bounds of the queue; a job is let in beyond max_bytes only when the queue is empty. */
	size_t max_jobs;
	uint64_t max_bytes;
	void *context;
	struct failure *failure; /* borrowed; may be shared with others */
	/* In each thread, before its first job; *@state is the thread's own. May be NULL. */
	int (*begin)(void *context, void **state, struct problem *problem);
	void (*end)(void *state);
	/* Takes the job over, whatever it returns. */
	int (*run)(void *context, void *state, void *job, struct problem *problem);
	/* Frees a job that will not run. */
	void (*drop)(void *job);
};

/** pool_new() - @options is copied. Return: 0 or -ENOMEM, -EAGAIN (no threads). */
int pool_new(const struct pool_options *options, struct pool **out) must_check;

/**
 * pool_submit() - takes @job over, also on failure. Waits while the queue is full.
 * @bytes: what it counts for. Return: 0 or the pool's error.
 */
int pool_submit(struct pool *pool, void *job, uint64_t bytes) must_check;

/** pool_drain() - wait until nothing is queued or running. Return: 0 or the pool's error. */
int pool_drain(struct pool *pool) must_check;

/** pool_free() - drops what waits, lets running jobs end. NULL is fine. */
void pool_free(struct pool *pool);
