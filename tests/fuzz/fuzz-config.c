/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: any bytes. What comes out of them stands in them: sections whole between their
 * brackets, keys and values whole on one line, and no rule under another name.
 */
#include <assert.h>
#include <string.h>

#include "lib/config.h"
#include "lib/log.h"
#include "server/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
	const char *text;
	size_t size;
	char *name; /* owned */
	bool flag;
	uint64_t number, bytes;
	struct rules rules;
};

static bool stands_in(const struct target *target, const char *text)
{
	return !*text || memmem(target->text, target->size, text, strlen(text));
}

static int set_rule(void *data, const char *pattern, const char *key, const char *value,
		    struct problem *problem)
{
	struct target *target = data;
	cleanup_free char *section = format_text("[repository %s]", pattern);

	assert(!section || stands_in(target, section));
	assert(!strchr(value, '\n') && stands_in(target, value));
	return rules_set(&target->rules, pattern, key, value, problem);
}

#define FIELD(key_, type_, field_, min_, max_)                                      \
	{                                                                           \
		.section = "server", .key = key_, .type = type_,                    \
		.offset = offsetof(struct target, field_), .min = min_, .max = max_ \
	}
#define RULE(key_)                                                                           \
	{                                                                                    \
		.section = "repository *", .key = key_, .type = CONFIG_CALL, .set = set_rule \
	}

static const struct config_option table[] = {
	FIELD("name", CONFIG_STRING, name, 0, 0),
	FIELD("flag", CONFIG_BOOL, flag, 0, 0),
	FIELD("number", CONFIG_NUMBER, number, 1, 100),
	FIELD("bytes", CONFIG_SIZE, bytes, 0, 0),
	RULE("pull"),
	RULE("push"),
	RULE("delete"),
	RULE("quota"),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target target = { .text = (const char *)data, .size = size };
	struct problem problem = { "" };
	unsigned int line = 0, lines = 1;
	int r = config_parse(target.text, size, table, ARRAY_SIZE(table), &target, &line, &problem);

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	if (r)
		assert(r == -ENOMEM || (problem.text[0] && line >= 1 && line <= lines));
	assert(target.number <= 100);
	assert(!target.name || stands_in(&target, target.name));
	for (size_t i = 0; i < target.rules.n; i++)
		assert(stands_in(&target, target.rules.rules[i].pattern));
	config_free(table, ARRAY_SIZE(table), &target);
	rules_deinit(&target.rules);
	return 0;
}
