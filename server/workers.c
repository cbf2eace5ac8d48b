/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the worker threads and their queue. A connection has at most one job, so the limit of
 * connections bounds the queue.
 */
#include "server/workers.h"

#include <pthread.h>

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **last; /* under lock */
	bool stop;		   /* under lock */
	unsigned int n;
	pthread_t threads[];
};

static void *worker_main(void *argument)
{
	struct workers *workers = argument;
	struct job *job;

	pthread_mutex_lock(&workers->lock);
	for (;;) {
		while (!workers->first && !workers->stop)
			pthread_cond_wait(&workers->wake, &workers->lock);
		job = workers->first;
		if (!job)
			break;
		workers->first = job->next;
		if (!workers->first)
			workers->last = &workers->first;
		pthread_mutex_unlock(&workers->lock);
		job->run(job);
		pthread_mutex_lock(&workers->lock);
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

int workers_new(unsigned int n, struct workers **out)
{
	struct workers *workers = calloc(1, sizeof(*workers) + n * sizeof(pthread_t));

	if (!workers)
		return -ENOMEM;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->wake, NULL);
	workers->last = &workers->first;
	for (workers->n = 0; workers->n < n; workers->n++) {
		int r = pthread_create(&workers->threads[workers->n], NULL, worker_main, workers);

		if (r) {
			workers_free(workers);
			return -r;
		}
	}
	*out = workers;
	return 0;
}

void workers_submit(struct workers *workers, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&workers->lock);
	*workers->last = job;
	workers->last = &job->next;
	pthread_cond_signal(&workers->wake);
	pthread_mutex_unlock(&workers->lock);
}

void workers_free(struct workers *workers)
{
	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->stop = true;
	pthread_cond_broadcast(&workers->wake);
	pthread_mutex_unlock(&workers->lock);
	for (unsigned int i = 0; i < workers->n; i++)
		pthread_join(workers->threads[i], NULL);
	pthread_cond_destroy(&workers->wake);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
