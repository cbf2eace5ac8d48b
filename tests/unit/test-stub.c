/* SPDX-License-Identifier: Apache-2.0 */
/* The stub parser and writer, over the shared corpus in tests/data/stubs. */
#include "tests/unit/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "lib/stub.h"
#include "lib/util.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool parses(const char *text)
{
	struct stub stub;

	return stub_parse(text, strlen(text), &stub);
}

static void the_example_of_the_draft_is_a_stub(void **state)
{
	static const char text[] =
		"intinode {\"digest\":\"sha256:" HEX
		"\",\"size\":12345678,\"urls\":[\"oci://registry.example/nginx\"]}";
	struct stub stub;

	(void)state;
	assert_true(stub_parse(text, strlen(text), &stub));
	assert_int_equal(stub.size_bytes, 12345678);
	assert_int_equal(stub.n_urls, 1);
	assert_string_equal(stub.urls, "oci://registry.example/nginx");
	assert_int_equal(stub.sha256[0], 0x01);
	assert_int_equal(stub.sha256[31], 0xef);
}

static void a_size_of_exactly_two_to_the_63_is_not_a_stub(void **state)
{
	(void)state;
	assert_true(parses("intinode {\"digest\":\"sha256:" HEX
			   "\",\"size\":9223372036854775807,\"urls\":[]}"));
	assert_false(parses("intinode {\"digest\":\"sha256:" HEX
			    "\",\"size\":9223372036854775808,\"urls\":[]}"));
}

/* Files named good-* are stubs, files named bad-* are ordinary files. */
static void every_file_of_the_corpus_gets_its_verdict(void **state)
{
	cleanup_closedir DIR *dir = opendir(TEST_DATA "/stubs");
	struct dirent *entry;
	int n_good = 0, n_bad = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		cleanup_free char *bytes = NULL;
		struct stub stub;
		bool verdict;
		size_t len;

		if (entry->d_name[0] == '.')
			continue;
		assert_int_equal(read_file_at(dirfd(dir), entry->d_name, 4096, &bytes, &len), 0);
		verdict = stub_parse(bytes, len, &stub);
		if (verdict != !strncmp(entry->d_name, "good-", 5))
			fail_msg("%s: stub_parse says %d", entry->d_name, verdict);
		n_good += verdict;
		n_bad += !verdict;
	}
	assert_true(n_good >= 10 && n_bad >= 30);
}

static void what_is_formatted_parses_back(void **state)
{
	struct stub stub = { .size_bytes = 4711 }, back;
	char text[STUB_SIZE_MAX];
	size_t len;

	(void)state;
	for (unsigned int i = 0; i < STUB_SHA256_BYTES; i++)
		stub.sha256[i] = (uint8_t)(i * 7);
	assert_true(stub_set_url(&stub, "oci://127.0.0.1:5000/team/app"));
	len = stub_format(&stub, text);
	assert_true(stub_parse(text, len, &back));
	assert_memory_equal(back.sha256, stub.sha256, STUB_SHA256_BYTES);
	assert_int_equal(back.size_bytes, 4711);
	assert_string_equal(back.urls, "oci://127.0.0.1:5000/team/app");
}

static void a_url_that_does_not_fit_is_dropped(void **state)
{
	struct stub stub = { .size_bytes = 1 }, back;
	char url[STUB_SIZE_MAX], text[STUB_SIZE_MAX];
	size_t len;

	(void)state;
	memset(url, 'x', sizeof(url) - 1);
	url[sizeof(url) - 1] = '\0';
	assert_false(stub_set_url(&stub, url));
	len = stub_format(&stub, text);
	assert_true(len <= STUB_SIZE_MAX);
	assert_true(stub_parse(text, len, &back));
	assert_int_equal(back.n_urls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_draft_is_a_stub),
		cmocka_unit_test(a_size_of_exactly_two_to_the_63_is_not_a_stub),
		cmocka_unit_test(every_file_of_the_corpus_gets_its_verdict),
		cmocka_unit_test(what_is_formatted_parses_back),
		cmocka_unit_test(a_url_that_does_not_fit_is_dropped),
	};

	return cmocka_run_group_tests_name("stub", tests, NULL, NULL);
}
