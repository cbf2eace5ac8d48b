/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns how configuration files are read. Nothing in them is guessed, cut or overwritten: a name
 * that came out other than it was written would guard another repository. Called at start-up and
 * on reload.
 */
#include "lib/config.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"

enum { FILE_MAX = 16 * 1024 * 1024 };

static const char blanks[] = " \t\r\f\v";

struct load {
	const struct config_option *options;
	size_t n_options;
	void *target;
	struct problem *problem;
	char *section; /* owned; NULL: none yet */
	void *seen;    /* owned: tree of "[section] key", each at most once */
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

static int compare_seen(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Which of two values would count is nothing that a reader of the file could see. */
static int refuse_repeated(struct load *load, const char *key)
{
	char *name = format_text("[%s] %s", load->section, key), **found;

	if (!name)
		return -ENOMEM;
	found = tsearch(name, &load->seen, compare_seen);
	if (found && *found == name)
		return 0;
	free(name);
	return found ? problem_set(load->problem, -EINVAL, "'%s' is there twice in [%s]", key,
				   load->section)
		     : -ENOMEM;
}

static int on_pair(struct load *load, const char *key, const char *value)
{
	int r;

	if (!load->section)
		return problem_set(load->problem, -EINVAL, "'%s' stands before any [section]", key);
	for (size_t i = 0; i < load->n_options; i++) {
		const struct config_option *option = &load->options[i];
		const char *argument;

		if (!section_matches(option->section, load->section, &argument) ||
		    strcmp(option->key, key))
			continue;
		r = refuse_repeated(load, key);
		if (r)
			return r;
		r = set_option(option, argument, value, load->target, load->problem);
		return r ? problem_prefix(load->problem, r, "%s", key) : 0;
	}
	return problem_set(load->problem, -EINVAL, "unknown key '%s' in [%s]", key, load->section);
}

static int on_section(struct load *load, const char *line, size_t len)
{
	const char *argument;

	if (line[len - 1] != ']' || memchr(line, ']', len - 1))
		return problem_set(load->problem, -EINVAL, "a [section] is alone on its line");
	free(load->section);
	load->section = strndup(line + 1, len - 2);
	if (!load->section)
		return -ENOMEM;
	for (size_t i = 0; i < load->n_options; i++) {
		if (section_matches(load->options[i].section, load->section, &argument))
			return 0;
	}
	return problem_set(load->problem, -EINVAL, "unknown section [%s]", load->section);
}

/* A comment behind a value, or a part of it? Who wrote it may have meant either. */
static bool has_comment(const char *value)
{
	for (const char *p = value; (p = strpbrk(p, "#;")); p++) {
		if (p == value || strchr(blanks, p[-1]))
			return true;
	}
	return false;
}

/* @line: allocated, @len bytes without their line end. */
static int on_line(struct load *load, char *line, size_t len)
{
	char *equals, *key = line + strspn(line, blanks);

	if (strlen(line) != len)
		return problem_set(load->problem, -EINVAL, "a zero byte is no text");
	while (len && strchr(blanks, line[len - 1]))
		line[--len] = '\0';
	if (!len || *key == '#' || *key == ';')
		return 0;
	if (*key == '[')
		return on_section(load, key, strlen(key));
	equals = strchr(key, '=');
	if (!equals || equals == key)
		return problem_set(load->problem, -EINVAL,
				   "neither [section] nor key = value nor # comment%s",
				   key == line ? "" : ", and a line does not go on in the next");
	len = (size_t)(equals - key);
	while (strchr(blanks, key[len - 1]))
		len--;
	key[len] = '\0';
	equals += 1 + strspn(equals + 1, blanks);
	if (has_comment(equals))
		return problem_set(load->problem, -EINVAL,
				   "%s: a comment stands on a line of its own", key);
	return on_pair(load, key, equals);
}

int config_parse(const char *text, size_t len, const struct config_option *options,
		 size_t n_options, void *target, unsigned int *line, struct problem *problem)
{
	static const char mark[] = "\xef\xbb\xbf"; /* what some editors put before UTF-8 */
	struct load load = { options, n_options, target, problem, NULL, NULL };
	const char *p = text, *end = text + len;
	int r = 0;

	if (len >= 3 && !memcmp(text, mark, 3))
		p += 3;
	for (*line = 1; p < end; ++*line) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - p);
		cleanup_free char *copy = malloc(n + 1);

		if (!copy) {
			r = -ENOMEM;
			break;
		}
		memcpy(copy, p, n);
		copy[n] = '\0';
		r = on_line(&load, copy, n);
		if (r)
			break;
		p += n + 1;
	}
	free(load.section);
	tdestroy(load.seen, free);
	return r;
}

int config_load(const char *path, const struct config_option *options, size_t n_options,
		void *target, struct problem *problem)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	cleanup_free char *text = NULL;
	struct problem why = { "" };
	unsigned int line;
	ssize_t n;
	int r;

	if (fd < 0) {
		r = -errno;
		return problem_set(problem, r, "%s: %s", path, strerror(-r));
	}
	text = malloc(FILE_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = read_full(fd, text, FILE_MAX + 1);
	if (n < 0)
		return problem_set(problem, (int)n, "%s: %s", path, strerror((int)-n));
	if (n > FILE_MAX)
		return problem_set(problem, -EFBIG, "%s: longer than %d bytes", path, FILE_MAX);
	r = config_parse(text, (size_t)n, options, n_options, target, &line, &why);
	return r ? problem_set(problem, r, "%s:%u: %s", path, line, problem_text(&why, r)) : 0;
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
