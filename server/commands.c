/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the command lines of stat, fsck and gc, and how their results are shown. Main thread. */
#include "server/commands.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "lib/config.h"
#include "lib/log.h"
#include "server/commands-internal.h"
#include "server/options.h"

enum { EXIT_USAGE = 2, FOUND_MAX = 10000 };

#define COMMON_HELP                                                                            \
	"  --store DIR     the store (default: as intinode-serve's, from its settings)\n"      \
	"  --config FILE   settings of the server, for its store and lease\n"                  \
	"  --json          one JSON object on standard output\n"                               \
	"  --help\n"                                                                           \
	"\n"                                                                                   \
	"With a server running on the store, it does the work, while it serves; without one, " \
	"this\n"                                                                               \
	"command does. Run it as root or as the server's user. "

static const char stat_help[] =
	"Usage: intinode-serve stat [--store DIR] [--json]\n"
	"\n"
	"What is in the store, and what it takes: repositories, tags, blobs, the bytes of their\n"
	"content and of their files, and how often repositories share them.\n"
	"\n" COMMON_HELP "Exit status: 0, or 1 when it failed.\n";

static const char fsck_help[] =
	"Usage: intinode-serve fsck [--repair] [--quick] [--rate BYTES] [--store DIR] [--json]\n"
	"\n"
	"Checks everything: each blob against its digest, each link, manifest and tag against\n"
	"what it names, the index against the files.\n"
	"\n"
	"  --repair        move what is damaged to quarantine/ in the store, so that clients push "
	"it\n"
	"                  again; mend links, tags and the index. Nothing is deleted that a push\n"
	"                  could make whole\n"
	"  --quick         do not read contents\n"
	"  --rate BYTES    read at most that much a second, as 50M (default: 100M where a server\n"
	"                  runs, else as fast as it goes)\n" COMMON_HELP
	"Exit status: 0 when all is\nwell or was repaired, 1 when problems are left or it failed.\n"
	"\n"
	"Try it:\n"
	"  intinode-serve fsck --quick && echo all is well\n"
	"  intinode-serve fsck --repair --json | jq '.problems[]'\n";

static const char gc_help[] =
	"Usage: intinode-serve gc [--dry-run] [--untagged AGE] [--store DIR] [--json]\n"
	"\n"
	"Removes blobs that no manifest names, once their lease has run out (a day after they "
	"were\n"
	"last pushed or asked for, unless the settings say otherwise). Pushes go on meanwhile.\n"
	"\n"
	"  --dry-run       only say what would go\n"
	"  --untagged AGE  also manifests older than AGE that no tag leads to; 30d, 12h, 90m or\n"
	"                  seconds\n" COMMON_HELP "Exit status: 0, or 1 when it failed.\n"
	"\n"
	"Try it:\n"
	"  intinode-serve gc --dry-run --untagged 30d\n";

enum {
	OPT_STORE = 256,
	OPT_CONFIG,
	OPT_JSON,
	OPT_HELP,
	OPT_REPAIR,
	OPT_QUICK,
	OPT_RATE,
	OPT_DRY_RUN,
	OPT_UNTAGGED
};

#define COMMON_OPTIONS                                             \
	{ "store", required_argument, NULL, OPT_STORE },           \
		{ "config", required_argument, NULL, OPT_CONFIG }, \
		{ "json", no_argument, NULL, OPT_JSON },           \
	{                                                          \
		"help", no_argument, NULL, OPT_HELP                \
	}

static const struct option stat_options[] = { COMMON_OPTIONS, { NULL, 0, NULL, 0 } };
static const struct option fsck_options[] = { COMMON_OPTIONS,
					      { "repair", no_argument, NULL, OPT_REPAIR },
					      { "quick", no_argument, NULL, OPT_QUICK },
					      { "rate", required_argument, NULL, OPT_RATE },
					      { NULL, 0, NULL, 0 } };
static const struct option gc_options[] = { COMMON_OPTIONS,
					    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
					    { "untagged", required_argument, NULL, OPT_UNTAGGED },
					    { NULL, 0, NULL, 0 } };

static const struct {
	const char *name;
	enum admin_op op;
	const char *help;
	const struct option *options;
} commands[] = {
	{ "stat", ADMIN_STAT, stat_help, stat_options },
	{ "fsck", ADMIN_FSCK, fsck_help, fsck_options },
	{ "gc", ADMIN_GC, gc_help, gc_options },
};

struct arguments {
	struct admin_request request;
	const char *store, *config;
	bool json, help;
};

bool commands_has(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i].name, name))
			return true;
	}
	return false;
}

