/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the options' names, defaults and bounds. Called at start-up. */
#include "server/options.h"

#include <getopt.h>
#include <string.h>

#include "config.h"
#include "lib/config.h"
#include "lib/reference.h"
#include "server/listen.h"

#define CONFIG_DEFAULT SYSCONFDIR "/intinode/intinode-serve.conf"

#define OPTION(section_, key_, type_, field_, min_, max_, help_)                      \
	{                                                                             \
		.section = section_, .key = key_, .type = type_,                      \
		.offset = offsetof(struct options, field_), .min = min_, .max = max_, \
		.help = help_                                                         \
	}

static int set_rule(void *target, const char *pattern, const char *key, const char *value,
		    struct problem *problem)
{
	return rules_set(&((struct options *)target)->rules, pattern, key, value, problem);
}

#define RULE(key_, help_)                                                                     \
	{                                                                                     \
		.section = "repository *", .key = key_, .type = CONFIG_CALL, .set = set_rule, \
		.help = help_                                                                 \
	}

static const struct config_option config_table[] = {
	OPTION("server", "listen", CONFIG_STRING, listen, 0, 0, "HOST:PORT"),
	OPTION("server", "metrics-listen", CONFIG_STRING, metrics_listen, 0, 0,
	       "HOST:PORT for metrics and health only"),
	OPTION("server", "store", CONFIG_STRING, store, 0, 0, "directory of the store"),
	OPTION("server", "threads", CONFIG_NUMBER, http.n_threads, 0, 1024, "0: one a core"),
	OPTION("server", "workers", CONFIG_NUMBER, http.n_workers, 1, 1024,
	       "threads that wait for the disk"),
	OPTION("server", "drain", CONFIG_NUMBER, drain_s, 0, 3600,
	       "seconds for requests in flight when stopping"),
	OPTION("server", "namespace", CONFIG_STRING, namespace, 0, 0,
	       "HOST[:PORT] by which ?ns= means this registry"),
	OPTION("log", "level", CONFIG_STRING, log_level, 0, 0, "error, warning, info or debug"),
	OPTION("log", "access", CONFIG_BOOL, http.access_log, 0, 0, "a line for each request"),
	OPTION("limits", "connections", CONFIG_NUMBER, http.limits.total, 16, 1000000, "at most"),
	OPTION("limits", "connections-per-address", CONFIG_NUMBER, http.limits.per_address, 0,
	       1000000, "0: half of all"),
	OPTION("limits", "header-timeout", CONFIG_NUMBER, http.limits.header_timeout_s, 1, 3600,
	       "seconds for the head of a request"),
	OPTION("limits", "min-rate", CONFIG_NUMBER, http.limits.min_rate, 0, 1000000000,
	       "bytes a second of a body or an answer; 0: none"),
	OPTION("limits", "rate-window", CONFIG_NUMBER, http.limits.rate_window_s, 1, 3600,
	       "seconds over which that is measured"),
	OPTION("limits", "idle-timeout", CONFIG_NUMBER, http.idle_timeout_s, 1, 86400, "seconds"),
	OPTION("limits", "body-memory", CONFIG_SIZE, body_memory, 16 << 20, 0,
	       "of all request bodies that are being collected"),
	OPTION("limits", "failed-logins", CONFIG_NUMBER, failed_logins, 0, 1000000,
	       "wrong passwords from one address in a minute; 0: any number"),
	OPTION("limits", "index-map", CONFIG_SIZE, index_map, 1 << 20, (uint64_t)1 << 40,
	       "address space of the index to start with"),
	OPTION("store", "compress", CONFIG_BOOL, compress, 0, 0,
	       "keep what shrinks by a tenth as zstd"),
	OPTION("store", "min-free", CONFIG_SIZE, min_free, 0, 0,
	       "of the disk; uploads that would leave less are refused"),
	OPTION("store", "sparse-index", CONFIG_BOOL, sparse_index, 0, 0,
	       "take indexes of manifests that are not there"),
	OPTION("quota", "total", CONFIG_SIZE, quota_total, 0, 0,
	       "content of all repositories; 0: no quota"),
	OPTION("store", "hot", CONFIG_SIZE, hot, 0, (uint64_t)1 << 40,
	       "memory for small blobs that are asked for often"),
	OPTION("store", "scrub", CONFIG_NUMBER, scrub_s, 0, 365 * 86400,
	       "seconds between checks of all contents; 0: never"),
	OPTION("store", "scrub-rate", CONFIG_SIZE, scrub_rate, 64 << 10, 0,
	       "bytes a second that such a check reads"),
	OPTION("uploads", "expire", CONFIG_NUMBER, upload_ttl_s, 1, 365 * 86400,
	       "seconds since the last request of an upload session"),
	OPTION("auth", "htpasswd", CONFIG_STRING, htpasswd, 0, 0, "file of users, by htpasswd -B"),
	OPTION("auth", "realm", CONFIG_STRING, realm, 0, 0, "name that clients show"),
	OPTION("auth", "token-realm", CONFIG_STRING, token_realm, 0, 0, "URL of the token service"),
	OPTION("auth", "token-service", CONFIG_STRING, token_service, 0, 0,
	       "what tokens must be for"),
	OPTION("auth", "token-issuer", CONFIG_STRING, token_issuer, 0, 0, "who must issue them"),
	OPTION("auth", "token-keys", CONFIG_STRING, token_keys, 0, 0,
	       "file of certificates or public keys that sign them"),
	OPTION("tls", "certificate", CONFIG_STRING, tls_certificate, 0, 0, "PEM file"),
	OPTION("tls", "key", CONFIG_STRING, tls_key, 0, 0, "PEM file"),
	OPTION("tls", "client-ca", CONFIG_STRING, tls_client_ca, 0, 0, "PEM file"),
	OPTION("tls", "client-crl", CONFIG_STRING, tls_client_crl, 0, 0, "PEM file"),
	OPTION("tls", "client-certificate", CONFIG_STRING, tls_client, 0, 0,
	       "none, optional or required"),
	RULE("pull", "who may pull"),
	RULE("push", "who may push, and pull"),
	RULE("delete", "who may delete"),
	RULE("quota", "content of the repositories that fit, together"),
	OPTION("gc", "interval", CONFIG_NUMBER, collector.interval_s, 0, 365 * 86400,
	       "seconds between collections; 0: only when asked"),
	OPTION("gc", "lease", CONFIG_NUMBER, lease_s, 2, 365 * 86400,
	       "seconds that what was pushed stays before a manifest must name it"),
	OPTION("gc", "untagged", CONFIG_NUMBER, untagged_s, 0, (uint64_t)100 * 365 * 86400,
	       "seconds that a manifest stays without a tag; 0: for ever"),
};

