/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns a client: its connections, credentials and tokens, and the blocking way to use it.
 * One thread. Uploads are in lib/registry-upload.c, fetches in lib/registry-fetch.c.
 */
#include "lib/registry-internal.h"

#include <string.h>
#include <strings.h>

enum {
	CONNECT_TIMEOUT_MS = 5000,
	STALL_TIMEOUT_MS = 5000,
	RETRIES = 4,
	WAIT_MS = 1000,
	PING_SIZE_MAX = 64 * 1024,
	IGNORED_SIZE_MAX = 64 * 1024, /* of an answer nobody reads */
};

#define ACCEPT_MANIFESTS                                                                        \
	"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                           \
	"application/vnd.docker.distribution.manifest.v2+json"

int registry_new(const struct registry_options *options, struct registry **out,
		 struct problem *problem)
{
	const struct http_options http_options = {
		.ca_file = options->ca_file,
		.insecure = options->insecure,
		.connect_timeout_ms = options->connect_timeout_ms ? options->connect_timeout_ms
								  : CONNECT_TIMEOUT_MS,
		.stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms
							      : STALL_TIMEOUT_MS,
		.dialer_fd = options->dialer_fd,
	};
	struct registry *registry = calloc(1, sizeof(*registry));
	int r = -ENOMEM;

	if (!registry)
		return -ENOMEM;
	registry->plain_http = options->plain_http;
	registry->client.retries = options->retries == 0	    ? RETRIES
				   : options->retries == UINT32_MAX ? 0
								    : options->retries;
	registry->auth = auth_new();
	if (registry->auth)
		r = http_new(&http_options, &registry->client.http, problem);
	registry->client.auth = registry->auth;
	if (!r) {
		registry->client.tokens = token_cache_new(registry->client.http, registry->auth);
		r = registry->client.tokens ? 0 : -ENOMEM;
	}
	if (!r && options->auth_file)
		r = auth_load_file(registry->auth, options->auth_file, problem);
	else if (!r && !options->no_auth_file)
		r = auth_load_default(registry->auth, problem);
	if (r) {
		registry_free(registry);
		return r == -ENOMEM ? r : -EINVAL;
	}
	*out = registry;
	return 0;
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	while (registry->fetches)
		registry_fetch_cancel(registry->fetches);
	token_cache_free(registry->client.tokens);
	http_free(registry->client.http);
	auth_free(registry->auth);
	while (registry->plain_hosts) {
		struct plain_host *host = registry->plain_hosts;

		registry->plain_hosts = host->next;
		free(host);
	}
	free(registry);
}

static int add_plain_host(struct registry *registry, const char *name)
{
	size_t size = strlen(name) + 1;
	struct plain_host *host = malloc(sizeof(*host) + size);

	if (!host)
		return -ENOMEM;
	memcpy(host->name, name, size);
	host->next = registry->plain_hosts;
	registry->plain_hosts = host;
	return 0;
}

int registry_set_host(struct registry *registry, const char *host,
		      const struct registry_host_options *options, struct problem *problem)
{
	int r = 0;

	if (options->plain_http)
		r = add_plain_host(registry, host);
	if (!r && (options->ca_file || options->insecure))
		r = http_set_trust(registry->client.http, host, options->ca_file, options->insecure,
				   problem);
	return r;
}

int registry_set_credentials(struct registry *registry, const char *host, const char *user,
			     const char *password)
{
	token_forget(registry->client.tokens);
	return auth_set(registry->auth, host, user, password);
}

struct registry_host *registry_host(struct registry *registry, const char *name)
{
	struct registry_host *host;

	for (unsigned int i = 0; i < registry->n_hosts; i++) {
		if (!strcmp(registry->hosts[i].name, name))
			return &registry->hosts[i];
	}
	if (registry->n_hosts == REGISTRY_HOSTS_MAX)
		registry->n_hosts = 0;
	host = &registry->hosts[registry->n_hosts++];
	*host = (struct registry_host){ .push_worked = false };
	snprintf(host->name, sizeof(host->name), "%s", name);
	return host;
}

