/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines of the client: one table per command names each option once, with its type,
 * its range and its help; parsing and --help both come from it.
 */
#pragma once

#include "lib/log.h"
#include "lib/registry.h"

enum option_type {
	OPTION_END,    /* the last row */
	OPTION_FLAG,   /* bool: --name */
	OPTION_OFF,    /* bool set to false: --no-name */
	OPTION_TEXT,   /* const char *, borrowed from argv */
	OPTION_NUMBER, /* unsigned int within min..max */
	OPTION_SIZE,   /* uint64_t bytes within min..max; K, M, G may follow */
	OPTION_GROUP,  /* not an option: the rows of @group, with targets of their own */
};

struct option_row {
	enum option_type type;
	const char *name;     /* "inline" for --inline */
	const char *argument; /* what --help calls the value; NULL for flags */
	const char *help;     /* one sentence, no period */
	void *target;	      /* of the type's kind */
	uint64_t min, max;    /* NUMBER, SIZE; max 0: no limit */
	const struct option_row *group;
};

/* One sub-command; main.c has the table. */
struct command {
	const char *name;
	const char *arguments; /* "SRC DST" */
	const char *help;      /* one line, lower case, no period */
	/* Several lines for --help: what it does, then examples. Ends in a newline. */
	const char *details;
	/* @argv[0] is the command's name. Return: the exit status. */
	int (*run)(const struct command *command, int argc, char **argv);
};

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* it could not be done; the reason is on standard error */
	EXIT_USAGE = 2,	 /* the command line is wrong */
};

/**
 * options_parse() - read the options of @command; operands may stand between them.
 * @rows: ends with OPTION_END. Targets keep their value where an option is not given.
 * @operands: set to the operands, in argv; *@n_operands to their number, which is checked
 * against @min_operands and @max_operands.
 * --help is answered here. Return: -1 to go on, else the exit status.
 */
int options_parse(const struct command *command, const struct option_row *rows, int argc,
		  char **argv, int min_operands, int max_operands, char ***operands,
		  int *n_operands) must_check;

/** options_fail() - log "command: text" for a failed run. Return: EXIT_FAILED. */
int options_fail(int error, const struct problem *problem);

/*
 * --authfile, --ca-file, --tls-verify and so on, for every command that talks to a registry;
 * used as { OPTION_GROUP, .group = options_registry }. Their values are in:
 */
extern const struct option_row options_registry[];
extern struct registry_options registry_options;