static const char help_text[] =
	"Usage: intinode-serve --listen HOST:PORT --store DIR\n"
	"       intinode-serve stat|fsck|gc [--help] [OPTION]...\n"
	"\n"
	"An OCI registry: skopeo, podman, docker, containerd and intinode push to it and pull\n"
	"from it. Nothing else needs to be set up; what was acknowledged is on disk.\n"
	"\n"
	"  --listen HOST:PORT   where to listen; :5000 for every address, port 0 for a free\n"
	"                       one (default 127.0.0.1:5000)\n"
	"  --store DIR          where to keep everything (default " LOCALSTATEDIR "/lib/intinode)\n"
	"  --port-file FILE     write the address it listens on to FILE\n"
	"  --config FILE        settings (default " CONFIG_DEFAULT ",\n"
	"                       where that exists); the command line wins\n"
	"  --check-config       read the settings, say whether they are right, and exit\n"
	"  --log-level LEVEL    error, warning, info (default, with a line for each request)\n"
	"                       or debug\n"
	"  --help, --version\n"
	"\n"
	"Try it:\n"
	"  intinode-serve --listen 127.0.0.1:5000 --store /tmp/store &\n"
	"  skopeo copy --dest-tls-verify=false oci:DIR:TAG docker://127.0.0.1:5000/name:tag\n"
	"  curl http://127.0.0.1:5000/v2/_catalog\n"
	"\n"
	"The store, also while it is served:\n"
	"  intinode-serve stat   what is in it\n"
	"  intinode-serve fsck   check everything, and repair\n"
	"  intinode-serve gc     remove what nothing refers to\n"
	"\n"
	"SIGTERM ends it when requests in flight are done. More: man intinode-serve\n";

