/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the command line and the configuration table of intinode-fetchd. */
#include "config.h"

#include "fetchd/options-internal.h"

#include <ctype.h>
#include <getopt.h>
#include <string.h>
#include <strings.h>

#include "lib/config.h"
#include "lib/reference.h"

#define DEFAULT_CONFIG SYSCONFDIR "/intinode/fetchd.conf"
#define DEFAULT_CACHE LOCALSTATEDIR "/cache/intinode"
#define DEFAULT_STATE LOCALSTATEDIR "/lib/intinode-fetchd"
#define DEFAULT_RUN "/run/intinode"

static const char help[] =
	"Usage: intinode-fetchd [OPTION]...\n"
	"Fetch the files that stubs stand for, when programs open them.\n"
	"\n"
	"  --cache DIR        content, by digest (default " DEFAULT_CACHE ")\n"
	"  --state DIR        unpacked layers and registered mounts (default " DEFAULT_STATE ")\n"
	"  --run DIR          control socket and miss layers (default " DEFAULT_RUN ")\n"
	"  --config FILE      settings (default " DEFAULT_CONFIG ", where it exists)\n"
	"  --check-config     read the settings, say what is wrong with them, and exit\n"
	"  --auth-file FILE   credentials, as written by 'podman login' or 'docker login'\n"
	"  --deadline SECONDS how long a program may wait for a missing file (default 30)\n"
	"  --log-level LEVEL  error, warning, info (default) or debug\n"
	"  --sandbox MODE     of the processes that meet the network: on (default); log: the\n"
	"                     kernel logs the system calls that would be refused; off\n"
	"  --help, --version\n"
	"\n"
	"It stays in the foreground and writes its log to standard error. Mount something with\n"
	"  intinode mount docker://registry.example/app:1.0-thin /mnt\n"
	"and look at what it does with 'intinode status'. The manual is intinode-fetchd(8).\n";

static int parse_sandbox(struct options *options, const char *value, struct problem *problem)
{
	return sandbox_mode_parse(value, &options->sandbox)
		       ? problem_set(problem, -EINVAL, "'%s' is neither on, log nor off", value)
		       : 0;
}

static int set_sandbox(void *target, const char *section, const char *key, const char *value,
		       struct problem *problem)
{
	(void)section;
	(void)key;
	return parse_sandbox(target, value, problem);
}

#define DEFAULT_FREE (2ULL * 1024 * 1024 * 1024)
#define AT(member) offsetof(struct options, member)

static const struct config_option table[] = {
	{ "fetchd", "cache", CONFIG_STRING, AT(cache), 0, 0, NULL, "directory of the cache" },
	{ "fetchd", "state", CONFIG_STRING, AT(state), 0, 0, NULL,
	  "directory of layers and mounts" },
	{ "fetchd", "run", CONFIG_STRING, AT(run), 0, 0, NULL, "directory of the socket" },
	{ "fetchd", "auth-file", CONFIG_STRING, AT(auth_file), 0, 0, NULL, "credentials" },
	{ "fetchd", "deadline", CONFIG_NUMBER, AT(deadline_s), 1, 86400, NULL,
	  "seconds a program waits for a missing file" },
	{ "fetchd", "fetches", CONFIG_NUMBER, AT(fetches_max), 1, 4096, NULL,
	  "fetches at one time" },
	{ "fetchd", "cache-size", CONFIG_SIZE, AT(cache_size), 1024 * 1024, UINT64_MAX, NULL,
	  "how much the cache may hold" },
	{ "fetchd", "cache-free", CONFIG_SIZE, AT(cache_free), 0, UINT64_MAX, NULL,
	  "what stays free of its file system, at most a twentieth" },
	{ "fetchd", "scrub", CONFIG_NUMBER, AT(scrub_s), 0, 365 * 86400, NULL,
	  "seconds between checks of all files of the cache; 0: never" },
	{ "fetchd", "scrub-rate", CONFIG_SIZE, AT(scrub_rate), 64 << 10, UINT64_MAX, NULL,
	  "bytes a second that such a check reads" },
	{ "fetchd", "sandbox", CONFIG_CALL, 0, 0, 0, set_sandbox,
	  "of the processes that meet the network: on, log or off" },
	{ "registry *", "allow", CONFIG_CALL, 0, 0, 0, options_set_registry,
	  "may stubs name this host" },
	{ "registry *", "plain-http", CONFIG_CALL, 0, 0, 0, options_set_registry,
	  "HTTP without TLS" },
	{ "registry *", "insecure", CONFIG_CALL, 0, 0, 0, options_set_registry,
	  "any certificate is fine" },
	{ "registry *", "ca-file", CONFIG_CALL, 0, 0, 0, options_set_registry,
	  "trusted certificates, PEM" },
	{ "registry *", "mirrors", CONFIG_CALL, 0, 0, 0, options_set_registry,
	  "asked before it: HOST[:PORT][/PREFIX] ..." },
	{ "s3 *", "endpoint", CONFIG_CALL, 0, 0, 0, options_set_bucket, "https://HOST[:PORT]" },
	{ "s3 *", "region", CONFIG_CALL, 0, 0, 0, options_set_bucket, "of its signatures" },
};