/* "30d", "12h", "90m", "45s" or seconds. */
static int parse_age(const char *text, uint64_t *out)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { '\0', 1 }, { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	size_t digits = strspn(text, "0123456789");
	uint64_t n;

	if (!digits || digits > 9 || (text[digits] && text[digits + 1]))
		return -EINVAL;
	n = strtoull(text, NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (units[i].unit == text[digits]) {
			*out = n * units[i].seconds;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_option(int c, struct arguments *out, struct problem *problem)
{
	switch (c) {
	case OPT_STORE:
		out->store = optarg;
		return 0;
	case OPT_CONFIG:
		out->config = optarg;
		return 0;
	case OPT_JSON:
		out->json = true;
		return 0;
	case OPT_REPAIR:
		out->request.repair = true;
		return 0;
	case OPT_QUICK:
		out->request.quick = true;
		return 0;
	case OPT_DRY_RUN:
		out->request.dry_run = true;
		return 0;
	case OPT_RATE:
		if (config_parse_size(optarg, &out->request.rate) || !out->request.rate ||
		    out->request.rate > INT64_MAX)
			return problem_set(problem, -EINVAL,
					   "--rate %s: bytes a second are expected, as 50M",
					   optarg);
		return 0;
	default:
		out->request.has_untagged = true;
		if (parse_age(optarg, &out->request.untagged_s))
			return problem_set(problem, -EINVAL,
					   "--untagged %s: an age is expected, as 30d or 12h",
					   optarg);
		return 0;
	}
}

static int read_arguments(int argc, char **argv, const struct option *options,
			  struct arguments *out, struct problem *problem)
{
	int c, r = 0;

	optind = 1;
	opterr = 0;
	while (!r && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == OPT_HELP)
			out->help = true;
		else if (c == '?')
			r = problem_set(problem, -EINVAL,
					"%s: no such option of %s, or its value is missing; "
					"--help lists them",
					argv[optind - 1], argv[0]);
		else
			r = read_option(c, out, problem);
	}
	if (!r && optind < argc)
		r = problem_set(problem, -EINVAL, "'%s': only options are expected", argv[optind]);
	return r;
}

/* The server's own settings, for what the command line of the command does not say. */
static int read_settings(const struct arguments *arguments, struct options *out,
			 struct problem *problem)
{
	enum options_result result;
	char *argv[6];
	int n = 0;

	argv[n++] = (char *)(uintptr_t) "intinode-serve";
	if (arguments->config) {
		argv[n++] = (char *)(uintptr_t) "--config";
		argv[n++] = (char *)(uintptr_t)arguments->config;
	}
	if (arguments->store) {
		argv[n++] = (char *)(uintptr_t) "--store";
		argv[n++] = (char *)(uintptr_t)arguments->store;
	}
	argv[n] = NULL;
	return options_read(n, argv, out, &result, problem);
}

/* ---- What is shown ---- */

struct show {
	bool json, terminal, progress_shown;
	json_t *found; /* owned */
	uint64_t n_more;
};

static void clear_progress(struct show *show)
{
	if (show->progress_shown)
		fputs("\r\033[K", stderr);
	show->progress_shown = false;
}

static int show_line(void *context, const json_t *line)
{
	struct show *show = context;
	const char *what = json_get_string(line, "progress");
	json_t *found = json_object_get(line, "found");

	if (what && show->terminal) {
		fprintf(stderr, "\r\033[K%s: %" JSON_INTEGER_FORMAT, what,
			json_integer_value(json_object_get(line, "done")));
		show->progress_shown = true;
	}
	if (!found)
		return 0;
	if (show->json) {
		if (json_array_size(show->found) >= FOUND_MAX)
			show->n_more++;
		else if (json_array_append(show->found, found))
			return -ENOMEM;
		return 0;
	}
	clear_progress(show);
	printf("%s%s%s %s: %s%s\n", json_get_string(found, "repository") ?: "",
	       json_get_string(found, "repository") ? " " : "",
	       json_get_string(found, "name") ?: "", json_get_string(found, "kind") ?: "",
	       json_get_string(found, "text") ?: "",
	       json_is_true(json_object_get(found, "repaired")) ? " [repaired]" : "");
	return 0;
}

static void show_report(struct show *show, json_t *report)
{
	const char *key;
	json_t *value;

	if (show->json) {
		cleanup_free char *text = NULL;

		if (show->found) {
			json_object_set_new(report, "n_problems",
					    json_incref(json_object_get(report, "problems")));
			json_object_set(report, "problems", show->found);
			json_object_set_new(report, "not_listed",
					    json_integer((json_int_t)show->n_more));
		}
		text = json_dumps(report, JSON_INDENT(2));
		puts(text ? text : "{}");
		return;
	}
	json_object_foreach(report, key, value) {
		if (json_is_integer(value))
			printf("%-16s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
		else
			printf("%-16s %s\n", key,
			       json_is_string(value) ? json_string_value(value)
			       : json_is_true(value) ? "yes"
						     : "no");
	}
}

static int do_request(const struct arguments *arguments, const struct options *options,
		      struct problem *problem)
{
	struct show show = { .json = arguments->json, .terminal = isatty(STDERR_FILENO) };
	cleanup_json json_t *report = NULL, *found = NULL;
	uint64_t left;
	int r;

	if (arguments->request.op == ADMIN_FSCK && show.json) {
		found = show.found = json_array();
		if (!found)
			return -ENOMEM;
	}
	r = commands_ask(&arguments->request, options, show_line, &show, &report, problem);
	clear_progress(&show);
	if (r)
		return r;
	left = (uint64_t)(json_integer_value(json_object_get(report, "problems")) -
			  json_integer_value(json_object_get(report, "repaired")));
	show_report(&show, report);
	if (fflush(stdout))
		return problem_set(problem, -errno, "the report cannot be written: %s",
				   strerror(errno));
	return left ? 1 : 0;
}

int commands_run(int argc, char **argv)
{
	struct arguments arguments = { .json = false };
	struct problem problem = { "" };
	struct options options = { .listen = NULL };
	size_t i = 0;
	int r;

	while (strcmp(commands[i].name, argv[0]))
		i++;
	arguments.request.op = commands[i].op;
	signal(SIGPIPE, SIG_IGN);
	r = read_arguments(argc, argv, commands[i].options, &arguments, &problem);
	if (!r && arguments.help) {
		fputs(commands[i].help, stdout);
		return EXIT_SUCCESS;
	}
	if (!r)
		r = read_settings(&arguments, &options, &problem);
	if (r) {
		log_error("%s", problem_text(&problem, r));
		options_free(&options);
		return EXIT_USAGE;
	}
	r = do_request(&arguments, &options, &problem);
	if (r < 0)
		log_error("%s", problem_text(&problem, r));
	options_free(&options);
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