bool registry_uses_http(const struct registry *registry, const char *host)
{
	if (registry->plain_http || host_is_loopback(host))
		return true;
	for (const struct plain_host *plain = registry->plain_hosts; plain; plain = plain->next) {
		if (!strcasecmp(plain->name, host))
			return true;
	}
	return false;
}

static char *build_scope(const char *repository, const char *actions)
{
	if (!actions || !repository)
		return strdup("");
	return format_text("repository:%s:%s", repository, actions);
}

int registry_prepare(const struct registry *registry, struct exchange *ex, const char *host,
		     const char *repository, const char *actions, char *path, char *what,
		     struct problem *problem)
{
	int r = -ENOMEM;

	ex->what = what;
	ex->body_fd = -1;
	if (!host_is_valid(host, strlen(host))) {
		r = problem_set(problem, -EINVAL,
				"not a registry host, as in registry.example:5000");
	} else if (repository && !repository_is_valid(repository, strlen(repository))) {
		r = problem_set(problem, -EINVAL, "docker://%s: not a repository name", host);
	} else if (path && what) {
		ex->url = format_text("%s://%s/v2/%s%s%s",
				      registry_uses_http(registry, host) ? "http" : "https", host,
				      repository ? repository : "", repository ? "/" : "", path);
		ex->host = strdup(host);
		ex->repository = repository ? strdup(repository) : NULL;
		ex->scope = build_scope(repository, actions);
		if (ex->url && ex->host && ex->scope && (!repository || ex->repository))
			r = 0;
	}
	free(path);
	return r;
}

int registry_call(struct registry *registry, struct exchange *ex, struct problem *problem)
{
	int r;

	if (http_is_busy(registry->client.http))
		return problem_set(problem, -EDEADLK, "a blocking call from within a sink");
	r = exchange_start(ex, &registry->client);
	if (r) {
		if (problem)
			*problem = ex->problem;
		return r;
	}
	while (!ex->is_done) {
		r = http_run(registry->client.http, NULL, 0, WAIT_MS);
		if (r && !ex->is_done) {
			exchange_cancel(ex);
			return problem_set(problem, r, "docker://%s: %s", ex->host, strerror(-r));
		}
	}
	if (ex->error && problem)
		*problem = ex->problem;
	return ex->error;
}

int registry_ping(struct registry *registry, const char *host, struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_GET, .size_bytes = PING_SIZE_MAX };
	int r;

	r = registry_prepare(registry, &ex, host, NULL, NULL, strdup(""), strdup("API version 2"),
			     problem);
	if (!r)
		r = registry_call(registry, &ex, problem);
	if (r == -ENOENT)
		return problem_set(problem, -EBADMSG,
				   "docker://%s: an HTTP server, but not a registry (no /v2/)",
				   host);
	return r;
}

void registry_manifest_free(struct registry_manifest *manifest)
{
	free(manifest->media_type);
	free(manifest->bytes);
	*manifest = (struct registry_manifest){ .bytes = NULL };
}

/* Return: 1 a digest, 0 a tag, or -EINVAL. */
static int parse_version(const char *version, struct digest *digest, struct problem *problem)
{
	if (!digest_parse(version, strlen(version), digest))
		return 1;
	if (tag_is_valid(version, strlen(version)))
		return 0;
	return problem_set(problem, -EINVAL, "neither a tag nor a digest that we know");
}

