/* SPDX-License-Identifier: Apache-2.0 */
/* Many fetches in one thread: pausing, cancelling, deadlines, one token for all, TLS. */
#include "tests/unit/fixture.h"

#include <poll.h>

enum { MANY = 200, ROUNDS_MAX = 100 * 1000, WAIT_MS = 100 };

struct job {
	struct received got;
	struct registry_fetch *fetch;
	unsigned int n_pauses; /* to make before the first byte is taken */
	int sink_error;
	bool cancel_in_sink, is_paused, is_done;
	unsigned int n_done;
	int error;
	uint64_t wire_bytes, bytes;
	int64_t retry_after_ms;
	char problem[PROBLEM_MAX];
};

static int job_sink(void *context, const void *bytes, size_t len)
{
	struct job *job = context;

	if (job->n_pauses) {
		job->n_pauses--;
		job->is_paused = true;
		return -EAGAIN;
	}
	if (job->cancel_in_sink)
		registry_fetch_cancel(job->fetch);
	return job->sink_error ? job->sink_error : sink_keep(&job->got, bytes, len);
}

static void job_done(struct registry_fetch *fetch, void *context)
{
	struct job *job = context;

	job->is_done = true;
	job->n_done++;
	job->error = registry_fetch_error(fetch);
	job->wire_bytes = registry_fetch_wire_bytes(fetch);
	job->bytes = registry_fetch_bytes(fetch);
	job->retry_after_ms = registry_fetch_retry_after_ms(fetch);
	snprintf(job->problem, sizeof(job->problem), "%s", registry_fetch_problem(fetch));
}

static struct registry_fetch_request request_of(struct job *job, const char *repository)
{
	return (struct registry_fetch_request){
		.host = fx.host,
		.repository = repository,
		.digest = fx.digest,
		.size_bytes = BLOB_SIZE,
		.sink = job_sink,
		.done = job_done,
		.context = job,
	};
}

static void start(struct job *job, const struct registry_fetch_request *request)
{
	assert_int_equal(registry_fetch_start(fx.registry, request, &job->fetch), 0);
	assert_false(job->is_done);
}

static void run_until_done(struct job *job)
{
	for (int i = 0; i < ROUNDS_MAX && !job->is_done; i++) {
		assert_true(registry_run(fx.registry, NULL, 0, WAIT_MS) >= 0);
		if (job->is_paused && !job->is_done) {
			job->is_paused = false;
			registry_fetch_resume(job->fetch);
		}
	}
	assert_true(job->is_done);
}

static void fetch(struct job *job, const char *repository)
{
	struct registry_fetch_request request = request_of(job, repository);

	start(job, &request);
	run_until_done(job);
}

static void check_bytes(struct job *job, size_t offset)
{
	assert_int_equal(job->error, 0);
	assert_int_equal(job->got.len, BLOB_SIZE - offset);
	assert_memory_equal(job->got.bytes, fx.blob + offset, BLOB_SIZE - offset);
	free(job->got.bytes);
}

static void a_fetch_ends_in_one_call_of_done(void **state)
{
	struct job job = { .error = 1 };

	(void)state;
	fetch(&job, "ok/app");
	assert_int_equal(job.n_done, 1);
	assert_int_equal(job.wire_bytes, BLOB_SIZE);
	assert_int_equal(job.bytes, BLOB_SIZE);
	check_bytes(&job, 0);
	assert_int_equal(registry_run(fx.registry, NULL, 0, 0), 0);
}

static void bytes_on_the_wire_are_counted_as_they_came(void **state)
{
	struct job job = { .error = 1 };

	(void)state;
	fetch(&job, "gzip/app");
	assert_true(job.wire_bytes > 0 && job.wire_bytes < BLOB_SIZE);
	assert_int_equal(job.bytes, BLOB_SIZE);
	check_bytes(&job, 0);
}

static void fetch_many(const char *repository)
{
	struct job *jobs = calloc(MANY, sizeof(*jobs));

	assert_non_null(jobs);
	for (int i = 0; i < MANY; i++) {
		struct registry_fetch_request request = request_of(&jobs[i], repository);

		start(&jobs[i], &request);
	}
	for (int i = 0; i < MANY; i++)
		run_until_done(&jobs[i]);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(jobs[i].n_done, 1);
		check_bytes(&jobs[i], 0);
	}
	free(jobs);
}

