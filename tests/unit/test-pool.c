/* SPDX-License-Identifier: Apache-2.0 */
/* lib/pool and lib/channel: work and bytes between threads, and how errors travel. */
#include "tests/unit/test.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/channel.h"
#include "lib/pool.h"

struct counters {
	atomic_int n_run, n_dropped, n_begun, n_ended;
	int fail_at; /* this job fails */
};

static struct counters counters;

static int begin(void *context, void **state, struct problem *problem)
{
	(void)context;
	(void)problem;
	counters.n_begun++;
	*state = &counters;
	return 0;
}

static void end(void *state)
{
	assert_ptr_equal(state, &counters);
	counters.n_ended++;
}

static int run(void *context, void *state, void *job, struct problem *problem)
{
	int i = *(int *)job;

	(void)context;
	assert_ptr_equal(state, &counters);
	free(job);
	counters.n_run++;
	if (i == counters.fail_at)
		return problem_set(problem, -ENOSPC, "job %d", i);
	return 0;
}

static void drop(void *job)
{
	free(job);
	counters.n_dropped++;
}

static struct pool *make_pool(struct failure *failure, unsigned int n_threads)
{
	struct pool_options options = {
		.n_threads = n_threads,
		.max_jobs = 4,
		.max_bytes = 10,
		.failure = failure,
		.begin = begin,
		.end = end,
		.run = run,
		.drop = drop,
	};
	struct pool *pool;

	memset(&counters, 0, sizeof(counters));
	counters.fail_at = -1;
	failure_init(failure);
	assert_int_equal(pool_new(&options, &pool), 0);
	return pool;
}

static int submit(struct pool *pool, int i, uint64_t bytes)
{
	int *job = malloc(sizeof(*job));

	assert_non_null(job);
	*job = i;
	return pool_submit(pool, job, bytes);
}

static void every_job_runs_once(void **state)
{
	struct failure failure;
	struct pool *pool = make_pool(&failure, 3);

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(submit(pool, i, 1), 0);
	assert_int_equal(pool_drain(pool), 0);
	assert_int_equal(counters.n_run, 1000);
	pool_free(pool);
	assert_int_equal(counters.n_begun, counters.n_ended);
	assert_in_range(counters.n_begun, 1, 3);
}

static void a_job_larger_than_the_limit_runs_alone(void **state)
{
	struct failure failure;
	struct pool *pool = make_pool(&failure, 2);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(submit(pool, i, 1000), 0);
	assert_int_equal(pool_drain(pool), 0);
	assert_int_equal(counters.n_run, 10);
	pool_free(pool);
}

static void the_first_failure_stops_the_pool(void **state)
{
	struct problem problem;
	struct failure failure;
	struct pool *pool = make_pool(&failure, 2);
	int i, r = 0;

	(void)state;
	counters.fail_at = 5;
	for (i = 0; !r && i < 1000 * 1000; i++)
		r = submit(pool, i, 1);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(pool_drain(pool), -ENOSPC);
	assert_int_equal(failure_get(&failure, &problem), -ENOSPC);
	assert_string_equal(problem.text, "job 5");
	pool_free(pool);
	assert_int_equal(counters.n_run + counters.n_dropped, i);
}

static void the_first_of_two_failures_is_kept(void **state)
{
	struct problem first = { "first" }, second = { "second" }, got;
	struct failure failure;

	(void)state;
	failure_init(&failure);
	assert_int_equal(failure_get(&failure, NULL), 0);
	assert_int_equal(failure_set(&failure, -EIO, &first), -EIO);
	assert_int_equal(failure_set(&failure, -ENOSPC, &second), -ENOSPC);
	assert_int_equal(failure_get(&failure, &got), -EIO);
	assert_string_equal(got.text, "first");
}

/* ---- channel ---- */

enum { SENT_BYTES = 10 * 1000 * 1000 };

struct sender {
	struct channel *channel;
	int end_with;
	int result;
};

static void *send_bytes(void *arg)
{
	struct sender *sender = arg;
	uint8_t piece[1000];

	for (size_t off = 0; !sender->result && off < SENT_BYTES; off += sizeof(piece)) {
		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = (uint8_t)((off + i) * 31 >> 3);
		sender->result = channel_write(sender->channel, piece, sizeof(piece));
	}
	channel_end(sender->channel, sender->end_with);
	return NULL;
}

static void bytes_arrive_in_order(void **state)
{
	struct sender sender = { .channel = channel_new() };
	const void *bytes;
	size_t len, off = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, send_bytes, &sender), 0);
	while (channel_read(sender.channel, &bytes, &len) > 0) {
		for (size_t i = 0; i < len; i++)
			assert_int_equal(((const uint8_t *)bytes)[i],
					 (uint8_t)((off + i) * 31 >> 3));
		off += len;
	}
	assert_int_equal(off, SENT_BYTES);
	pthread_join(thread, NULL);
	channel_free(sender.channel);
}

static void the_producers_error_comes_to_the_consumer(void **state)
{
	struct sender sender = { .channel = channel_new(), .end_with = -EBADMSG };
	const void *bytes;
	pthread_t thread;
	size_t len;
	int r;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, send_bytes, &sender), 0);
	do {
		r = channel_read(sender.channel, &bytes, &len);
	} while (r > 0);
	assert_int_equal(r, -EBADMSG);
	pthread_join(thread, NULL);
	channel_free(sender.channel);
}

static void the_consumers_error_comes_to_the_producer(void **state)
{
	struct sender sender = { .channel = channel_new() };
	const void *bytes;
	pthread_t thread;
	size_t len;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, send_bytes, &sender), 0);
	assert_int_equal(channel_read(sender.channel, &bytes, &len), 1);
	channel_give_up(sender.channel, -ENOSPC);
	pthread_join(thread, NULL);
	assert_int_equal(sender.result, -ENOSPC);
	channel_free(sender.channel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_runs_once),
		cmocka_unit_test(a_job_larger_than_the_limit_runs_alone),
		cmocka_unit_test(the_first_failure_stops_the_pool),
		cmocka_unit_test(the_first_of_two_failures_is_kept),
		cmocka_unit_test(bytes_arrive_in_order),
		cmocka_unit_test(the_producers_error_comes_to_the_consumer),
		cmocka_unit_test(the_consumers_error_comes_to_the_producer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