int registry_get_manifest(struct registry *registry, const char *host, const char *repository,
			  const char *version, struct registry_manifest *out,
			  struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_GET,
						.accept = ACCEPT_MANIFESTS,
						.size_bytes = MANIFEST_SIZE_MAX };
	struct digest wanted, got;
	int r, is_digest = parse_version(version, &wanted, problem);

	if (is_digest < 0)
		return is_digest;
	r = registry_prepare(registry, &ex, host, repository, "pull",
			     format_text("manifests/%s", version),
			     format_text("manifest %s", version), problem);
	if (!r)
		r = registry_call(registry, &ex, problem);
	if (r)
		return r;
	if (!ex.n_bytes)
		return problem_set(problem, -EBADMSG, "docker://%s/%s: manifest %s is empty", host,
				   repository, version);
	r = digest_compute(is_digest ? wanted.algorithm : DIGEST_SHA256, ex.bytes, ex.n_bytes,
			   &got);
	if (r)
		return r;
	if (is_digest && !digest_equal(&wanted, &got))
		return problem_set(problem, -EBADMSG,
				   "docker://%s/%s: what was sent as manifest %s has another "
				   "digest; the registry or the way to it changes content",
				   host, repository, version);
	*out = (struct registry_manifest){
		.media_type = ex.content_type_answered ? steal_ptr(ex.content_type_answered)
						       : strdup(""),
		.bytes = steal_ptr(ex.bytes),
		.size_bytes = ex.n_bytes,
		.digest = got,
	};
	if (out->media_type)
		return 0;
	registry_manifest_free(out);
	return -ENOMEM;
}

int registry_put_manifest(struct registry *registry, const char *host, const char *repository,
			  const char *version, const char *media_type, const void *bytes,
			  size_t len, struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_PUT,
						.content_type = media_type,
						.body = bytes,
						.body_size = len,
						.size_bytes = IGNORED_SIZE_MAX };
	struct digest digest;
	int r = parse_version(version, &digest, problem);

	if (r < 0)
		return r;
	r = registry_prepare(registry, &ex, host, repository, "pull,push",
			     format_text("manifests/%s", version),
			     format_text("manifest %s", version), problem);
	return r ? r : registry_call(registry, &ex, problem);
}

int registry_has_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_HEAD };
	struct problem local = { "" };
	char text[DIGEST_TEXT_SIZE];
	int r;

	digest_format(digest, text);
	r = registry_prepare(registry, &ex, host, repository, "pull", format_text("blobs/%s", text),
			     format_text("blob %s", text), problem);
	if (r)
		return r;
	r = registry_call(registry, &ex, &local);
	if (r == -ENOENT)
		return 0;
	return r ? problem_set(problem, r, "%s", problem_text(&local, r)) : 1;
}

/* A sink in front of the caller's that hashes what passes. */
struct checked_sink {
	struct hasher *hasher;
	registry_sink sink;
	void *context;
};

static int sink_checked(void *context, const void *bytes, size_t len)
{
	struct checked_sink *checked = context;
	int r = checked->sink(checked->context, bytes, len);

	if (!r)
		hasher_update(checked->hasher, bytes, len);
	return r == -EAGAIN ? -EIO : r; /* nobody could resume it */
}

int registry_get_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, uint64_t size_bytes, registry_sink sink,
		      void *context, struct problem *problem)
{
	cleanup_hasher struct hasher *hasher = hasher_new(digest->algorithm);
	struct checked_sink checked = { .hasher = hasher, .sink = sink, .context = context };
	cleanup_exchange struct exchange ex = { .method = HTTP_GET,
						.mode = EXCHANGE_STREAM,
						.size_bytes = size_bytes,
						.sink = sink_checked,
						.context = &checked };
	char text[DIGEST_TEXT_SIZE];
	struct digest got;
	int r;

	if (!hasher)
		return -ENOMEM;
	digest_format(digest, text);
	r = registry_prepare(registry, &ex, host, repository, "pull", format_text("blobs/%s", text),
			     format_text("blob %s", text), problem);
	if (!r)
		r = registry_call(registry, &ex, problem);
	if (r)
		return r;
	hasher_final(hasher, &got);
	if (digest_equal(&got, digest))
		return 0;
	return problem_set(problem, -EBADMSG,
			   "docker://%s/%s: what was sent as blob %s has another digest; the "
			   "registry or the way to it changes content",
			   host, repository, text);
}
