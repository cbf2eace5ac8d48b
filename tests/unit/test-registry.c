/* SPDX-License-Identifier: Apache-2.0 */
/* The registry client's blocking calls: log-in, redirects, errors and what they say. */
#include "tests/unit/fixture.h"

#include "lib/token.h"

static void a_blob_comes_whole_and_in_one_request(void **state)
{
	(void)state;
	assert_int_equal(get("ok/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, NULL), 1);
	assert_int_equal(get("ok/app"), 0);
	assert_int_equal(badserver_connections(&fx.server), 1);
}

static void nothing_of_the_environment_gives_a_password_or_a_proxy(void **state)
{
	(void)state;
	assert_int_equal(get("basic/app"), -EACCES);
	assert_int_equal(count_header(0, "authorization", NULL), 0);
}

static void a_blob_that_is_there_is_seen_and_another_is_not(void **state)
{
	struct digest other = { .algorithm = DIGEST_SHA256 };

	(void)state;
	assert_int_equal(registry_has_blob(fx.registry, fx.host, "ok/app", &fx.digest, NULL), 1);
	assert_int_equal(registry_has_blob(fx.registry, fx.host, "ok/app", &other, NULL), 0);
	assert_int_equal(registry_has_blob(fx.registry, fx.host, "forbidden/app", &other,
					   &fx.problem),
			 -EACCES);
	assert_int_equal(registry_ping(fx.registry, fx.host, NULL), 0);
}

static void a_password_is_sent_when_it_is_asked_for_and_then_at_once(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("basic/app"), 0);
	assert_int_equal(count(0, NULL, NULL), 2);
	assert_int_equal(get("basic/app"), 0);
	assert_int_equal(count(0, NULL, NULL), 3);
	assert_int_equal(count_header(0, "authorization", "Basic "), 2);
}

static void without_a_password_the_message_says_how_to_log_in(void **state)
{
	(void)state;
	assert_int_equal(get("basic/app"), -EACCES);
	assert_true(says("unauthorized for repository basic/app"));
	assert_true(says("podman login 127.0.0.1:"));
}

static void a_wrong_password_is_tried_once_and_named(void **state)
{
	(void)state;
	fixture_login("wrong");
	assert_int_equal(get("basic/app"), -EACCES);
	assert_true(says("'bob'"));
	assert_false(says("wrong"));
	assert_int_equal(count(0, NULL, NULL), 2);
}

static void a_token_is_fetched_once_for_each_scope(void **state)
{
	(void)state;
	assert_int_equal(get("bearer/app"), 0);
	assert_int_equal(count(0, NULL, NULL), 3);
	assert_int_equal(get("bearer/app"), 0);
	assert_int_equal(count(0, NULL, NULL), 4);
	/* Of another repository it is known what the registry wants: no second refusal. */
	assert_int_equal(get("bearer/other"), 0);
	assert_int_equal(count(0, NULL, NULL), 6);
	assert_int_equal(count(0, NULL, "/token/"), 2);
	assert_int_equal(count(0, NULL, "service=bad%20server&scope=repository%3Abearer%2Fother"),
			 1);
}

static void the_token_service_gets_the_password_and_the_registry_the_token(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("bearer-auth/app"), 0);
	assert_int_equal(count_header(0, "authorization", "Basic "), 1);
	assert_int_equal(count_header(0, "authorization", "Bearer "), 1);
	fixture_login("wrong");
	assert_int_equal(get("bearer-auth/app"), -EACCES);
	assert_true(says("'bob'"));
}

