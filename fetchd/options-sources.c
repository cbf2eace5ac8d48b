/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what configuration says of sources: registries, their mirrors, buckets of S3. */
#include "fetchd/options-internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/config.h"
#include "lib/reference.h"
#include "lib/url.h"

/* ---- [registry HOST] ---- */

static int rule_for(struct options *options, const char *host, struct registry_rule **out,
		    struct problem *problem)
{
	struct registry_rule *rule;

	if (!host_is_valid(host, strlen(host)))
		return problem_set(problem, -EINVAL, "'%s' is not HOST or HOST:PORT", host);
	for (size_t i = 0; i < options->n_rules; i++) {
		if (!strcasecmp(options->rules[i].host, host)) {
			*out = &options->rules[i];
			return 0;
		}
	}
	if (options->n_rules == REGISTRIES_MAX)
		return problem_set(problem, -E2BIG, "more than %d registries", REGISTRIES_MAX);
	if (!options->rules) {
		options->rules = calloc(REGISTRIES_MAX, sizeof(*options->rules));
		if (!options->rules)
			return -ENOMEM;
	}
	rule = &options->rules[options->n_rules];
	rule->host = strdup(host);
	if (!rule->host)
		return -ENOMEM;
	for (char *p = rule->host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	rule->allow = true;
	options->n_rules++;
	*out = rule;
	return 0;
}

/* HOST[:PORT][/PREFIX] */
static bool mirror_is_valid(const char *text)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	return host_is_valid(text, len) &&
	       (!slash || repository_is_valid(slash + 1, strlen(slash + 1)));
}

static int set_mirrors(struct registry_rule *rule, const char *value, struct problem *problem)
{
	static const char blanks[] = " \t,";

	rule->mirrors = calloc(MIRRORS_MAX, sizeof(*rule->mirrors));
	if (!rule->mirrors)
		return -ENOMEM;
	for (value += strspn(value, blanks); *value; value += strspn(value, blanks)) {
		size_t len = strcspn(value, blanks);
		char *mirror;

		if (rule->n_mirrors == MIRRORS_MAX)
			return problem_set(problem, -E2BIG, "more than %d mirrors", MIRRORS_MAX);
		mirror = strndup(value, len);
		if (!mirror)
			return -ENOMEM;
		rule->mirrors[rule->n_mirrors++] = mirror;
		if (!mirror_is_valid(mirror))
			return problem_set(problem, -EINVAL, "'%s' is not HOST[:PORT][/PREFIX]",
					   mirror);
		value += len;
	}
	return 0;
}

int options_set_registry(void *target, const char *host, const char *key, const char *value,
			 struct problem *problem)
{
	struct registry_rule *rule = NULL;
	int r = rule_for(target, host, &rule, problem);
	bool *flag;

	if (r)
		return r;
	if (!strcmp(key, "ca-file")) {
		free(rule->ca_file);
		rule->ca_file = strdup(value);
		if (!rule->ca_file)
			return -ENOMEM;
		return access(value, R_OK)
			       ? problem_set(problem, -EINVAL, "%s: %s", value, strerror(errno))
			       : 0;
	}
	if (!strcmp(key, "mirrors"))
		return set_mirrors(rule, value, problem);
	flag = !strcmp(key, "allow")	    ? &rule->allow
	       : !strcmp(key, "plain-http") ? &rule->plain_http
					    : &rule->insecure;
	return config_parse_bool(value, flag)
		       ? problem_set(problem, -EINVAL, "'%s' is neither yes nor no", value)
		       : 0;
}

const struct registry_rule *options_rule(const struct options *options, const char *host)
{
	for (size_t i = 0; i < options->n_rules; i++) {
		if (!strcasecmp(options->rules[i].host, host))
			return &options->rules[i];
	}
	return NULL;
}

/* ---- [s3 BUCKET] ---- */

const struct bucket *options_bucket(const struct options *options, const char *name, size_t len)
{
	for (size_t i = 0; i < options->n_buckets; i++) {
		const struct bucket *bucket = &options->buckets[i];

		if (strlen(bucket->name) == len && !memcmp(bucket->name, name, len))
			return bucket;
	}
	return NULL;
}

/* Amazon's rules, and Ceph's: what may be in a name needs no escape in a path. */
static bool bucket_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 3 && len <= 63 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len && name[0] != '.' &&
	       name[0] != '-';
}

static int bucket_for(struct options *options, const char *name, struct bucket **out,
		      struct problem *problem)
{
	struct bucket *bucket;

	if (!bucket_is_valid(name))
		return problem_set(
			problem, -EINVAL,
			"'%s' is not the name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'", name);
	for (size_t i = 0; i < options->n_buckets; i++) {
		if (!strcmp(options->buckets[i].name, name)) {
			*out = &options->buckets[i];
			return 0;
		}
	}
	if (options->n_buckets == BUCKETS_MAX)
		return problem_set(problem, -E2BIG, "more than %d buckets", BUCKETS_MAX);
	if (!options->buckets)
		options->buckets = calloc(BUCKETS_MAX, sizeof(*options->buckets));
	if (!options->buckets)
		return -ENOMEM;
	bucket = &options->buckets[options->n_buckets];
	bucket->name = strdup(name);
	bucket->region = strdup("us-east-1");
	options->n_buckets++;
	if (!bucket->name || !bucket->region)
		return -ENOMEM;
	*out = bucket;
	return 0;
}

static int set_endpoint(struct bucket *bucket, const char *value, struct problem *problem)
{
	char host[HOST_MAX + 8];
	struct origin origin;

	if (origin_parse(value, &origin))
		return problem_set(problem, -EINVAL, "'%s' is not https://HOST[:PORT]", value);
	free(bucket->endpoint);
	free(bucket->host);
	origin_format(&origin, host);
	bucket->host = strdup(host);
	bucket->endpoint = format_text("%s://%s", origin.https ? "https" : "http", host);
	return bucket->host && bucket->endpoint ? 0 : -ENOMEM;
}

int options_set_bucket(void *target, const char *name, const char *key, const char *value,
		       struct problem *problem)
{
	struct bucket *bucket = NULL;
	int r = bucket_for(target, name, &bucket, problem);

	if (r)
		return r;
	if (!strcmp(key, "endpoint"))
		return set_endpoint(bucket, value, problem);
	if (strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(value) || !*value)
		return problem_set(problem, -EINVAL, "'%s' is not a region, as eu-west-1 is",
				   value);
	free(bucket->region);
	bucket->region = strdup(value);
	return bucket->region ? 0 : -ENOMEM;
}

int options_check_sources(const struct options *options, struct problem *problem)
{
	for (size_t i = 0; i < options->n_buckets; i++) {
		const struct bucket *bucket = &options->buckets[i];

		if (!bucket->endpoint)
			return problem_set(problem, -EINVAL, "[s3 %s] needs an endpoint",
					   bucket->name);
	}
	return 0;
}

void options_free_sources(struct options *options)
{
	for (size_t i = 0; i < options->n_rules; i++) {
		struct registry_rule *rule = &options->rules[i];

		for (size_t k = 0; k < rule->n_mirrors; k++)
			free(rule->mirrors[k]);
		free(rule->mirrors);
		free(rule->host);
		free(rule->ca_file);
	}
	for (size_t i = 0; i < options->n_buckets; i++) {
		free(options->buckets[i].name);
		free(options->buckets[i].endpoint);
		free(options->buckets[i].host);
		free(options->buckets[i].region);
	}
	free(options->rules);
	free(options->buckets);
}
