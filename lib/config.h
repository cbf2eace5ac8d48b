/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: INI sections, one table per program that names each key once
 * with its type, range and meaning. An unknown section or key, or a value out of range,
 * is an error that names file and line.
 */
#pragma once

#include "lib/util.h"

struct problem;

enum config_type {
	CONFIG_STRING, /* char *, owned by the target, freed by config_free() */
	CONFIG_BOOL,   /* bool: yes/no, true/false, on/off, 1/0 */
	CONFIG_NUMBER, /* uint64_t within min..max */
	CONFIG_SIZE,   /* uint64_t bytes; K, M, G, T (powers of 1024) may follow */
	CONFIG_CALL,   /* set() is called for each occurrence */
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
 * Return: 0; -ENOENT; -EINVAL with @problem "FILE:LINE: what, and what would be right".
 * On an error @target holds what was read so far; free it with config_free().
 */
int config_load(const char *path, const struct config_option *options, size_t n_options,
		void *target, struct problem *problem) must_check;

/** config_free() - free the strings of @target that the table names. */
void config_free(const struct config_option *options, size_t n_options, void *target);

/** config_parse_size() - "64M" to bytes. Return: 0, -EINVAL or -ERANGE. */
int config_parse_size(const char *text, uint64_t *out) must_check;

/** config_parse_bool() - yes/no, true/false, on/off, 1/0. Return: 0 or -EINVAL. */
int config_parse_bool(const char *text, bool *out) must_check;
