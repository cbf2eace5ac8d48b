/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets: what is an endpoint, and what must never become part of a path. */
#include "tests/unit/test.h"

#include <string.h>

#include "server/route.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX
#define ID "0123456789abcdef0123456789abcdef"

static char text[8192];
static struct route route;
static enum api_error error;

static int parse(const char *target)
{
	const char *why;

	snprintf(text, sizeof(text), "%s", target);
	return route_parse(text, &route, &error, &why);
}

static void is_endpoint(const char *target, enum endpoint endpoint, const char *repository)
{
	if (parse(target))
		fail_msg("%s is refused", target);
	assert_int_equal(route.endpoint, endpoint);
	assert_string_equal(route.repository, repository);
}

static void every_endpoint_is_found(void **state)
{
	(void)state;
	is_endpoint("/v2/", ENDPOINT_BASE, "");
	is_endpoint("/v2", ENDPOINT_BASE, "");
	is_endpoint("/v2/_catalog?n=5", ENDPOINT_CATALOG, "");
	is_endpoint("/v2/a/tags/list", ENDPOINT_TAGS, "a");
	is_endpoint("/v2/a/b/manifests/latest", ENDPOINT_MANIFEST, "a/b");
	assert_string_equal(route.tag, "latest");
	is_endpoint("/v2/a/manifests/" DIGEST, ENDPOINT_MANIFEST, "a");
	assert_true(route.has_digest);
	is_endpoint("/v2/a/blobs/" DIGEST, ENDPOINT_BLOB, "a");
	is_endpoint("/v2/a/blobs/uploads/", ENDPOINT_UPLOADS, "a");
	is_endpoint("/v2/a/blobs/uploads", ENDPOINT_UPLOADS, "a");
	is_endpoint("/v2/a/blobs/uploads/" ID, ENDPOINT_UPLOAD, "a");
	assert_string_equal(route.upload, ID);
	is_endpoint("/v2/a/referrers/" DIGEST, ENDPOINT_REFERRERS, "a");
}

static void the_last_segments_decide(void **state)
{
	(void)state;
	is_endpoint("/v2/blobs/blobs/" DIGEST, ENDPOINT_BLOB, "blobs");
	is_endpoint("/v2/a/blobs/uploads/b/manifests/x", ENDPOINT_MANIFEST, "a/blobs/uploads/b");
	is_endpoint("/v2/tags/list/tags/list", ENDPOINT_TAGS, "tags/list");
}

static void parameters_are_decoded(void **state)
{
	(void)state;
	is_endpoint("/v2/a/blobs/uploads/?mount=sha256%3A" HEX "&from=b%2Fc&x", ENDPOINT_UPLOADS,
		    "a");
	assert_string_equal(route_query(&route, "mount"), DIGEST);
	assert_string_equal(route_query(&route, "from"), "b/c");
	assert_string_equal(route_query(&route, "x"), "");
	assert_null(route_query(&route, "y"));
}

static void a_colon_may_be_escaped_in_a_path(void **state)
{
	(void)state;
	is_endpoint("/v2/a/blobs/sha256%3a" HEX, ENDPOINT_BLOB, "a");
}

static void what_is_no_endpoint_is_not_found(void **state)
{
	static const char *const targets[] = {
		"",
		"/",
		"*",
		"/v1/",
		"/v2/a",
		"/v22/",
		"/v2/_x",
		"/v2/a/b",
		"/v2/tags/list/x",
		"/v2/a/tags",
		"/v2/a/tags/list/",
		"/v2/a/manifests",
		"http://h/v2/",
		"/v2/a/blobs/x/y",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		if (parse(targets[i]) != -ENOENT)
			fail_msg("'%s' is taken for an endpoint", targets[i]);
	}
}

static void is_refused(const char *target, enum api_error wanted)
{
	if (parse(target) != -EINVAL || error != wanted)
		fail_msg("'%s': not refused with %s", target, api_error_code(wanted));
}

static void names_that_break_the_grammar_are_refused(void **state)
{
	static const char *const names[] = {
		"A",	 "a//b", "/a",	"a/",	 ".",	  "..",	  "a/../b", "../../etc",
		"a/./b", "-a",	 "a-",	"_a",	 "a..b",  "a b",  "a\\b",   "a+b",
		"a:b",	 "a~b",	 "a/B", "a%5cb", "a%20b", "a%00", "",
	};
	char target[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(target, sizeof(target), "/v2/%s/tags/list", names[i]);
		if (parse(target) == 0)
			fail_msg("'%s' is taken", target);
	}
}

