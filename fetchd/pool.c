/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the worker threads and the way back into the loop (an eventfd). */
#include "fetchd/pool.h"

#include <event2/event.h>
#include <pthread.h>
#include <sys/eventfd.h>

enum { POOL_THREADS_MAX = 32 };

struct queue {
	struct pool_job *first, **last;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct queue todo, finished; /* under lock */
	bool stopping;		     /* under lock */
	int wake_fd;		     /* owned */
	struct event *wake;	     /* owned, loop thread only */
	pthread_t threads[POOL_THREADS_MAX];
	unsigned int n_threads;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static void queue_add(struct queue *queue, struct pool_job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
}

static struct pool_job *queue_take(struct queue *queue)
{
	struct pool_job *job = queue->first;

	if (job) {
		queue->first = job->next;
		if (!queue->first)
			queue->last = &queue->first;
	}
	return job;
}

static void *work(void *context)
{
	struct pool *pool = context;
	const uint64_t one = 1;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct pool_job *job = queue_take(&pool->todo);
		bool wake;

		if (!job) {
			if (pool->stopping)
				break;
			pthread_cond_wait(&pool->more, &pool->lock);
			continue;
		}
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		pthread_mutex_lock(&pool->lock);
		wake = !pool->finished.first;
		queue_add(&pool->finished, job);
		if (wake && write(pool->wake_fd, &one, sizeof(one)) < 0) {
			/* An eventfd that is full wakes the loop as well. */
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void finish_jobs(struct pool *pool)
{
	struct pool_job *job, *next;

	pthread_mutex_lock(&pool->lock);
	job = pool->finished.first;
	queue_init(&pool->finished);
	pthread_mutex_unlock(&pool->lock);
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

int pool_new(struct event_base *base, unsigned int n_threads, struct pool **out)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int r = 0;

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->more, NULL);
	queue_init(&pool->todo);
	queue_init(&pool->finished);
	pool->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->wake_fd < 0)
		r = -errno;
	else
		pool->wake = event_new(base, pool->wake_fd, EV_READ | EV_PERSIST, on_wake, pool);
	if (!r && (!pool->wake || event_add(pool->wake, NULL)))
		r = -ENOMEM;
	if (n_threads > POOL_THREADS_MAX)
		n_threads = POOL_THREADS_MAX;
	while (!r && pool->n_threads < n_threads) {
		r = -pthread_create(&pool->threads[pool->n_threads], NULL, work, pool);
		if (!r)
			pool->n_threads++;
	}
	if (r) {
		pool_free(pool);
		return r;
	}
	*out = pool;
	return 0;
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
	pthread_mutex_lock(&pool->lock);
	queue_add(&pool->todo, job);
	pthread_cond_signal(&pool->more);
	pthread_mutex_unlock(&pool->lock);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	finish_jobs(pool);
	if (pool->wake)
		event_free(pool->wake);
	if (pool->wake_fd >= 0)
		close(pool->wake_fd);
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
