/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the rules that turn references and hints into sources. Loop thread. */
#include "fetchd/source.h"

#include <string.h>
#include <strings.h>

#include "lib/reference.h"

static void source_clear(struct source *source)
{
	free(source->host);
	free(source->repository);
	free(source->namespace);
	free(source->url);
	free(source->region);
	free(source->path);
	*source = (struct source){ .kind = SOURCE_OCI };
}

void source_list_clear(struct source_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		source_clear(&list->entries[i]);
	list->n = 0;
}

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Takes over the strings of @source, also when it is not added. */
static void list_add(struct source_list *list, struct source *source)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct source *have = &list->entries[i];

		if (have->kind == source->kind && text_equal(have->host, source->host) &&
		    text_equal(have->repository, source->repository) &&
		    text_equal(have->namespace, source->namespace) &&
		    text_equal(have->url, source->url) && text_equal(have->path, source->path)) {
			source_clear(source);
			return;
		}
	}
	if (list->n == SOURCES_MAX) {
		source_clear(source);
		return;
	}
	list->entries[list->n++] = *source;
}

/* HOST[:PORT][/PREFIX], which configuration has checked. */
static int add_mirror(struct source_list *list, const char *mirror, const char *host,
		      const char *repository)
{
	const char *slash = strchr(mirror, '/');
	struct source source = { .kind = SOURCE_OCI };

	source.host = slash ? strndup(mirror, (size_t)(slash - mirror)) : strdup(mirror);
	source.repository =
		format_text("%s%s%s", slash ? slash + 1 : "", slash ? "/" : "", repository);
	source.namespace = strdup(host);
	if (!source.host || !source.repository || !source.namespace) {
		source_clear(&source);
		return -ENOMEM;
	}
	list_add(list, &source);
	return 0;
}

static int add_mirrors(struct source_list *list, const char *host, const char *repository,
		       const struct options *options)
{
	const struct registry_rule *rule = options_rule(options, host);
	int r = 0;

	for (size_t i = 0; !r && rule && i < rule->n_mirrors; i++)
		r = add_mirror(list, rule->mirrors[i], host, repository);
	return r;
}

/* s3://BUCKET[/PREFIX]. Return: 0; -EINVAL; -EACCES (no [s3 BUCKET] section); -ENOMEM. */
static int add_bucket(struct source_list *list, const char *reference,
		      const struct options *options)
{
	const char *name = reference + strlen("s3://");
	size_t len = strcspn(name, "/");
	const char *prefix = name[len] ? name + len + 1 : "";
	const struct bucket *bucket = options_bucket(options, name, len);
	struct source source = { .kind = SOURCE_S3 };
	size_t prefix_len = strlen(prefix);

	if (!bucket)
		return -EACCES;
	while (prefix_len && prefix[prefix_len - 1] == '/')
		prefix_len--;
	/* As in a repository: what needs no escape, and no "..". */
	if (prefix_len && !repository_is_valid(prefix, prefix_len))
		return -EINVAL;
	source.host = strdup(bucket->host);
	source.region = strdup(bucket->region);
	source.url = format_text("%s/%s%s%.*s", bucket->endpoint, bucket->name,
				 prefix_len ? "/" : "", (int)prefix_len, prefix);
	if (!source.host || !source.region || !source.url) {
		source_clear(&source);
		return -ENOMEM;
	}
	list_add(list, &source);
	return 0;
}

int source_url(const struct source *source, const struct digest *digest, char **out)
{
	char hex[DIGEST_TEXT_SIZE];

	if (source->kind == SOURCE_S3)
		*out = format_text("%s/sha256/%s", source->url, digest_format_hex(digest, hex));
	else
		*out = strdup(source->url);
	return *out ? 0 : -ENOMEM;
}

int source_add_reference(struct source_list *list, const char *reference,
			 const struct options *options, struct problem *problem)
{
	cleanup_reference struct reference ref = { .host = NULL };
	struct source source = { .kind = SOURCE_OCI };
	int r;

	if (!strncmp(reference, "s3://", 5)) {
		r = add_bucket(list, reference, options);
		return r == -EACCES ? problem_set(problem, -EINVAL,
						  "%s: there is no section [s3 BUCKET] for it",
						  reference)
				    : r;
	}
	r = reference_parse(reference, &ref, problem);
	if (!r && ref.transport == REFERENCE_DOCKER)
		r = add_mirrors(list, ref.host, ref.repository, options);
	if (r)
		return r;
	switch (ref.transport) {
	case REFERENCE_DOCKER:
		source.host = steal_ptr(ref.host);
		source.repository = steal_ptr(ref.repository);
		break;
	case REFERENCE_OCI:
		source.kind = SOURCE_LAYOUT;
		source.path = steal_ptr(ref.path);
		break;
	case REFERENCE_OCI_ARCHIVE:
	case REFERENCE_DIR:
		return problem_set(
			problem, -EINVAL,
			"%s: files cannot be fetched from there; "
			"docker://HOST/REPO, oci:DIR and s3://BUCKET/PREFIX are possible",
			reference);
	}
	list_add(list, &source);
	return 0;
}