static void escapes_that_hide_a_separator_are_refused(void **state)
{
	(void)state;
	is_refused("/v2/a%2fb/tags/list", API_NAME_INVALID);
	is_refused("/v2/a%2Fb/tags/list", API_NAME_INVALID);
	is_refused("/v2/%2e%2e/tags/list", API_NAME_INVALID);
	is_refused("/v2/a%252fb/tags/list", API_NAME_INVALID);
	is_refused("/v2/a/manifests/x%00y", API_NAME_INVALID);
	is_refused("/v2/a/manifests/x%0ay", API_NAME_INVALID);
	is_refused("/v2/a/manifests/x%", API_NAME_INVALID);
	is_refused("/v2/a/manifests/x%4", API_NAME_INVALID);
}

static void malformed_digests_are_refused(void **state)
{
	(void)state;
	is_refused("/v2/a/blobs/sha256:abc", API_DIGEST_INVALID);
	is_refused("/v2/a/blobs/sha256:" HEX "0", API_DIGEST_INVALID);
}

static void a_path_behind_a_digest_is_not_a_digest(void **state)
{
	(void)state;
	assert_int_not_equal(parse("/v2/a/blobs/sha256:../../../../etc/passwd"), 0);
	assert_int_not_equal(parse("/v2/a/blobs/" DIGEST "/.."), 0);
	is_refused("/v2/a/blobs/"
		   "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		   API_DIGEST_INVALID);
	is_refused("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", API_DIGEST_INVALID);
	is_refused("/v2/a/referrers/latest", API_DIGEST_INVALID);
}

static void upload_ids_are_32_hex_digits(void **state)
{
	(void)state;
	is_refused("/v2/a/blobs/uploads/0123", API_BLOB_UPLOAD_UNKNOWN);
	is_refused("/v2/a/blobs/uploads/" ID "0", API_BLOB_UPLOAD_UNKNOWN);
	is_refused("/v2/a/blobs/uploads/0123456789ABCDEF0123456789abcdef", API_BLOB_UPLOAD_UNKNOWN);
	is_refused("/v2/a/blobs/uploads/..", API_BLOB_UPLOAD_UNKNOWN);
}

static void tags_that_break_the_grammar_are_refused(void **state)
{
	char target[512];

	(void)state;
	is_refused("/v2/a/manifests/.new-1-2", API_MANIFEST_INVALID);
	is_refused("/v2/a/manifests/-x", API_MANIFEST_INVALID);
	is_refused("/v2/a/manifests/", API_MANIFEST_INVALID);
	snprintf(target, sizeof(target), "/v2/a/manifests/%0128d", 1);
	assert_int_equal(parse(target), 0);
	snprintf(target, sizeof(target), "/v2/a/manifests/%0129d", 1);
	is_refused(target, API_MANIFEST_INVALID);
}

static void names_are_at_most_255_long(void **state)
{
	char target[600];

	(void)state;
	snprintf(target, sizeof(target), "/v2/%0255d/tags/list", 1);
	assert_int_equal(parse(target), 0);
	snprintf(target, sizeof(target), "/v2/%0256d/tags/list", 1);
	is_refused(target, API_NAME_INVALID);
}

static void too_many_parameters_are_refused(void **state)
{
	char target[512] = "/v2/?";

	(void)state;
	for (int i = 0; i < ROUTE_QUERY_MAX; i++)
		memcpy(target + 5 + 4 * i, "a=b&", 5);
	assert_int_equal(parse(target), 0);
	memcpy(target + 5 + 4 * ROUTE_QUERY_MAX, "a=b&", 5);
	assert_int_equal(parse(target), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_endpoint_is_found),
		cmocka_unit_test(the_last_segments_decide),
		cmocka_unit_test(parameters_are_decoded),
		cmocka_unit_test(a_colon_may_be_escaped_in_a_path),
		cmocka_unit_test(what_is_no_endpoint_is_not_found),
		cmocka_unit_test(names_that_break_the_grammar_are_refused),
		cmocka_unit_test(escapes_that_hide_a_separator_are_refused),
		cmocka_unit_test(malformed_digests_are_refused),
		cmocka_unit_test(a_path_behind_a_digest_is_not_a_digest),
		cmocka_unit_test(upload_ids_are_32_hex_digits),
		cmocka_unit_test(tags_that_break_the_grammar_are_refused),
		cmocka_unit_test(names_are_at_most_255_long),
		cmocka_unit_test(too_many_parameters_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
