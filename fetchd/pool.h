/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker threads for what may block (disk, hashing), so that the loop never does.
 */
#pragma once

#include "lib/util.h"

struct event_base;
struct pool;

/* A self-contained piece of work; embedded in the object it works on. */
struct pool_job {
	void (*run)(struct pool_job *job);  /* worker thread */
	void (*done)(struct pool_job *job); /* loop thread, after run(); may free the job */
	struct pool_job *next;		    /* pool's */
};

/** pool_new() - start @n_threads. Return: 0 or negative errno. */
int pool_new(struct event_base *base, unsigned int n_threads, struct pool **out) must_check;

/** pool_submit() - loop thread; a job may not be submitted again before its done(). */
void pool_submit(struct pool *pool, struct pool_job *job);

/** pool_free() - waits for the jobs that run; done() is called for every submitted job. */
void pool_free(struct pool *pool);
