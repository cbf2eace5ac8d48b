/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a registry may send us to: origins, classes of addresses, token services. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/token.h"

static void every_spelling_of_an_address_has_its_class(void **state)
{
	static const struct {
		const char *text;
		enum address_class class;
	} addresses[] = {
		{ "127.0.0.1", ADDRESS_LOOPBACK },
		{ "127.255.1.2", ADDRESS_LOOPBACK },
		{ "::1", ADDRESS_LOOPBACK },
		{ "[::1]", ADDRESS_LOOPBACK },
		{ "::ffff:127.0.0.1", ADDRESS_LOOPBACK },
		{ "64:ff9b::7f00:1", ADDRESS_LOOPBACK },
		{ "2002:7f00:1::", ADDRESS_LOOPBACK },
		{ "::127.0.0.1", ADDRESS_LOOPBACK },
		{ "169.254.169.254", ADDRESS_LINK_LOCAL },
		{ "::ffff:a9fe:a9fe", ADDRESS_LINK_LOCAL },
		{ "fe80::1", ADDRESS_LINK_LOCAL },
		{ "fe80::1%eth0", ADDRESS_LINK_LOCAL },
		{ "10.1.2.3", ADDRESS_PRIVATE },
		{ "172.16.0.1", ADDRESS_PRIVATE },
		{ "172.31.255.255", ADDRESS_PRIVATE },
		{ "192.168.0.1", ADDRESS_PRIVATE },
		{ "100.64.0.1", ADDRESS_PRIVATE },
		{ "fd00::1", ADDRESS_PRIVATE },
		{ "fec0::1", ADDRESS_PRIVATE },
		{ "64:ff9b:1::1", ADDRESS_PRIVATE },
		{ "172.32.0.1", ADDRESS_PUBLIC },
		{ "100.128.0.1", ADDRESS_PUBLIC },
		{ "8.8.8.8", ADDRESS_PUBLIC },
		{ "2001:4860::8", ADDRESS_PUBLIC },
		{ "0.0.0.0", ADDRESS_NEVER },
		{ "0.1.2.3", ADDRESS_NEVER },
		{ "::", ADDRESS_NEVER },
		{ "224.0.0.1", ADDRESS_NEVER },
		{ "255.255.255.255", ADDRESS_NEVER },
		{ "240.0.0.1", ADDRESS_NEVER },
		{ "ff02::1", ADDRESS_NEVER },
		{ "not an address", ADDRESS_NEVER },
		{ "", ADDRESS_NEVER },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (address_classify_text(addresses[i].text) != addresses[i].class)
			fail_msg("%s is of class %d", addresses[i].text,
				 address_classify_text(addresses[i].text));
	}
}

static void the_way_leads_outwards_only(void **state)
{
	(void)state;
	assert_true(address_may_lead(ADDRESS_LOOPBACK, ADDRESS_LOOPBACK));
	assert_true(address_may_lead(ADDRESS_LOOPBACK, ADDRESS_PUBLIC));
	assert_true(address_may_lead(ADDRESS_PRIVATE, ADDRESS_PUBLIC));
	assert_true(address_may_lead(ADDRESS_PUBLIC, ADDRESS_PUBLIC));
	assert_false(address_may_lead(ADDRESS_PUBLIC, ADDRESS_PRIVATE));
	assert_false(address_may_lead(ADDRESS_PUBLIC, ADDRESS_LOOPBACK));
	assert_false(address_may_lead(ADDRESS_PRIVATE, ADDRESS_LOOPBACK));
	assert_false(address_may_lead(ADDRESS_LOOPBACK, ADDRESS_LINK_LOCAL));
	assert_false(address_may_lead(ADDRESS_PUBLIC, ADDRESS_LINK_LOCAL));
	assert_false(address_may_lead(ADDRESS_PUBLIC, ADDRESS_NEVER));
}

static void an_origin_is_scheme_host_and_port(void **state)
{
	struct origin a, b;
	char text[HOST_MAX + 8];

	(void)state;
	assert_int_equal(origin_parse("https://Registry.Example/v2/x?y#z", &a), 0);
	assert_true(a.https);
	assert_int_equal(a.port, 443);
	assert_string_equal(a.host, "registry.example");
	assert_int_equal(origin_parse("https://registry.example:443/other", &b), 0);
	assert_true(origin_equal(&a, &b));
	assert_string_equal(origin_format(&b, text), "registry.example");
	assert_int_equal(origin_parse("http://registry.example:443/", &b), 0);
	assert_false(origin_equal(&a, &b));
	assert_string_equal(origin_format(&b, text), "registry.example:443");
	assert_int_equal(origin_parse("https://registry.example.evil.example/", &b), 0);
	assert_false(origin_equal(&a, &b));
	assert_int_equal(origin_parse("http://[::1]:5000/", &b), 0);
	assert_string_equal(b.host, "[::1]");
}

static void addresses_in_disguise_are_seen_as_what_they_are(void **state)
{
	struct origin origin;

	(void)state;
	assert_int_equal(origin_parse("http://0x7f.1/", &origin), 0);
	assert_string_equal(origin.host, "127.0.0.1");
	assert_int_equal(origin_parse("http://2130706433/", &origin), 0);
	assert_string_equal(origin.host, "127.0.0.1");
}

