/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of WWW-Authenticate: what registries send, and what nobody should. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/challenge.h"

static struct challenge challenges[CHALLENGES_MAX];

static int parse(const char *text)
{
	memset(challenges, 0xff, sizeof(challenges));
	return challenge_parse(text, strlen(text), challenges);
}

static void a_bearer_challenge_gives_its_parameters(void **state)
{
	(void)state;
	assert_int_equal(parse("Bearer realm=\"https://auth.example/token\",service=\"a b\","
			       "scope=\"repository:a/b:pull,push\",error=\"invalid_token\""),
			 1);
	assert_int_equal(challenges[0].scheme, CHALLENGE_BEARER);
	assert_string_equal(challenges[0].realm, "https://auth.example/token");
	assert_string_equal(challenges[0].service, "a b");
	assert_string_equal(challenges[0].scope, "repository:a/b:pull,push");
	assert_string_equal(challenges[0].error, "invalid_token");
}

static void schemes_and_names_are_of_any_case_and_space_is_free(void **state)
{
	(void)state;
	assert_int_equal(parse("  bEARER  Realm = \"x\" ,\t SERVICE=y  "), 1);
	assert_int_equal(challenges[0].scheme, CHALLENGE_BEARER);
	assert_string_equal(challenges[0].realm, "x");
	assert_string_equal(challenges[0].service, "y");
	assert_string_equal(challenges[0].scope, "");
}

static void several_challenges_in_one_header_come_apart(void **state)
{
	(void)state;
	assert_int_equal(parse("Negotiate, NTLM abc==, Basic realm=\"a, b\", charset=\"UTF-8\", "
			       "Bearer realm=\"r\", scope=\"s\""),
			 4);
	assert_int_equal(challenges[0].scheme, CHALLENGE_OTHER);
	assert_int_equal(challenges[1].scheme, CHALLENGE_OTHER);
	assert_int_equal(challenges[2].scheme, CHALLENGE_BASIC);
	assert_string_equal(challenges[2].realm, "a, b");
	assert_int_equal(challenges[3].scheme, CHALLENGE_BEARER);
	assert_string_equal(challenges[3].scope, "s");
}

static void more_challenges_than_fit_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(parse("a, b, c, d, e, f, Bearer realm=x"), CHALLENGES_MAX);
}

static void escapes_in_quotes_are_resolved(void **state)
{
	(void)state;
	assert_int_equal(parse("Basic realm=\"a\\\"b\\\\c\""), 1);
	assert_string_equal(challenges[0].realm, "a\"b\\c");
}

static void a_url_without_quotes_is_taken(void **state)
{
	(void)state;
	assert_int_equal(parse("Bearer realm=https://a.example/t?x=1,service=s"), 1);
	assert_string_equal(challenges[0].realm, "https://a.example/t?x=1");
	assert_string_equal(challenges[0].service, "s");
}

static void a_header_without_a_challenge_has_none(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_int_equal(parse(" , ,, "), 0);
}

static void malformed_headers_are_refused(void **state)
{
	static const char *const bad[] = {
		"Bearer realm=\"never ends",
		"Bearer realm=\"never ends\\",
		"Bearer realm=\"a\nb\"",
		"Bearer realm=\"a\" service=\"no comma\"",
		"Bearer realm=\"a\",realm=\"b\"",
		"\"Bearer\"",
		"=",
		"Bearer=x",
		"Bearer realm=\"\x01\"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse(bad[i]) != -EBADMSG)
			fail_msg("taken: %s", bad[i]);
	}
}

static void values_that_are_too_long_are_refused(void **state)
{
	char text[4096];
	size_t size = sizeof(challenges[0].realm);

	(void)state;
	snprintf(text, sizeof(text), "Bearer realm=\"%0*d\"", (int)size - 1, 1);
	assert_int_equal(parse(text), 1);
	snprintf(text, sizeof(text), "Bearer realm=\"%0*d\"", (int)size, 1);
	assert_int_equal(parse(text), -EBADMSG);
	snprintf(text, sizeof(text), "Bearer realm=%0*d", (int)size, 1);
	assert_int_equal(parse(text), -EBADMSG);
}

static void a_header_that_is_too_long_is_refused(void **state)
{
	cleanup_free char *text = malloc(CHALLENGE_HEADER_MAX + 2);

	(void)state;
	assert_non_null(text);
	memset(text, ',', CHALLENGE_HEADER_MAX + 1);
	text[CHALLENGE_HEADER_MAX + 1] = '\0';
	assert_int_equal(parse(text), -EBADMSG);
	text[CHALLENGE_HEADER_MAX] = '\0';
	assert_int_equal(parse(text), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bearer_challenge_gives_its_parameters),
		cmocka_unit_test(schemes_and_names_are_of_any_case_and_space_is_free),
		cmocka_unit_test(several_challenges_in_one_header_come_apart),
		cmocka_unit_test(more_challenges_than_fit_are_ignored),
		cmocka_unit_test(escapes_in_quotes_are_resolved),
		cmocka_unit_test(a_url_without_quotes_is_taken),
		cmocka_unit_test(a_header_without_a_challenge_has_none),
		cmocka_unit_test(malformed_headers_are_refused),
		cmocka_unit_test(values_that_are_too_long_are_refused),
		cmocka_unit_test(a_header_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("challenge", tests, NULL, NULL);
}