static void a_token_that_expired_is_renewed_once(void **state)
{
	(void)state;
	assert_int_equal(get("bearer-once/app"), 0);
	assert_int_equal(get("bearer-once/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, "/token/"), 2);
}

static void a_token_that_expired_may_be_refused_with_403_too(void **state)
{
	(void)state;
	assert_int_equal(get("bearer-once-403/app"), 0);
	assert_int_equal(get("bearer-once-403/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, "/token/"), 2);
}

static void tokens_of_more_repositories_than_are_kept_are_fetched_again(void **state)
{
	char repository[32];

	(void)state;
	for (unsigned int i = 0; i <= TOKEN_SCOPES_MAX; i++) {
		snprintf(repository, sizeof(repository), "bearer/%u", i);
		assert_int_equal(registry_has_blob(fx.registry, fx.host, repository, &fx.digest,
						   &fx.problem),
				 1);
	}
	badserver_mark(&fx.server);
	assert_int_equal(registry_has_blob(fx.registry, fx.host, repository, &fx.digest, NULL), 1);
	assert_int_equal(count(0, NULL, "/token/"), 0);
	assert_int_equal(registry_has_blob(fx.registry, fx.host, "bearer/0", &fx.digest, NULL), 1);
	assert_int_equal(count(0, NULL, "/token/"), 1);
}

static void a_registry_that_refuses_for_ever_is_left_alone(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("unauthorized/app"), -EACCES);
	assert_int_equal(count(0, NULL, "/v2/"), 2);
	assert_int_equal(count(0, NULL, "/token/"), 1);
	assert_int_equal(get("forbidden/app"), -EACCES);
	assert_true(says("DENIED: requested access is denied"));
	assert_int_equal(count(0, NULL, "/v2/forbidden"), 1);
}

static void a_token_service_elsewhere_gets_nothing(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("realm-elsewhere/app"), -EACCES);
	assert_true(says("may not send us to"));
	assert_int_equal(count(fx.server.other_port, NULL, NULL), 0);
	assert_int_equal(get("realm-bad/app"), -EBADMSG);
}

static void a_token_service_on_another_port_of_the_host_is_trusted(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("realm-port/app"), 0);
	assert_int_equal(count(fx.server.other_port, NULL, "/token/"), 1);
}

static void an_answer_without_a_token_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("bearer-broken/app"), -EBADMSG);
	assert_true(says("holds no token"));
}

static void a_token_cannot_bring_headers_of_its_own(void **state)
{
	(void)state;
	assert_int_equal(get("bearer-inject/app"), -EBADMSG);
	assert_int_equal(count(0, NULL, "/token/bearer-inject"), 1);
	assert_int_equal(count_header(0, "x-injected", NULL), 0);
}

static void a_malformed_challenge_is_refused(void **state)
{
	(void)state;
	assert_int_equal(get("challenge-bad/app"), -EBADMSG);
	assert_true(says("WWW-Authenticate"));
}

static void a_token_service_that_flaps_is_asked_again(void **state)
{
	(void)state;
	assert_int_equal(get("bearer-flapping/app"), 0);
	assert_int_equal(count(0, NULL, "/token/"), 2);
}

static void redirects_are_followed_at_most_three_times(void **state)
{
	(void)state;
	assert_int_equal(get("redirect/app"), 0);
	assert_true(got_blob());
	assert_int_equal(get("redirect-3/app"), 0);
	assert_true(got_blob());
	badserver_mark(&fx.server);
	assert_int_equal(get("redirect-loop/app"), -EBADMSG);
	assert_int_equal(count(0, NULL, NULL), 4);
	assert_true(says("more than 3 times"));
}

static void no_password_follows_a_redirect_to_another_origin(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("basic-redirect/app"), 0);
	assert_true(got_blob());
	assert_int_equal(count(fx.server.other_port, NULL, NULL), 1);
	assert_int_equal(count_header(fx.server.port, "authorization", NULL), 1);
	assert_int_equal(count_header(fx.server.other_port, "authorization", NULL), 0);
}

static void a_redirect_that_must_not_be_followed_is_not(void **state)
{
	(void)state;
	assert_int_equal(get("redirect-inner/app"), -EACCES);
	assert_true(says("169.254.169.254"));
	assert_true(says("may not send us to"));
	assert_int_equal(get("redirect-file/app"), -EBADMSG);
	assert_int_equal(get("redirect-user/app"), -EBADMSG);
	assert_int_equal(get("redirect-none/app"), -EBADMSG);
	assert_int_equal(count(0, NULL, "/moved/"), 0);
	assert_int_equal(count(0, NULL, "/v2/"), 4);
}

static void a_refusal_behind_a_redirect_is_no_reason_to_log_in(void **state)
{
	(void)state;
	fixture_login("secret");
	assert_int_equal(get("redirect-refused/app"), -EACCES);
	assert_true(says("redirected"));
	assert_int_equal(count_header(0, "authorization", NULL), 0);
}

static void what_is_missing_is_named(void **state)
{
	struct registry_manifest manifest;

	(void)state;
	assert_int_equal(get("missing/app"), -ENOENT);
	assert_true(says("in repository missing/app"));
	assert_true(says("NAME_UNKNOWN"));
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "ok/app", "nothing", &manifest,
					       &fx.problem),
			 -ENOENT);
	assert_true(says("no manifest nothing in repository ok/app"));
}

static void what_a_registry_says_is_escaped_and_cut(void **state)
{
	(void)state;
	assert_int_equal(get("rude/app"), -EIO);
	assert_true(says("\\x1b[31mred\\x0a"));
	assert_true(strlen(fx.problem.text) < 500);
	for (const char *p = fx.problem.text; *p; p++)
		assert_in_range((unsigned char)*p, 0x20, 0x7e);
}