enum {
	OPT_CACHE = 256,
	OPT_STATE,
	OPT_RUN,
	OPT_CONFIG,
	OPT_CHECK,
	OPT_AUTH,
	OPT_DEADLINE,
	OPT_LOG,
	OPT_SANDBOX,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "run", required_argument, NULL, OPT_RUN },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "auth-file", required_argument, NULL, OPT_AUTH },
	{ "deadline", required_argument, NULL, OPT_DEADLINE },
	{ "log-level", required_argument, NULL, OPT_LOG },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_deadline(struct options *options, const char *text, struct problem *problem)
{
	uint64_t value;

	if (config_parse_size(text, &value) || value < 1 || value > 86400)
		return problem_set(problem, -EINVAL, "--deadline takes 1 to 86400 seconds");
	options->deadline_s = value;
	return 0;
}

static int parse_arguments(int argc, char **argv, struct options *options, struct problem *problem)
{
	int c, r = 0;

	optind = 1;
	while (!r && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_CACHE:
			r = set_string(&options->cache, optarg);
			break;
		case OPT_STATE:
			r = set_string(&options->state, optarg);
			break;
		case OPT_RUN:
			r = set_string(&options->run, optarg);
			break;
		case OPT_CONFIG:
			r = set_string(&options->config, optarg);
			break;
		case OPT_AUTH:
			r = set_string(&options->auth_file, optarg);
			break;
		case OPT_CHECK:
			options->check_config = true;
			break;
		case OPT_DEADLINE:
			r = set_deadline(options, optarg, problem);
			break;
		case OPT_LOG:
			if (log_level_parse(optarg, &options->log_level))
				r = problem_set(problem, -EINVAL,
						"--log-level takes error, warning, info or debug");
			break;
		case OPT_SANDBOX:
			r = parse_sandbox(options, optarg, problem);
			break;
		case OPT_HELP:
			fputs(help, stdout);
			exit(0);
		case OPT_VERSION:
			puts("intinode-fetchd " PACKAGE_VERSION);
			exit(0);
		default:
			return problem_set(problem, -EINVAL, "try 'intinode-fetchd --help'");
		}
	}
	if (!r && optind < argc)
		return problem_set(problem, -EINVAL, "'%s' is not an option; try --help",
				   argv[optind]);
	return r;
}

static int load_file(struct options *options, struct problem *problem)
{
	const char *path = options->config ? options->config : DEFAULT_CONFIG;

	if (!options->config && access(path, F_OK))
		return 0;
	return config_load(path, table, ARRAY_SIZE(table), options, problem);
}

static int set_defaults(struct options *options)
{
	static const char *const values[] = { DEFAULT_CACHE, DEFAULT_STATE, DEFAULT_RUN };
	char **fields[] = { &options->cache, &options->state, &options->run };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!*fields[i] && !(*fields[i] = strdup(values[i])))
			return -ENOMEM;
	}
	free(options->socket);
	options->socket = format_text("%s/fetchd.sock", options->run);
	return options->socket ? 0 : -ENOMEM;
}

int options_parse(int argc, char **argv, struct options *out, struct problem *problem)
{
	struct options options = { .deadline_s = 30,
				   .fetches_max = 64,
				   .cache_size = UINT64_MAX,
				   .cache_free = DEFAULT_FREE,
				   .scrub_s = 7 * 86400,
				   .scrub_rate = 20 << 20,
				   .log_level = LOG_LEVEL_INFO };
	int r;

	/* Twice: the first pass finds the file, the second one goes ahead of what it says. */
	r = parse_arguments(argc, argv, &options, problem);
	if (!r)
		r = load_file(&options, problem);
	if (!r)
		r = parse_arguments(argc, argv, &options, problem);
	if (!r)
		r = options_check_sources(&options, problem);
	if (!r)
		r = set_defaults(&options);
	if (r) {
		options_free(&options);
		return r;
	}
	*out = options;
	return 0;
}

void options_free(struct options *options)
{
	config_free(table, ARRAY_SIZE(table), options);
	free(options->config);
	free(options->socket);
	options_free_sources(options);
	*options = (struct options){ .cache = NULL };
}
