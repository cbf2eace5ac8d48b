/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies: what is sent wrong and how it is noticed, resuming, encodings, manifests, uploads. */
#include "tests/unit/fixture.h"

static void a_body_of_the_wrong_length_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("short/app"), -EBADMSG);
	assert_true(says("announces 100000 bytes, 200000 were expected"));
	assert_int_equal(get("long/app"), -EBADMSG);
	assert_int_equal(fx.got.len, 0);
	assert_int_equal(get("long-chunked/app"), -EBADMSG);
	assert_true(fx.got.len <= BLOB_SIZE);
	assert_true(says("more than the 200000 bytes"));
	assert_int_equal(count(0, NULL, NULL), 3);
}

static void a_body_with_the_wrong_bytes_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("wrong/app"), -EBADMSG);
	assert_true(says("another digest"));
}

static void a_broken_transfer_goes_on_behind_what_came(void **state)
{
	(void)state;
	assert_int_equal(get("reset/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, NULL), 2);
	assert_int_equal(count_header(0, "range", "bytes=100000-"), 1);
	assert_int_equal(count_header(0, "accept-encoding", "identity"), 1);
	assert_int_equal(get("close-early/app"), 0);
	assert_true(got_blob());
}

static void a_registry_without_ranges_sends_all_again_and_the_sink_gets_it_once(void **state)
{
	(void)state;
	assert_int_equal(get("reset-no-range/app"), 0);
	assert_true(got_blob());
}

static void an_encoded_transfer_that_breaks_goes_on_without_encoding(void **state)
{
	(void)state;
	assert_int_equal(get("reset-gzip/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count_header(0, "accept-encoding", "identity"), 1);
}

static void another_range_than_was_asked_for_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("reset-wrong-range/app"), -EBADMSG);
	assert_true(says("another part"));
}

static void a_registry_that_always_breaks_is_given_up(void **state)
{
	(void)state;
	assert_int_equal(get("reset-always/app"), -EIO);
	assert_int_equal(count(0, NULL, NULL), 1 + RETRIES);
}

static void silence_and_drips_end_in_a_timeout(void **state)
{
	const struct registry_options options = {
		.no_auth_file = true,
		.stall_timeout_ms = STALL_MS,
		.retries = UINT32_MAX,
	};
	int64_t began_ms = now_ms();

	registry_free(fx.registry);
	assert_int_equal(registry_new(&options, &fx.registry, NULL), 0);
	(void)state;
	assert_int_equal(get("silence/app"), -ETIMEDOUT);
	assert_int_equal(get("drip/app"), -ETIMEDOUT);
	assert_int_equal(count(0, NULL, NULL), 2);
	assert_true(now_ms() - began_ms < 20 * 1000);
}

static void encodings_are_decoded(void **state)
{
	(void)state;
	assert_int_equal(get("gzip/app"), 0);
	assert_true(got_blob());
	assert_int_equal(get("gzip-unasked/app"), 0);
	assert_true(got_blob());
	if (!access("/usr/bin/zstd", X_OK)) {
		assert_int_equal(get("zstd/app"), 0);
		assert_true(got_blob());
	}
}

static void a_blob_that_is_only_labelled_as_encoded_comes_as_it_is(void **state)
{
	/* gzip of nothing */
	static const char gzip[20] = { 0x1f, (char)0x8b, 8, [8] = 2, [9] = 3, [10] = 3 };
	struct digest digest;
	int fd = file_with(gzip, sizeof(gzip));

	(void)state;
	assert_int_equal(digest_compute(DIGEST_SHA256, gzip, sizeof(gzip), &digest), 0);
	assert_int_equal(registry_put_blob(fx.registry, fx.host, "ok/app", &digest, fd,
					   sizeof(gzip), NULL, NULL, &fx.problem),
			 0);
	close(fd);
	assert_int_equal(registry_get_blob(fx.registry, fx.host, "label/app", &digest, sizeof(gzip),
					   sink_keep, &fx.got, &fx.problem),
			 0);
	assert_int_equal(fx.got.len, sizeof(gzip));
	badserver_mark(&fx.server);
	assert_int_equal(get("label/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, NULL), 2);
}

static void a_bomb_stops_at_the_promised_size(void **state)
{
	(void)state;
	assert_int_equal(get("bomb/app"), -EBADMSG);
	assert_true(fx.got.len <= BLOB_SIZE);
}

static void headers_without_end_are_refused(void **state)
{
	(void)state;
	assert_int_equal(get("headers/app"), -EBADMSG);
	assert_true(says("headers"));
}

static void an_empty_blob_can_be_put_and_got(void **state)
{
	struct digest digest;
	int fd = file_with("", 0);

	(void)state;
	assert_int_equal(digest_compute(DIGEST_SHA256, "", 0, &digest), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(registry_put_blob(fx.registry, fx.host, "ok/app", &digest, fd, 0,
						   NULL, NULL, &fx.problem),
				 0);
	assert_int_equal(registry_get_blob(fx.registry, fx.host, "ok/app", &digest, 0, sink_keep,
					   &fx.got, &fx.problem),
			 0);
	assert_int_equal(fx.got.len, 0);
	close(fd);
}

static void a_manifest_comes_back_as_it_was_put(void **state)
{
	static const char text[] = "{ \"schemaVersion\" :2}\n";
	char digest[DIGEST_TEXT_SIZE];
	struct registry_manifest manifest;

	(void)state;
	assert_int_equal(registry_put_manifest(fx.registry, fx.host, "ok/app", "v1", "a/b", text,
					       strlen(text), &fx.problem),
			 0);
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "ok/app", "v1", &manifest,
					       &fx.problem),
			 0);
	assert_string_equal(manifest.bytes, text);
	assert_string_equal(manifest.media_type, "a/b");
	digest_format(&manifest.digest, digest);
	registry_manifest_free(&manifest);
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "ok/app", digest, &manifest,
					       &fx.problem),
			 0);
	assert_int_equal(manifest.size_bytes, strlen(text));
	registry_manifest_free(&manifest);
}

static void a_manifest_that_is_not_what_its_digest_says_is_refused(void **state)
{
	static const char text[] = "{\"schemaVersion\":2}";
	struct registry_manifest manifest;
	char digest_text[DIGEST_TEXT_SIZE];
	struct digest digest;

	(void)state;
	assert_int_equal(digest_compute(DIGEST_SHA256, text, strlen(text), &digest), 0);
	digest_format(&digest, digest_text);
	assert_int_equal(registry_put_manifest(fx.registry, fx.host, "wrong/app", digest_text,
					       "a/b", text, strlen(text), &fx.problem),
			 0);
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "wrong/app", digest_text,
					       &manifest, &fx.problem),
			 -EBADMSG);
	assert_true(says("another digest"));
}

