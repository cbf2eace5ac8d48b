/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the worker threads and the way back into the loop (an eventfd). */
#include "fetchd/offload.h"

#include <event2/event.h>
#include <pthread.h>
#include <sys/eventfd.h>

enum { OFFLOAD_THREADS_MAX = 32 };

struct queue {
	struct offload_job *first, **last;
};

struct offload {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct queue todo, finished; /* under lock */
	bool stopping;		     /* under lock */
	int wake_fd;		     /* owned */
	struct event *wake;	     /* owned, loop thread only */
	pthread_t threads[OFFLOAD_THREADS_MAX];
	unsigned int n_threads;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_add(struct queue *queue, struct offload_job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
}

static struct offload_job *queue_take(struct queue *queue)
{
	struct offload_job *job = queue->first;

	if (job) {
		queue->first = job->next;
		if (!queue->first)
			queue->last = &queue->first;
	}
	return job;
}

static void *work(void *context)
{
	struct offload *offload = context;
	const uint64_t one = 1;

	pthread_mutex_lock(&offload->lock);
	for (;;) {
		struct offload_job *job = queue_take(&offload->todo);
		bool wake;

		if (!job) {
			if (offload->stopping)
				break;
			pthread_cond_wait(&offload->more, &offload->lock);
			continue;
		}
		pthread_mutex_unlock(&offload->lock);
		job->run(job);
		pthread_mutex_lock(&offload->lock);
		wake = !offload->finished.first;
		queue_add(&offload->finished, job);
		if (wake && write(offload->wake_fd, &one, sizeof(one)) < 0) {
			/* An eventfd that is full wakes the loop as well. */
		}
	}
	pthread_mutex_unlock(&offload->lock);
	return NULL;
}

static void finish_jobs(struct offload *offload)
{
	struct offload_job *job, *next;

	pthread_mutex_lock(&offload->lock);
	job = offload->finished.first;
	queue_init(&offload->finished);
	pthread_mutex_unlock(&offload->lock);
	for (; job; job = next) {
		next = job->next;
		job->done(job);
	}
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0) {
		/* Nothing: another wake-up took it. */
	}
	finish_jobs(context);
}

int offload_new(struct event_base *base, unsigned int n_threads, struct offload **out)
{
	struct offload *offload = calloc(1, sizeof(*offload));
	int r = 0;

	if (!offload)
		return -ENOMEM;
	pthread_mutex_init(&offload->lock, NULL);
	pthread_cond_init(&offload->more, NULL);
	queue_init(&offload->todo);
	queue_init(&offload->finished);
	offload->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (offload->wake_fd < 0)
		r = -errno;
	else
		offload->wake =
			event_new(base, offload->wake_fd, EV_READ | EV_PERSIST, on_wake, offload);
	if (!r && (!offload->wake || event_add(offload->wake, NULL)))
		r = -ENOMEM;
	if (n_threads > OFFLOAD_THREADS_MAX)
		n_threads = OFFLOAD_THREADS_MAX;
	while (!r && offload->n_threads < n_threads) {
		r = -pthread_create(&offload->threads[offload->n_threads], NULL, work, offload);
		if (!r)
			offload->n_threads++;
	}
	if (r) {
		offload_free(offload);
		return r;
	}
	*out = offload;
	return 0;
}

void offload_submit(struct offload *offload, struct offload_job *job)
{
	pthread_mutex_lock(&offload->lock);
	queue_add(&offload->todo, job);
	pthread_cond_signal(&offload->more);
	pthread_mutex_unlock(&offload->lock);
}

void offload_free(struct offload *offload)
{
	if (!offload)
		return;
	pthread_mutex_lock(&offload->lock);
	offload->stopping = true;
	pthread_cond_broadcast(&offload->more);
	pthread_mutex_unlock(&offload->lock);
	for (unsigned int i = 0; i < offload->n_threads; i++)
		pthread_join(offload->threads[i], NULL);
	finish_jobs(offload);
	if (offload->wake)
		event_free(offload->wake);
	if (offload->wake_fd >= 0)
		close(offload->wake_fd);
	pthread_cond_destroy(&offload->more);
	pthread_mutex_destroy(&offload->lock);
	free(offload);
}