static void many_fetches_share_few_connections(void **state)
{
	(void)state;
	fetch_many("ok/app");
	assert_int_equal(count(0, NULL, NULL), MANY);
	assert_in_range(badserver_connections(&fx.server), 1, 32);
}

static void many_fetches_wait_for_one_token(void **state)
{
	(void)state;
	fetch_many("bearer/app");
	assert_int_equal(count(0, NULL, "/token/"), 1);
}

static void a_sink_that_is_full_pauses_and_gets_every_byte_once(void **state)
{
	static const char *const repositories[] = { "ok/app", "gzip/app", "reset/app",
						    "reset-no-range/app" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(repositories); i++) {
		struct job job = { .n_pauses = 5 };

		fetch(&job, repositories[i]);
		assert_int_equal(job.n_pauses, 0);
		check_bytes(&job, 0);
	}
}

static void a_paused_fetch_does_not_stall_the_others(void **state)
{
	struct job paused = { .n_pauses = 1 }, other = { .error = 1 };
	struct registry_fetch_request request = request_of(&paused, "ok/app");

	(void)state;
	start(&paused, &request);
	while (!paused.is_paused)
		assert_true(registry_run(fx.registry, NULL, 0, WAIT_MS) >= 0);
	fetch(&other, "ok/app");
	check_bytes(&other, 0);
	assert_false(paused.is_done);
	run_until_done(&paused);
	check_bytes(&paused, 0);
}

static void a_cancelled_fetch_is_done_at_once(void **state)
{
	struct job job = { .error = 0 };
	struct registry_fetch_request request = request_of(&job, "silence/app");

	(void)state;
	start(&job, &request);
	registry_fetch_cancel(job.fetch);
	assert_int_equal(job.n_done, 1);
	assert_int_equal(job.error, -ECANCELED);
	job = (struct job){ .error = 0 };
	start(&job, &request);
	assert_int_equal(registry_run(fx.registry, NULL, 0, 10), 1);
	registry_fetch_cancel(job.fetch);
	assert_int_equal(job.n_done, 1);
	assert_int_equal(registry_run(fx.registry, NULL, 0, 0), 0);
}

static void a_sink_may_cancel_its_own_fetch(void **state)
{
	struct job job = { .cancel_in_sink = true };

	(void)state;
	fetch(&job, "ok/app");
	assert_int_equal(job.n_done, 1);
	assert_int_equal(job.error, -ECANCELED);
	free(job.got.bytes);
}

static void an_error_of_the_sink_is_the_error_of_the_fetch(void **state)
{
	struct job job = { .sink_error = -ENOSPC };

	(void)state;
	fetch(&job, "ok/app");
	assert_int_equal(job.error, -ENOSPC);
	assert_int_equal(count(0, NULL, "/ok/app/"), 1);
}

static void a_client_that_is_freed_ends_its_fetches(void **state)
{
	struct job job = { .error = 0 };
	struct registry_fetch_request request = request_of(&job, "silence/app");

	start(&job, &request);
	assert_int_equal(registry_run(fx.registry, NULL, 0, 10), 1);
	registry_free(fx.registry);
	assert_int_equal(job.n_done, 1);
	assert_int_equal(job.error, -ECANCELED);
	assert_int_equal(fixture_client(state), 0);
}

static void a_deadline_ends_a_fetch_wherever_it_is(void **state)
{
	static const char *const repositories[] = { "silence/app", "broken/app", "busy-long/app" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(repositories); i++) {
		struct job job = { .error = 0 };
		struct registry_fetch_request request = request_of(&job, repositories[i]);
		int64_t began_ms = now_ms();

		request.deadline_ms = began_ms + 300;
		start(&job, &request);
		run_until_done(&job);
		assert_true(job.error == -ETIMEDOUT || job.error == -EIO);
		assert_true(now_ms() - began_ms < 5000);
	}
}

