/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of command lines and the text of --help. Main thread, before any other. */
#include "client/options.h"

#include <getopt.h>
#include <string.h>

#include "lib/config.h"

enum {
	ROWS_MAX = 64, /* of one command, groups included */
	HELP_COLUMN = 26,
	LONG_BASE = 256, /* values getopt returns; above any character */
};

struct registry_options registry_options;

const struct option_row options_registry[] = {
	{ OPTION_TEXT, "authfile", "FILE",
	  "credentials as docker and podman keep them (default: where those look)",
	  &registry_options.auth_file, 0, 0, NULL },
	{ OPTION_TEXT, "ca-file", "FILE", "trust these certificates (PEM), not the system's",
	  &registry_options.ca_file, 0, 0, NULL },
	{ OPTION_FLAG, "insecure", NULL, "accept any certificate", &registry_options.insecure, 0, 0,
	  NULL },
	{ OPTION_FLAG, "plain-http", NULL,
	  "http:// instead of https:// (always so for hosts on the loopback interface)",
	  &registry_options.plain_http, 0, 0, NULL },
	{ .type = OPTION_END },
};

struct flat {
	const struct option_row *rows[ROWS_MAX];
	struct option getopt[ROWS_MAX + 2];
	size_t n;
};

static void flatten(const struct option_row *row, struct flat *flat)
{
	for (; row->type != OPTION_END && flat->n < ROWS_MAX; row++) {
		if (row->type == OPTION_GROUP) {
			flatten(row->group, flat);
			continue;
		}
		flat->getopt[flat->n] = (struct option){
			.name = row->name,
			.has_arg = row->argument ? required_argument : no_argument,
			.val = LONG_BASE + (int)flat->n,
		};
		flat->rows[flat->n++] = row;
	}
}

static void print_help(const struct command *command, const struct flat *flat)
{
	printf("usage: intinode %s [OPTION]... %s\n\n%s\nOptions:\n", command->name,
	       command->arguments, command->details);
	for (size_t i = 0; i < flat->n; i++) {
		const struct option_row *row = flat->rows[i];
		int n = printf("  --%s%s%s", row->name, row->argument ? " " : "",
			       row->argument ? row->argument : "");

		printf("%*s%s\n", n < HELP_COLUMN ? HELP_COLUMN - n : 1, "", row->help);
	}
	printf("  --help%*sthis text\n", HELP_COLUMN - 8, "");
}

static int usage_error(const struct command *command)
{
	log_error("try 'intinode %s --help'", command->name);
	return EXIT_USAGE;
}

static bool in_range(const struct option_row *row, uint64_t value)
{
	return value >= row->min && (row->max == 0 || value <= row->max);
}

static int set_number(const struct option_row *row, const char *text)
{
	uint64_t value = 0;
	int r = config_parse_size(text, &value);

	if (!r && !in_range(row, value))
		r = -ERANGE;
	if (!r && row->type == OPTION_NUMBER && strspn(text, "0123456789") != strlen(text))
		r = -EINVAL;
	if (r) {
		char shown[64], range[64] = "";

		log_escape(shown, sizeof(shown), text, strlen(text));
		if (row->max)
			snprintf(range, sizeof(range), " from %llu to %llu",
				 (unsigned long long)row->min, (unsigned long long)row->max);
		log_error("--%s '%s': a number%s is needed%s", row->name, shown, range,
			  row->type == OPTION_SIZE ? "; K, M or G may follow it" : "");
		return EXIT_USAGE;
	}
	if (row->type == OPTION_SIZE)
		*(uint64_t *)row->target = value;
	else
		*(unsigned int *)row->target = (unsigned int)value;
	return -1;
}

static int set_option(const struct option_row *row, const char *value)
{
	switch (row->type) {
	case OPTION_FLAG:
	case OPTION_OFF:
		*(bool *)row->target = row->type == OPTION_FLAG;
		return -1;
	case OPTION_TEXT:
		*(const char **)row->target = value;
		return -1;
	case OPTION_NUMBER:
	case OPTION_SIZE:
		return set_number(row, value);
	case OPTION_END:
	case OPTION_GROUP:
		break;
	}
	return EXIT_USAGE;
}

int options_parse(const struct command *command, const struct option_row *rows, int argc,
		  char **argv, int min_operands, int max_operands, char ***operands,
		  int *n_operands)
{
	struct flat flat = { .n = 0 };
	int c, r;

	flatten(rows, &flat);
	flat.getopt[flat.n] = (struct option){ .name = "help", .val = 'h' };
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", flat.getopt, NULL)) != -1) {
		if (c == 'h') {
			print_help(command, &flat);
			return EXIT_OK;
		}
		if (c < LONG_BASE) {
			log_error("%s: %s '%s'", command->name,
				  c == ':' ? "a value is missing behind" : "unknown option",
				  argv[optind - 1]);
			return usage_error(command);
		}
		r = set_option(flat.rows[c - LONG_BASE], optarg);
		if (r >= 0)
			return r;
	}
	*operands = argv + optind;
	*n_operands = argc - optind;
	if (*n_operands < min_operands || (max_operands >= 0 && *n_operands > max_operands)) {
		log_error("%s: it needs %s", command->name, command->arguments);
		return usage_error(command);
	}
	return -1;
}

int options_fail(int error, const struct problem *problem)
{
	log_error("%s", problem_text(problem, error));
	return EXIT_FAILED;
}