static void a_manifest_without_end_is_refused(void **state)
{
	struct registry_manifest manifest;

	(void)state;
	assert_int_equal(registry_put_manifest(fx.registry, fx.host, "long/app", "v1", "a/b", "{}",
					       2, &fx.problem),
			 0);
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "long/app", "v1", &manifest,
					       &fx.problem),
			 -EBADMSG);
	assert_true(says("larger than 4194304 bytes"));
}

struct tally {
	int64_t sum;
};

static void on_progress(void *context, int64_t bytes)
{
	struct tally *tally = context;

	tally->sum += bytes;
}

/* A new blob each time, so that the server has to take it. */
static int put(const char *repository, struct tally *tally)
{
	static unsigned int n;
	char bytes[64] = "";
	struct digest digest;
	int fd, r;

	snprintf(bytes, sizeof(bytes), "blob %u of %d", n++, (int)getpid());
	assert_int_equal(digest_compute(DIGEST_SHA256, bytes, sizeof(bytes), &digest), 0);
	fd = file_with(bytes, sizeof(bytes));
	fx.problem.text[0] = '\0';
	*tally = (struct tally){ 0 };
	r = registry_put_blob(fx.registry, fx.host, repository, &digest, fd, sizeof(bytes),
			      on_progress, tally, &fx.problem);
	close(fd);
	if (!r) {
		assert_int_equal(tally->sum, sizeof(bytes));
		assert_int_equal(registry_has_blob(fx.registry, fx.host, "ok/app", &digest, NULL),
				 1);
	}
	return r;
}

static void the_first_upload_takes_two_requests_and_the_next_one(void **state)
{
	struct tally tally;

	(void)state;
	assert_int_equal(put("ok/app", &tally), 0);
	assert_int_equal(count(0, "POST", NULL), 1);
	assert_int_equal(count(0, "PUT", NULL), 1);
	assert_int_equal(put("ok/app", &tally), 0);
	assert_int_equal(put("ok/app", &tally), 0);
	assert_int_equal(count(0, "POST", NULL), 3);
	assert_int_equal(count(0, "PUT", NULL), 1);
	assert_int_equal(count_header(0, "expect", NULL), 0);
}

