/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: lines of "[section]", "key = value", and comments that begin with # or
 * ;, of any length. One table per program names each key once with its type, range and meaning.
 * An unknown section or key, a key that is there twice, a value out of range, a comment behind a
 * value and a line that is none of these are errors that name file and line.
 */
#pragma once

#include "lib/util.h"

struct problem;

enum config_type {
	CONFIG_STRING, /* char *, owned by the target, freed by config_free() */
	CONFIG_BOOL,   /* bool: yes/no, true/false, on/off, 1/0 */
	CONFIG_NUMBER, /* uint64_t within min..max */
	CONFIG_SIZE,   /* uint64_t bytes; K, M, G, T (powers of 1024) may follow */
	CONFIG_CALL,   /* set() is called, once for each section that has it */
};

struct config_option {
	/* "cache", or "registry *": any section "[registry NAME]", NAME goes to set(). */
	const char *section;
	const char *key;
	enum config_type type;
	size_t offset; /* into the target, for all but CONFIG_CALL */
	uint64_t min, max;
	/* CONFIG_CALL only. @argument: what stood for "*", else NULL. Return: 0 or -errno. */
	int (*set)(void *target, const char *argument, const char *key, const char *value,
		   struct problem *problem);
	const char *help;
};

/**
 * config_load() - read @path into @target.
 * @options: table of @n_options.
 * Return: 0; -ENOENT; -EFBIG; -EINVAL with @problem "FILE:LINE: what, and what would be right".
 * On an error @target holds what was read so far; free it with config_free().
 */
int config_load(const char *path, const struct config_option *options, size_t n_options,
		void *target, struct problem *problem) must_check;

/**
 * config_parse() - the same from @len bytes of @text.
 * @line: the number of the line that @problem is about, when it fails.
 */
int config_parse(const char *text, size_t len, const struct config_option *options,
		 size_t n_options, void *target, unsigned int *line,
		 struct problem *problem) must_check;

/** config_free() - free the strings of @target that the table names. */
void config_free(const struct config_option *options, size_t n_options, void *target);

/** config_parse_size() - "64M" to bytes. Return: 0, -EINVAL or -ERANGE. */
int config_parse_size(const char *text, uint64_t *out) must_check;

/** config_parse_bool() - yes/no, true/false, on/off, 1/0. Return: 0 or -EINVAL. */
int config_parse_bool(const char *text, bool *out) must_check;