enum {
	OPT_LISTEN = 256,
	OPT_STORE,
	OPT_PORT_FILE,
	OPT_CONFIG,
	OPT_CHECK,
	OPT_LEVEL,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "store", required_argument, NULL, OPT_STORE },
	{ "port-file", required_argument, NULL, OPT_PORT_FILE },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "log-level", required_argument, NULL, OPT_LEVEL },
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

static int set_defaults(struct options *out)
{
	*out = (struct options){
		.http = { .n_workers = 16,
			  .limits = { .total = 16384,
				      .header_timeout_s = 10,
				      .min_rate = 1000,
				      .rate_window_s = 10 },
			  .idle_timeout_s = 60,
			  .access_log = true },
		.drain_s = 10,
		.body_memory = 256 << 20,
		.failed_logins = 30,
		.index_map = (uint64_t)1 << 30,
		.compress = true,
		.min_free = 64 << 20,
		.hot = 64 << 20,
		.scrub_s = 7 * 86400,
		.scrub_rate = 20 << 20,
		.upload_ttl_s = 24 * 3600,
		.lease_s = STORE_LEASE_DEFAULT_S,
		.collector = { .interval_s = 3600 },
	};
	if (set_string(&out->listen, "127.0.0.1:5000") ||
	    set_string(&out->store, LOCALSTATEDIR "/lib/intinode") ||
	    set_string(&out->log_level, "info") || set_string(&out->realm, "intinode") ||
	    set_string(&out->tls_client, "none") || set_string(&out->namespace, ""))
		return -ENOMEM;
	return 0;
}

/* First pass over the command line: what decides whether and what to read. */
static int scan(int argc, char **argv, const char **config, struct options *out,
		enum options_result *result, struct problem *problem)
{
	int c;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_CONFIG:
			*config = optarg;
			break;
		case OPT_CHECK:
			out->check_config = true;
			break;
		case OPT_HELP:
			fputs(help_text, stdout);
			*result = OPTIONS_EXIT;
			return 0;
		case OPT_VERSION:
			puts("intinode-serve " PACKAGE_VERSION);
			*result = OPTIONS_EXIT;
			return 0;
		case '?':
			return problem_set(problem, -EINVAL,
					   "%s: no such option, or its value is missing; --help "
					   "lists them",
					   argv[optind - 1]);
		default:
			break;
		}
	}
	if (optind < argc)
		return problem_set(problem, -EINVAL,
				   "'%s': only options are expected; --help lists them",
				   argv[optind]);
	return 0;
}

static int apply(int argc, char **argv, struct options *out)
{
	int c, r = 0;

	optind = 1;
	while (!r && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == OPT_LISTEN)
			r = set_string(&out->listen, optarg);
		else if (c == OPT_STORE)
			r = set_string(&out->store, optarg);
		else if (c == OPT_PORT_FILE)
			r = set_string(&out->port_file, optarg);
		else if (c == OPT_LEVEL)
			r = set_string(&out->log_level, optarg);
	}
	return r;
}

/* May it stand between quotes in a header? */
static bool is_quotable(const char *text)
{
	for (; text && *text; text++) {
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	}
	return true;
}

static int check_addresses(const struct options *out, struct problem *problem)
{
	size_t len = strlen(out->namespace);
	int r = listen_check(out->listen, problem);

	if (r)
		return problem_prefix(problem, r, "[server] listen");
	r = out->metrics_listen ? listen_check(out->metrics_listen, problem) : 0;
	if (r)
		return problem_prefix(problem, r, "[server] metrics-listen");
	if (len && !host_is_valid(out->namespace, len))
		return problem_set(problem, -EINVAL,
				   "[server] namespace: '%s' is not HOST or HOST:PORT",
				   out->namespace);
	return 0;
}