static void a_deadline_holds_for_those_who_wait_for_a_connection_or_a_token(void **state)
{
	static const char *const repositories[] = { "silence/app", "bearer-silence/app" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(repositories); i++) {
		struct job *jobs = calloc(MANY, sizeof(*jobs));
		int64_t began_ms = now_ms();

		assert_non_null(jobs);
		for (int k = 0; k < MANY; k++) {
			struct registry_fetch_request request =
				request_of(&jobs[k], repositories[i]);

			request.deadline_ms = began_ms + 300;
			start(&jobs[k], &request);
		}
		for (int k = 0; k < MANY; k++) {
			run_until_done(&jobs[k]);
			assert_int_equal(jobs[k].error, -ETIMEDOUT);
		}
		assert_true(now_ms() - began_ms < 10000);
		free(jobs);
	}
}

static void a_fetch_that_waits_for_a_token_can_be_cancelled(void **state)
{
	struct job job = { .error = 0 }, other = { .error = 0 };
	struct registry_fetch_request request = request_of(&job, "bearer-silence/app");
	struct registry_fetch_request same = request_of(&other, "bearer-silence/app");

	start(&job, &request);
	start(&other, &same);
	while (!count(0, NULL, "/token/"))
		assert_int_equal(registry_run(fx.registry, NULL, 0, 10), 2);
	registry_fetch_cancel(job.fetch);
	assert_int_equal(job.error, -ECANCELED);
	assert_false(other.is_done);
	registry_free(fx.registry);
	assert_int_equal(other.error, -ECANCELED);
	assert_int_equal(fixture_client(state), 0);
}

static void a_registry_that_asks_for_patience_is_quoted(void **state)
{
	struct job job = { .error = 0 };

	(void)state;
	fetch(&job, "busy-long/app");
	assert_int_equal(job.error, -EIO);
	assert_int_equal(job.retry_after_ms, 3600 * 1000);
	assert_non_null(strstr(job.problem, "too many requests"));
}

static void a_fetch_goes_on_where_the_caller_stopped(void **state)
{
	struct job job = { .error = 1 };
	struct registry_fetch_request request = request_of(&job, "ok/app");

	(void)state;
	request.offset = 150 * 1000;
	start(&job, &request);
	run_until_done(&job);
	assert_int_equal(job.bytes, 50 * 1000);
	assert_int_equal(count_header(0, "range", "bytes=150000-"), 1);
	check_bytes(&job, 150 * 1000);
	request.offset = BLOB_SIZE;
	assert_int_equal(registry_fetch_start(fx.registry, &request, &job.fetch), -EINVAL);
}

static void an_encoded_answer_to_a_range_is_refused(void **state)
{
	struct job job = { .error = 0 };
	struct registry_fetch_request request = request_of(&job, "gzip-unasked/app");

	(void)state;
	request.offset = 10;
	start(&job, &request);
	run_until_done(&job);
	assert_int_equal(job.error, -EBADMSG);
	assert_int_equal(job.got.len, 0);
}