static void an_unreachable_registry_is_explained(void **state)
{
	(void)state;
	assert_int_equal(registry_ping(fx.registry, "127.0.0.1:1", &fx.problem), -EHOSTUNREACH);
	assert_string_equal(fx.problem.text, "docker://127.0.0.1:1: connection refused; is the "
					     "registry running, and is the port right?");
}

static void names_that_are_none_make_no_request(void **state)
{
	struct registry_manifest manifest;

	(void)state;
	assert_int_equal(registry_ping(fx.registry, "127.0.0.1:5000/x", &fx.problem), -EINVAL);
	assert_int_equal(get("../app"), -EINVAL);
	assert_int_equal(get("app?x=y"), -EINVAL);
	assert_int_equal(registry_get_manifest(fx.registry, fx.host, "ok/app", "../blobs",
					       &manifest, &fx.problem),
			 -EINVAL);
	assert_int_equal(count(0, NULL, NULL), 0);
}

static void a_busy_registry_is_tried_again_as_late_as_it_says(void **state)
{
	int64_t began_ms = now_ms();

	(void)state;
	assert_int_equal(get("busy/app"), 0);
	assert_true(now_ms() - began_ms >= 1000);
	assert_true(got_blob());
	assert_int_equal(count(0, NULL, NULL), 2);
}

static void nobody_waits_an_hour_because_a_registry_says_so(void **state)
{
	(void)state;
	assert_int_equal(get("busy-long/app"), -EIO);
	assert_true(says("try again in 3600 s"));
	assert_int_equal(count(0, NULL, NULL), 1);
}

static void a_flapping_registry_is_tried_again_and_a_broken_one_given_up(void **state)
{
	(void)state;
	assert_int_equal(get("flapping/app"), 0);
	assert_true(got_blob());
	badserver_mark(&fx.server);
	assert_int_equal(get("broken/app"), -EIO);
	assert_int_equal(count(0, NULL, NULL), 1 + RETRIES);
	assert_true(says("status 500"));
}

static void an_auth_file_that_cannot_be_read_is_named(void **state)
{
	const struct registry_options options = { .auth_file = "/nonexistent/auth.json" };
	const struct registry_options ca = { .no_auth_file = true, .ca_file = "/nonexistent/ca" };
	struct registry *registry;

	(void)state;
	assert_int_equal(registry_new(&options, &registry, &fx.problem), -EINVAL);
	assert_true(says("/nonexistent/auth.json"));
	assert_int_equal(registry_new(&ca, &registry, &fx.problem), -EINVAL);
	assert_true(says("/nonexistent/ca"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_client, fixture_drop_client)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_blob_comes_whole_and_in_one_request),
		test(nothing_of_the_environment_gives_a_password_or_a_proxy),
		test(a_blob_that_is_there_is_seen_and_another_is_not),
		test(a_password_is_sent_when_it_is_asked_for_and_then_at_once),
		test(without_a_password_the_message_says_how_to_log_in),
		test(a_wrong_password_is_tried_once_and_named),
		test(a_token_is_fetched_once_for_each_scope),
		test(the_token_service_gets_the_password_and_the_registry_the_token),
		test(a_token_that_expired_is_renewed_once),
		test(a_token_that_expired_may_be_refused_with_403_too),
		test(tokens_of_more_repositories_than_are_kept_are_fetched_again),
		test(a_registry_that_refuses_for_ever_is_left_alone),
		test(a_token_service_elsewhere_gets_nothing),
		test(a_token_service_on_another_port_of_the_host_is_trusted),
		test(an_answer_without_a_token_is_refused),
		test(a_token_cannot_bring_headers_of_its_own),
		test(a_malformed_challenge_is_refused),
		test(a_token_service_that_flaps_is_asked_again),
		test(redirects_are_followed_at_most_three_times),
		test(no_password_follows_a_redirect_to_another_origin),
		test(a_redirect_that_must_not_be_followed_is_not),
		test(a_refusal_behind_a_redirect_is_no_reason_to_log_in),
		test(what_is_missing_is_named),
		test(what_a_registry_says_is_escaped_and_cut),
		test(an_unreachable_registry_is_explained),
		test(names_that_are_none_make_no_request),
		test(a_busy_registry_is_tried_again_as_late_as_it_says),
		test(nobody_waits_an_hour_because_a_registry_says_so),
		test(a_flapping_registry_is_tried_again_and_a_broken_one_given_up),
		test(an_auth_file_that_cannot_be_read_is_named),
	};

	return cmocka_run_group_tests_name("registry", tests, fixture_setup, fixture_teardown);
}