/* What follows from the strings. */
static int finish(struct options *out, struct problem *problem)
{
	static const char *const clients[] = { "none", "optional", "required" };
	size_t i = 0;
	int r = check_addresses(out, problem);

	if (r)
		return r;
	out->http.listen = out->listen;
	out->http.metrics_listen = out->metrics_listen;
	while (i < ARRAY_SIZE(clients) && strcmp(clients[i], out->tls_client))
		i++;
	if (i == ARRAY_SIZE(clients))
		return problem_set(
			problem, -EINVAL,
			"[tls] client-certificate: none, optional and required are possible");
	if (!out->tls_certificate != !out->tls_key)
		return problem_set(problem, -EINVAL, "[tls] certificate and key belong together");
	if (!is_quotable(out->realm) || !is_quotable(out->token_realm) ||
	    !is_quotable(out->token_service))
		return problem_set(problem, -EINVAL,
				   "[auth] realm, token-realm and token-service: printable ASCII "
				   "without quotes and backslashes");
	if (i && !out->tls_certificate)
		return problem_set(problem, -EINVAL, "[tls] client-certificate needs TLS");
	out->tls = (struct tls_options){ out->tls_certificate, out->tls_key, out->tls_client_ca,
					 out->tls_client_crl, (enum tls_client)i };
	out->access = (struct access_options){
		.htpasswd = out->htpasswd,
		.realm = out->realm,
		.token_realm = out->token_realm,
		.token_service = out->token_service,
		.token_issuer = out->token_issuer,
		.token_keys = out->token_keys,
		.certificates = i > 0,
		/* Half of the threads, so that pushes go on. */
		.verifying_max = out->http.n_workers < 4 ? 1
							 : (unsigned int)out->http.n_workers / 2,
		.failures_max = out->failed_logins,
	};
	return 0;
}

int options_read(int argc, char **argv, struct options *out, enum options_result *result,
		 struct problem *problem)
{
	const char *config = NULL;
	int r = set_defaults(out);

	*result = OPTIONS_RUN;
	if (!r)
		r = scan(argc, argv, &config, out, result, problem);
	if (r || *result == OPTIONS_EXIT)
		return r;
	out->has_file = config || !access(CONFIG_DEFAULT, F_OK);
	if (out->has_file)
		r = config_load(config ? config : CONFIG_DEFAULT, config_table,
				ARRAY_SIZE(config_table), out, problem);
	if (!r)
		r = apply(argc, argv, out);
	if (!r && log_level_parse(out->log_level, &out->level))
		r = problem_set(problem, -EINVAL,
				"log level '%s': error, warning, info and debug are possible",
				out->log_level);
	if (!r)
		r = finish(out, problem);
	out->collector.untagged_s = out->untagged_s ? (int64_t)out->untagged_s : GC_NEVER;
	return r;
}

/* What main.c and the modules it tells of a reload take over in a running server. */
static const char *const live_keys[] = {
	"log level",
	"log access",
	"server drain",
	"limits connections",
	"limits connections-per-address",
	"limits header-timeout",
	"limits min-rate",
	"limits rate-window",
	"limits body-memory",
	"limits failed-logins",
	"quota total",
	"uploads expire",
	"auth htpasswd",
	"auth realm",
	"auth token-realm",
	"auth token-service",
	"auth token-issuer",
	"auth token-keys",
	"tls certificate",
	"tls key",
	"tls client-ca",
	"tls client-crl",
};

static bool is_live(const struct config_option *option)
{
	char name[64];

	snprintf(name, sizeof(name), "%s %s", option->section, option->key);
	for (size_t i = 0; i < ARRAY_SIZE(live_keys); i++) {
		if (!strcmp(live_keys[i], name))
			return true;
	}
	return false;
}

static bool is_same(const struct config_option *option, const void *a, const void *b)
{
	const void *x = (const char *)a + option->offset, *y = (const char *)b + option->offset;

	switch (option->type) {
	case CONFIG_STRING: {
		const char *s = *(char *const *)x, *t = *(char *const *)y;

		return s == t || (s && t && !strcmp(s, t));
	}
	case CONFIG_BOOL:
		return *(const bool *)x == *(const bool *)y;
	case CONFIG_NUMBER:
	case CONFIG_SIZE:
		return *(const uint64_t *)x == *(const uint64_t *)y;
	case CONFIG_CALL:
		break;
	}
	return true; /* its module knows */
}

void options_restart_needed(const struct options *now, const struct options *fresh)
{
	for (size_t i = 0; i < ARRAY_SIZE(config_table); i++) {
		const struct config_option *option = &config_table[i];

		if (!is_live(option) && !is_same(option, now, fresh))
			log_warning("[%s] %s: the new value needs a restart", option->section,
				    option->key);
	}
}

void options_free(struct options *options)
{
	config_free(config_table, ARRAY_SIZE(config_table), options);
	rules_deinit(&options->rules);
	free(options->port_file);
	options->port_file = NULL;
}
