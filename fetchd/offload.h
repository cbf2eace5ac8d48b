/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker threads for what may block (disk, hashing), so that the loop never does.
 */
#pragma once

#include "lib/util.h"

struct event_base;
struct offload;

/* A self-contained piece of work; embedded in the object it works on. */
struct offload_job {
	void (*run)(struct offload_job *job);  /* worker thread */
	void (*done)(struct offload_job *job); /* loop thread, after run(); may free the job */
	struct offload_job *next;	       /* pool's */
};

/** offload_new() - start @n_threads. Return: 0 or negative errno. */
int offload_new(struct event_base *base, unsigned int n_threads, struct offload **out) must_check;

/** offload_submit() - loop thread; a job may not be submitted again before its done(). */
void offload_submit(struct offload *offload, struct offload_job *job);

/** offload_free() - waits for the jobs that run; done() is called for every submitted job. */
void offload_free(struct offload *offload);
