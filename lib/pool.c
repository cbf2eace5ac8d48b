/* SPDX-License-Identifier: Apache-2.0 */
/* Owns threads and their queue. Any thread may submit; one drains and frees. */
#include "lib/pool.h"

struct job {
	struct job *next;
	void *data;
	uint64_t bytes;
};

struct pool {
	struct pool_options options;
	pthread_mutex_t lock;
	pthread_cond_t work, room;
	struct job *first, **last; /* under lock */
	size_t n_jobs;		   /* under lock: waiting */
	uint64_t bytes;		   /* under lock: of the waiting and the running */
	unsigned int n_running;	   /* under lock */
	bool stop;		   /* under lock */
	unsigned int n_threads;
	pthread_t *threads; /* owned */
};

void failure_init(struct failure *failure)
{
	*failure = (struct failure){ .error = 0 };
	pthread_mutex_init(&failure->lock, NULL);
}

int failure_set(struct failure *failure, int error, const struct problem *problem)
{
	if (!error)
		return 0;
	pthread_mutex_lock(&failure->lock);
	if (!failure->error) {
		failure->error = error;
		if (problem)
			failure->problem = *problem;
	}
	pthread_mutex_unlock(&failure->lock);
	return error;
}

int failure_get(struct failure *failure, struct problem *problem)
{
	int r;

	pthread_mutex_lock(&failure->lock);
	r = failure->error;
	if (r && problem)
		*problem = failure->problem;
	pthread_mutex_unlock(&failure->lock);
	return r;
}

/* Under lock. */
static struct job *take_job(struct pool *pool)
{
	struct job *job = pool->first;

	if (!job)
		return NULL;
	pool->first = job->next;
	if (!pool->first)
		pool->last = &pool->first;
	pool->n_jobs--;
	return job;
}

/* Under lock. */
static void drop_jobs(struct pool *pool)
{
	struct job *job;

	while ((job = take_job(pool))) {
		pool->bytes -= job->bytes;
		pool->options.drop(job->data);
		free(job);
	}
	pthread_cond_broadcast(&pool->room);
}

struct worker {
	void *state;
	bool begun;
};

/* Begun with the first job: a small image does not open eight connections. */
static int run_begun(struct pool *pool, struct worker *worker, void *data, struct problem *problem)
{
	const struct pool_options *options = &pool->options;
	int r;

	if (!worker->begun && options->begin) {
		r = options->begin(options->context, &worker->state, problem);
		if (r) {
			options->drop(data);
			return r;
		}
	}
	worker->begun = true;
	return options->run(options->context, worker->state, data, problem);
}

/* Lock held on entry and return, not while the job runs. */
static void run_job(struct pool *pool, struct worker *worker, struct job *job)
{
	struct problem problem = { .text = "" };
	int r;

	pool->n_running++;
	pthread_cond_broadcast(&pool->room);
	pthread_mutex_unlock(&pool->lock);
	r = run_begun(pool, worker, job->data, &problem);
	failure_set(pool->options.failure, r, &problem);
	pthread_mutex_lock(&pool->lock);
	pool->n_running--;
	pool->bytes -= job->bytes;
	pthread_cond_broadcast(&pool->room);
	free(job);
}

static void *pool_thread(void *arg)
{
	struct worker worker = { .state = NULL };
	struct pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		if (!pool->first)
			pthread_cond_wait(&pool->work, &pool->lock);
		else if (failure_get(pool->options.failure, NULL))
			drop_jobs(pool);
		else
			run_job(pool, &worker, take_job(pool));
	}
	pthread_mutex_unlock(&pool->lock);
	if (worker.begun && pool->options.end)
		pool->options.end(worker.state);
	return NULL;
}

int pool_new(const struct pool_options *options, struct pool **out)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->options = *options;
	pool->last = &pool->first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->room, NULL);
	pool->threads = calloc(options->n_threads, sizeof(*pool->threads));
	if (!pool->threads) {
		pool_free(pool);
		return -ENOMEM;
	}
	while (pool->n_threads < options->n_threads) {
		if (pthread_create(&pool->threads[pool->n_threads], NULL, pool_thread, pool))
			break;
		pool->n_threads++;
	}
	if (!pool->n_threads) {
		pool_free(pool);
		return -EAGAIN;
	}
	*out = pool;
	return 0;
}

int pool_submit(struct pool *pool, void *data, uint64_t bytes)
{
	struct job *job = calloc(1, sizeof(*job));
	int r = job ? 0 : -ENOMEM;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		bool idle = pool->n_jobs == 0 && pool->n_running == 0;

		if (!r)
			r = failure_get(pool->options.failure, NULL);
		if (r || (pool->n_jobs < pool->options.max_jobs &&
			  (idle || pool->bytes + bytes <= pool->options.max_bytes)))
			break;
		pthread_cond_wait(&pool->room, &pool->lock);
	}
	if (!r) {
		job->data = data;
		job->bytes = bytes;
		*pool->last = job;
		pool->last = &job->next;
		pool->n_jobs++;
		pool->bytes += bytes;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
	if (r) {
		pool->options.drop(data);
		free(job);
	}
	return r;
}

int pool_drain(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->n_jobs || pool->n_running)
		pthread_cond_wait(&pool->room, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	return failure_get(pool->options.failure, NULL);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	drop_jobs(pool);
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->room);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool);
}