static void the_descriptors_of_the_caller_wake_it(void **state)
{
	struct job job = { .error = 0 };
	struct registry_fetch_request request = request_of(&job, "silence/app");
	struct pollfd extra = { .events = POLLIN };
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	extra.fd = fds[0];
	start(&job, &request);
	assert_int_equal(registry_run(fx.registry, &extra, 1, 20), 1);
	assert_int_equal(extra.revents, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(registry_run(fx.registry, &extra, 1, 10 * 1000), 1);
	assert_int_equal(extra.revents, POLLIN);
	assert_int_equal(read(fds[0], &(char){ 0 }, 1), 1);
	close(fds[1]);
	assert_int_equal(registry_run(fx.registry, &extra, 1, 10 * 1000), 1);
	assert_int_equal(extra.revents, POLLHUP);
	registry_fetch_cancel(job.fetch);
	close(fds[0]);
}

/* The blob by URL; @scheme_and_host without the path. */
static int fetch_url(struct job *job, const char *scheme_and_host, const char *repository)
{
	struct registry_fetch_request request = request_of(job, NULL);
	cleanup_free char *url =
		format_text("%s/v2/%s/blobs/%s", scheme_and_host, repository, fx.digest_text);
	int r;

	request.host = NULL;
	request.url = url;
	r = registry_fetch_start(fx.registry, &request, &job->fetch);
	if (r)
		return r;
	run_until_done(job);
	return job->error;
}

static void a_url_is_fetched_with_the_credentials_of_its_host(void **state)
{
	cleanup_free char *base = format_text("http://%s", fx.host);
	struct job job = { .error = 1 };

	(void)state;
	fixture_login("secret");
	assert_int_equal(fetch_url(&job, base, "basic/app"), 0);
	check_bytes(&job, 0);
	assert_int_equal(fetch_url(&job, "http://registry.example", "ok/app"), -EINVAL);
	assert_int_equal(fetch_url(&job, "ftp://127.0.0.1", "ok/app"), -EINVAL);
	assert_int_equal(fetch_url(&job, "file://", "ok/app"), -EINVAL);
}

static void new_client(const char *ca_file, bool insecure)
{
	const struct registry_options options = { .no_auth_file = true,
						  .ca_file = ca_file,
						  .insecure = insecure };

	registry_free(fx.registry);
	assert_int_equal(registry_new(&options, &fx.registry, &fx.problem), 0);
}

static void a_certificate_counts_for_its_name_and_by_its_authority(void **state)
{
	cleanup_free char *by_name = format_text("https://localhost:%u", fx.server.tls_port);
	cleanup_free char *by_address = format_text("https://127.0.0.1:%u", fx.server.tls_port);
	struct job job = { .error = 1 };

	(void)state;
	if (!fx.server.tls_port)
		skip();
	assert_int_equal(fetch_url(&job, by_name, "ok/app"), -EHOSTUNREACH);
	assert_non_null(strstr(job.problem, "TLS"));
	assert_non_null(strstr(job.problem, "--ca-file"));
	new_client(fx.server.cert_path, false);
	job = (struct job){ .error = 1 };
	assert_int_equal(fetch_url(&job, by_name, "ok/app"), 0);
	check_bytes(&job, 0);
	job = (struct job){ .error = 1 };
	assert_int_equal(fetch_url(&job, by_address, "ok/app"), -EHOSTUNREACH);
	new_client(NULL, true);
	job = (struct job){ .error = 1 };
	assert_int_equal(fetch_url(&job, by_address, "ok/app"), 0);
	check_bytes(&job, 0);
}

static void https_never_becomes_http(void **state)
{
	cleanup_free char *base = format_text("https://localhost:%u", fx.server.tls_port);
	cleanup_free char *plain = format_text("https://%s", fx.host);
	struct job job = { .error = 1 };

	(void)state;
	if (!fx.server.tls_port)
		skip();
	new_client(fx.server.cert_path, false);
	assert_int_equal(fetch_url(&job, base, "redirect-plain/app"), -EBADMSG);
	assert_non_null(strstr(job.problem, "not https"));
	assert_int_equal(count(0, NULL, "/moved/"), 0);
	job = (struct job){ .error = 1 };
	assert_int_equal(fetch_url(&job, plain, "ok/app"), -EHOSTUNREACH);
	assert_non_null(strstr(job.problem, "--plain-http"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_client, fixture_drop_client)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_fetch_ends_in_one_call_of_done),
		test(bytes_on_the_wire_are_counted_as_they_came),
		test(many_fetches_share_few_connections),
		test(many_fetches_wait_for_one_token),
		test(a_sink_that_is_full_pauses_and_gets_every_byte_once),
		test(a_paused_fetch_does_not_stall_the_others),
		test(a_cancelled_fetch_is_done_at_once),
		test(a_sink_may_cancel_its_own_fetch),
		test(an_error_of_the_sink_is_the_error_of_the_fetch),
		test(a_client_that_is_freed_ends_its_fetches),
		test(a_deadline_ends_a_fetch_wherever_it_is),
		test(a_deadline_holds_for_those_who_wait_for_a_connection_or_a_token),
		test(a_fetch_that_waits_for_a_token_can_be_cancelled),
		test(a_registry_that_asks_for_patience_is_quoted),
		test(a_fetch_goes_on_where_the_caller_stopped),
		test(an_encoded_answer_to_a_range_is_refused),
		test(the_descriptors_of_the_caller_wake_it),
		test(a_url_is_fetched_with_the_credentials_of_its_host),
		test(a_certificate_counts_for_its_name_and_by_its_authority),
		test(https_never_becomes_http),
	};

	return cmocka_run_group_tests_name("fetch", tests, fixture_setup, fixture_teardown);
}