static void a_registry_without_single_posts_is_asked_for_one_only_once(void **state)
{
	struct tally tally;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(put("no-single-post/app", &tally), 0);
	assert_int_equal(count(0, "POST", "digest="), 1);
	assert_int_equal(count(0, "PUT", NULL), 3);
}

static void an_upload_waits_for_the_log_in_before_it_sends(void **state)
{
	struct tally tally;

	(void)state;
	fixture_login("secret");
	assert_int_equal(put("basic/app", &tally), 0);
	assert_int_equal(put("bearer/app", &tally), 0);
	fixture_login("wrong");
	assert_int_equal(put("basic/app", &tally), -EACCES);
}

static void no_password_follows_an_upload_to_another_origin(void **state)
{
	struct tally tally;

	(void)state;
	fixture_login("secret");
	assert_int_equal(put("basic-upload-elsewhere/app", &tally), 0);
	assert_int_equal(count(fx.server.other_port, "PUT", NULL), 1);
	assert_int_equal(count_header(fx.server.other_port, "authorization", NULL), 0);
	assert_int_equal(put("upload-absolute/app", &tally), 0);
}

static void an_upload_that_goes_wrong_in_between_is_done_again(void **state)
{
	struct tally tally;

	(void)state;
	assert_int_equal(put("session-lost/app", &tally), 0);
	assert_int_equal(put("upload-flapping/app", &tally), 0);
}

static void uploads_that_cannot_be_are_explained(void **state)
{
	struct tally tally;
	int fd = file_with("short", 5);

	(void)state;
	assert_int_equal(put("full/app", &tally), -ENOSPC);
	assert_true(says("no room"));
	assert_int_equal(put("upload-nowhere/app", &tally), -EBADMSG);
	assert_true(says("no Location header"));
	assert_int_equal(registry_put_blob(fx.registry, fx.host, "ok/app", &fx.digest, fd, 10, NULL,
					   NULL, &fx.problem),
			 -ESTALE);
	assert_true(says("became shorter"));
	close(fd);
}

static void a_blob_is_mounted_where_it_is_and_else_no_session_stays(void **state)
{
	struct digest other = { .algorithm = DIGEST_SHA256 };

	(void)state;
	assert_int_equal(registry_mount_blob(fx.registry, fx.host, "ok/new", &fx.digest, "ok/app",
					     &fx.problem),
			 1);
	assert_int_equal(registry_mount_blob(fx.registry, fx.host, "ok/new", &other, "ok/app",
					     &fx.problem),
			 0);
	assert_int_equal(count(0, "DELETE", "/uploads/"), 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_client, fixture_drop_client)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_body_of_the_wrong_length_is_refused),
		test(a_body_with_the_wrong_bytes_is_refused),
		test(a_broken_transfer_goes_on_behind_what_came),
		test(a_registry_without_ranges_sends_all_again_and_the_sink_gets_it_once),
		test(an_encoded_transfer_that_breaks_goes_on_without_encoding),
		test(another_range_than_was_asked_for_is_refused),
		test(a_registry_that_always_breaks_is_given_up),
		test(silence_and_drips_end_in_a_timeout),
		test(encodings_are_decoded),
		test(a_blob_that_is_only_labelled_as_encoded_comes_as_it_is),
		test(a_bomb_stops_at_the_promised_size),
		test(headers_without_end_are_refused),
		test(an_empty_blob_can_be_put_and_got),
		test(a_manifest_comes_back_as_it_was_put),
		test(a_manifest_that_is_not_what_its_digest_says_is_refused),
		test(a_manifest_without_end_is_refused),
		test(the_first_upload_takes_two_requests_and_the_next_one),
		test(a_registry_without_single_posts_is_asked_for_one_only_once),
		test(an_upload_waits_for_the_log_in_before_it_sends),
		test(no_password_follows_an_upload_to_another_origin),
		test(an_upload_that_goes_wrong_in_between_is_done_again),
		test(uploads_that_cannot_be_are_explained),
		test(a_blob_is_mounted_where_it_is_and_else_no_session_stays),
	};

	return cmocka_run_group_tests_name("blob", tests, fixture_setup, fixture_teardown);
}