static void urls_of_other_kinds_have_no_origin(void **state)
{
	static const char *const bad[] = {
		"",
		"ftp://registry.example/",
		"file:///etc/passwd",
		"https://bob:secret@registry.example/",
		"https://bob@registry.example/",
		"https://",
		"https://registry.example:99999/",
		"https://registry.example:x/",
		"https://registry example/",
		"https://registry.example\r\nX: y/",
	};
	struct origin origin;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!origin_parse(bad[i], &origin))
			fail_msg("taken: %s", bad[i]);
	}
}

static void a_location_is_seen_from_where_it_was_given(void **state)
{
	static const struct {
		const char *location, *url;
	} rows[] = {
		{ "/other", "https://r.example:5000/other" },
		{ "below?x=%2F", "https://r.example:5000/v2/a/below?x=%2F" },
		{ "//s.example/x", "https://s.example/x" },
		{ "http://s.example/x#part", "http://s.example/x" },
		{ "?q", "https://r.example:5000/v2/a/b?q" },
	};
	char *url;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(
			url_resolve("https://r.example:5000/v2/a/b", rows[i].location, &url), 0);
		assert_string_equal(url, rows[i].url);
		free(url);
	}
	assert_int_equal(url_resolve("https://r.example/", "", &url), -EINVAL);
	assert_int_equal(url_resolve("https://r.example/", "https://a:b@s.example/", &url),
			 -EINVAL);
	assert_int_equal(url_resolve("https://r.example/", "/a\r\nX: y", &url), -EINVAL);
}

static enum token_realm policy(const char *registry, const char *realm)
{
	struct origin a, b;

	assert_int_equal(origin_parse(registry, &a), 0);
	assert_int_equal(origin_parse(realm, &b), 0);
	return token_realm_policy(&a, &b);
}

static void a_token_service_of_the_same_site_gets_the_password(void **state)
{
	static const char *const rows[][2] = {
		{ "https://registry.example.com", "https://registry.example.com/token" },
		{ "https://registry.example.com", "https://registry.example.com:8443/token" },
		{ "https://registry.example.com", "https://auth.example.com/token" },
		{ "https://registry.example.com", "https://example.com/jwt/auth" },
		{ "https://example.com", "https://auth.example.com/token" },
		{ "https://registry.example.co.uk", "https://auth.example.co.uk/token" },
		{ "http://127.0.0.1:5000", "http://127.0.0.1:5001/token" },
		{ "http://registry.example.com", "http://registry.example.com/token" },
		{ "https://10.1.2.3", "https://10.1.2.3/token" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (policy(rows[i][0], rows[i][1]) != TOKEN_REALM_TRUSTED)
			fail_msg("not trusted: %s for %s", rows[i][1], rows[i][0]);
	}
}

static void a_stranger_is_asked_without_a_password(void **state)
{
	static const char *const rows[][2] = {
		{ "https://registry.example.com", "https://registry.example.org/token" },
		{ "https://registry.example.com", "https://evil-example.com/token" },
		{ "https://registry.example.com", "https://registry.example.com.evil.org/token" },
		{ "https://registry.com", "https://auth.com/token" },
		{ "https://registry.co.uk", "https://evil.co.uk/token" },
		{ "https://a.registry.example.com", "https://b.other.example.com/token" },
		{ "http://127.0.0.1:5000", "https://auth.example.com/token" },
		{ "https://10.1.2.3", "https://10.1.2.3.example.com/token" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (policy(rows[i][0], rows[i][1]) != TOKEN_REALM_ANONYMOUS)
			fail_msg("%d: %s for %s", policy(rows[i][0], rows[i][1]), rows[i][1],
				 rows[i][0]);
	}
}

static void a_service_without_tls_or_inside_is_not_asked_at_all(void **state)
{
	static const char *const rows[][2] = {
		{ "https://registry.example.com", "http://registry.example.com/token" },
		{ "https://registry.example.com", "http://auth.example.com/token" },
		{ "https://registry.example.com", "https://127.0.0.1/token" },
		{ "https://registry.example.com", "https://localhost/token" },
		{ "https://registry.example.com", "https://2130706433/token" },
		{ "https://registry.example.com", "https://169.254.169.254/token" },
		{ "https://registry.example.com", "https://[::1]/token" },
		{ "https://registry.example.com", "https://intranet/token" },
		{ "https://registry.example.com", "https://8.8.8.8/token" },
		{ "http://127.0.0.1:5000", "http://localhost:5000/token" },
		{ "http://127.0.0.1:5000", "http://127.0.0.2:5000/token" },
		{ "http://127.0.0.1:5000", "http://auth.example.com/token" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (policy(rows[i][0], rows[i][1]) != TOKEN_REALM_REFUSED)
			fail_msg("%d: %s for %s", policy(rows[i][0], rows[i][1]), rows[i][1],
				 rows[i][0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_spelling_of_an_address_has_its_class),
		cmocka_unit_test(the_way_leads_outwards_only),
		cmocka_unit_test(an_origin_is_scheme_host_and_port),
		cmocka_unit_test(addresses_in_disguise_are_seen_as_what_they_are),
		cmocka_unit_test(urls_of_other_kinds_have_no_origin),
		cmocka_unit_test(a_location_is_seen_from_where_it_was_given),
		cmocka_unit_test(a_token_service_of_the_same_site_gets_the_password),
		cmocka_unit_test(a_stranger_is_asked_without_a_password),
		cmocka_unit_test(a_service_without_tls_or_inside_is_not_asked_at_all),
	};

	return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}
