/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: what is read is what was written, and all else is refused with its line. */
#include "tests/unit/test.h"

#include <string.h>

#include "lib/config.h"
#include "lib/log.h"

struct target {
	char *name; /* owned */
	uint64_t number;
	char *argument, *value; /* owned: of the last call */
	unsigned int n_calls;
};

static int on_call(void *data, const char *argument, const char *key, const char *value,
		   struct problem *problem)
{
	struct target *target = data;

	(void)problem;
	assert_string_equal(key, "pull");
	free(target->argument);
	free(target->value);
	target->argument = strdup(argument);
	target->value = strdup(value);
	target->n_calls++;
	return 0;
}

static const struct config_option table[] = {
	{ .section = "a",
	  .key = "name",
	  .type = CONFIG_STRING,
	  .offset = offsetof(struct target, name) },
	{ .section = "a",
	  .key = "number",
	  .type = CONFIG_NUMBER,
	  .offset = offsetof(struct target, number),
	  .max = 9 },
	{ .section = "repository *", .key = "pull", .type = CONFIG_CALL, .set = on_call },
};

static int parse(const char *text, struct target *target, unsigned int *line,
		 struct problem *problem)
{
	*target = (struct target){ NULL };
	*problem = (struct problem){ "" };
	return config_parse(text, strlen(text), table, ARRAY_SIZE(table), target, line, problem);
}

static void drop(struct target *target)
{
	config_free(table, ARRAY_SIZE(table), target);
	free(target->argument);
	free(target->value);
}

static void good(const char *text, struct target *target)
{
	struct problem problem;
	unsigned int line;

	if (parse(text, target, &line, &problem))
		fail_msg("%s: line %u: %s", text, line, problem.text);
}

static void keys_values_and_comments_are_read(void **state)
{
	struct target target;

	(void)state;
	good("\xef\xbb\xbf# a comment\r\n\n  ; one more\n[a]\r\n name =  two  words \r\nnumber=7",
	     &target);
	assert_string_equal(target.name, "two  words");
	assert_int_equal(target.number, 7);
	drop(&target);
	good("[a]\nname = b=c#d;e\n[a]\nnumber = 1\n", &target);
	assert_string_equal(target.name, "b=c#d;e");
	drop(&target);
	good("[a]\nname =\n", &target);
	assert_string_equal(target.name, "");
	drop(&target);
	good("", &target);
	drop(&target);
}

/* Names are up to 255 bytes long, lists of users longer than that. */
static void long_names_and_lines_come_out_whole(void **state)
{
	(void)state;
	for (size_t len = 1; len < 20000; len = len < 400 ? len + 1 : len * 3) {
		cleanup_free char *name = calloc(1, len + 1);
		cleanup_free char *text = NULL;
		struct target target;

		assert_non_null(name);
		memset(name, 'n', len);
		text = format_text("[repository %s]\npull = %s x\n[a]\nnumber = 1\n", name, name);
		assert_non_null(text);
		good(text, &target);
		assert_int_equal(target.n_calls, 1);
		assert_string_equal(target.argument, name);
		assert_int_equal(strlen(target.value), len + 2);
		assert_int_equal(target.number, 1);
		drop(&target);
	}
}

static void anything_else_is_refused_with_its_line(void **state)
{
	static const struct {
		unsigned int line;
		const char *text, *why;
	} bad[] = {
		{ 1, "name = x", "before any [section]" },
		{ 1, "[b]", "unknown section [b]" },
		{ 1, "[repository ]", "unknown section" },
		{ 1, "[a", "alone on its line" },
		{ 1, "[a] # x", "alone on its line" },
		{ 1, "[repository x]y]", "alone on its line" },
		{ 2, "[a]\nother = 1", "unknown key 'other'" },
		{ 2, "[a]\nname", "neither" },
		{ 2, "[a]\nname: x", "neither" },
		{ 2, "[a]\n= x", "neither" },
		{ 3, "[repository x]\npull = alice,\n  bob\n", "does not go on in the next" },
		{ 3, "[repository x]\npull = alice,\n  pull = bob\n", "there twice" },
		{ 3, "[a]\nname = x\nname = x", "there twice" },
		{ 4, "[repository x]\npull = a\n[repository x]\npull = b", "there twice" },
		{ 2, "[a]\nname = x # y", "a line of its own" },
		{ 2, "[a]\nname = x\t; y", "a line of its own" },
		{ 2, "[a]\nname = # y", "a line of its own" },
		{ 3, "[a]\n\nnumber = 10", "out of range" },
		{ 3, "[a]\n\nnumber = 1K", "whole number" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct problem problem;
		struct target target;
		unsigned int line = 0;
		int r = parse(bad[i].text, &target, &line, &problem);

		if (r != -EINVAL || line != bad[i].line || !strstr(problem.text, bad[i].why))
			fail_msg("%s: %d, line %u: %s", bad[i].text, r, line, problem.text);
		drop(&target);
	}
}

static void a_zero_byte_hides_nothing(void **state)
{
	static const char text[] = "[repository a\0b]\npull = x\n";
	struct target target = { NULL };
	struct problem problem = { "" };
	unsigned int line;

	(void)state;
	assert_int_equal(config_parse(text, sizeof(text) - 1, table, ARRAY_SIZE(table), &target,
				      &line, &problem),
			 -EINVAL);
	assert_int_equal(target.n_calls, 0);
	drop(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_values_and_comments_are_read),
		cmocka_unit_test(long_names_and_lines_come_out_whole),
		cmocka_unit_test(anything_else_is_refused_with_its_line),
		cmocka_unit_test(a_zero_byte_hides_nothing),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