static bool host_is_allowed(const char *host, const struct options *options)
{
	const struct registry_rule *rule = options_rule(options, host);

	return rule && rule->allow;
}

/* oci://HOST[:PORT]/REPO */
static int add_oci_hint(struct source_list *list, const char *rest, const struct options *options)
{
	const char *slash = strchr(rest, '/');
	struct source source = { .kind = SOURCE_OCI };

	if (!slash || !host_is_valid(rest, (size_t)(slash - rest)) ||
	    !repository_is_valid(slash + 1, strlen(slash + 1)))
		return -EINVAL;
	source.host = strndup(rest, (size_t)(slash - rest));
	source.repository = strdup(slash + 1);
	if (!source.host || !source.repository) {
		source_clear(&source);
		return -ENOMEM;
	}
	if (!host_is_allowed(source.host, options)) {
		source_clear(&source);
		return -EACCES;
	}
	if (add_mirrors(list, source.host, source.repository, options)) {
		source_clear(&source);
		return -ENOMEM;
	}
	list_add(list, &source);
	return 0;
}

/* https://HOST/PATH/ gets sha256/<hex> behind it; https://HOST/PATH is meant as it is. */
static int add_https_hint(struct source_list *list, const char *url, const struct digest *digest,
			  const struct options *options)
{
	const char *host = url + strlen("https://"), *slash = strchr(host, '/');
	struct source source = { .kind = SOURCE_URL };
	char hex[DIGEST_TEXT_SIZE];

	if (!slash || !host_is_valid(host, (size_t)(slash - host)))
		return -EINVAL;
	source.host = strndup(host, (size_t)(slash - host));
	if (url[strlen(url) - 1] == '/')
		source.url = format_text("%ssha256/%s", url, digest_format_hex(digest, hex));
	else
		source.url = strdup(url);
	if (!source.host || !source.url) {
		source_clear(&source);
		return -ENOMEM;
	}
	if (!host_is_allowed(source.host, options)) {
		source_clear(&source);
		return -EACCES;
	}
	list_add(list, &source);
	return 0;
}

int source_add_hint(struct source_list *list, const char *url, const struct digest *digest,
		    const struct options *options)
{
	char shown[256];
	int r = -ENOTSUP;

	if (!strncmp(url, "oci://", 6))
		r = add_oci_hint(list, url + 6, options);
	else if (!strncmp(url, "https://", 8))
		r = add_https_hint(list, url, digest, options);
	else if (!strncmp(url, "s3://", 5))
		r = add_bucket(list, url, options);
	if (!r || r == -ENOMEM)
		return r;
	log_escape(shown, sizeof(shown), url, strlen(url));
	log_debug("hint %s is passed over: %s", shown,
		  r == -EACCES ? "its host has no [registry] section" : "not a form we can use");
	return 0;
}

static char *copy_text(const char *text, bool *failed)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		*failed = true;
	return copy;
}

int source_copy_all(struct source_list *list, const struct source_list *from)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct source *entry = &from->entries[i];
		bool failed = false;
		struct source source = {
			.kind = entry->kind,
			.host = copy_text(entry->host, &failed),
			.repository = copy_text(entry->repository, &failed),
			.namespace = copy_text(entry->namespace, &failed),
			.url = copy_text(entry->url, &failed),
			.region = copy_text(entry->region, &failed),
			.path = copy_text(entry->path, &failed),
		};

		if (failed) {
			source_clear(&source);
			return -ENOMEM;
		}
		list_add(list, &source);
	}
	return 0;
}

char *source_describe(const struct source *source, char *out, size_t size)
{
	switch (source->kind) {
	case SOURCE_OCI:
		snprintf(out, size, "docker://%s/%s", source->host, source->repository);
		break;
	case SOURCE_URL:
	case SOURCE_S3:
		snprintf(out, size, "%s", source->url);
		break;
	case SOURCE_LAYOUT:
		snprintf(out, size, "oci:%s", source->path);
		break;
	}
	return out;
}
