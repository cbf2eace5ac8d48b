/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how configuration files are read. Called at start-up and on reload. */
#include "lib/config.h"

#include <ini.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"

struct load {
	const char *path;
	const struct config_option *options;
	size_t n_options;
	void *target;
	struct problem *problem;
	int error;
};

int config_parse_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	unsigned long long value;
	unsigned int shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		suffix = strchr(suffixes, *end & ~0x20);
		if (!suffix || !*suffix || (end[1] && strcmp(end + 1, "iB")))
			return -EINVAL;
		shift = 10 * (unsigned int)(suffix - suffixes + 1);
	}
	if (value > (UINT64_MAX >> 1) >> shift)
		return -ERANGE;
	*out = (uint64_t)value << shift;
	return 0;
}

int config_parse_bool(const char *text, bool *out)
{
	static const char *const words[][2] = {
		{ "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" }
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (int value = 0; value < 2; value++) {
			if (!strcasecmp(text, words[i][value])) {
				*out = value;
				return 0;
			}
		}
	}
	return -EINVAL;
}

/* Where "section" matches, *@argument is what stood for "*" (or NULL). */
static bool section_matches(const char *pattern, const char *section, const char **argument)
{
	size_t len = strlen(pattern);

	*argument = NULL;
	if (len < 2 || strcmp(pattern + len - 2, " *"))
		return !strcmp(pattern, section);
	if (strncmp(pattern, section, len - 1) || !section[len - 1])
		return false;
	*argument = section + len - 1;
	return true;
}

static int set_number(const struct config_option *option, const char *value, void *field,
		      struct problem *problem)
{
	uint64_t number;
	int r = config_parse_size(value, &number);

	if (r == -EINVAL ||
	    (!r && option->type == CONFIG_NUMBER && value[strspn(value, "0123456789")]))
		return problem_set(problem, -EINVAL, "'%s' is not a %s", value,
				   option->type == CONFIG_SIZE ? "size, as in 512M or 20G"
							       : "whole number");
	if (r || number < option->min || (option->max && number > option->max))
		return problem_set(problem, -EINVAL, "%s is out of range: %llu to %llu is possible",
				   value, (unsigned long long)option->min,
				   (unsigned long long)option->max);
	*(uint64_t *)field = number;
	return 0;
}

static int set_option(const struct config_option *option, const char *argument, const char *value,
		      void *target, struct problem *problem)
{
	void *field = (char *)target + option->offset;
	char *copy;

	switch (option->type) {
	case CONFIG_STRING:
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
		free(*(char **)field);
		*(char **)field = copy;
		return 0;
	case CONFIG_BOOL:
		if (config_parse_bool(value, field))
			return problem_set(problem, -EINVAL, "'%s' is neither yes nor no", value);
		return 0;
	case CONFIG_NUMBER:
	case CONFIG_SIZE:
		return set_number(option, value, field, problem);
	case CONFIG_CALL:
		return option->set(target, argument, option->key, value, problem);
	}
	return -EINVAL;
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
	struct load *load = user;
	bool section_known = false;

	if (load->error) /* the library goes on behind an error; the first one is reported */
		return 0;
	for (size_t i = 0; i < load->n_options; i++) {
		const struct config_option *option = &load->options[i];
		const char *argument;

		if (!section_matches(option->section, section, &argument))
			continue;
		section_known = true;
		if (strcmp(option->key, key))
			continue;
		load->error = set_option(option, argument, value, load->target, load->problem);
		if (load->error)
			problem_prefix(load->problem, load->error, "%s", key);
		return load->error == 0;
	}
	if (section_known)
		load->error = problem_set(load->problem, -EINVAL, "unknown key '%s' in [%s]", key,
					  section);
	else
		load->error = problem_set(load->problem, -EINVAL, "unknown section [%s]", section);
	return 0;
}

int config_load(const char *path, const struct config_option *options, size_t n_options,
		void *target, struct problem *problem)
{
	struct load load = { path, options, n_options, target, problem, 0 };
	cleanup_fclose FILE *file = fopen(path, "re");
	int line;

	if (!file) {
		int error = -errno;

		return problem_set(problem, error, "%s: %s", path, strerror(errno));
	}
	line = ini_parse_file(file, on_pair, &load);
	if (!line)
		return 0;
	if (line < 0)
		return problem_set(problem, -EIO, "%s: cannot be read", path);
	if (!load.error)
		load.error = problem_set(problem, -EINVAL,
					 "neither [section] nor key = value nor # comment");
	return problem_prefix(problem, load.error, "%s:%d", path, line);
}

void config_free(const struct config_option *options, size_t n_options, void *target)
{
	for (size_t i = 0; i < n_options; i++) {
		char **field = (char **)(void *)((char *)target + options[i].offset);

		if (options[i].type != CONFIG_STRING)
			continue;
		free(*field);
		*field = NULL;
	}
}
