/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the fetches that run side by side in one client. The client's thread; never blocks. */
#include <string.h>

#include "lib/registry-internal.h"

struct registry_fetch {
	struct exchange exchange;
	struct registry *registry;
	struct registry_fetch *next, *prev;
	void (*done)(struct registry_fetch *fetch, void *context);
	void *context;
};

static void fetch_free(struct registry_fetch *fetch)
{
	exchange_clear(&fetch->exchange);
	free(fetch);
}

static void on_fetch_done(struct exchange *ex)
{
	struct registry_fetch *fetch = container_of(ex, struct registry_fetch, exchange);
	struct registry *registry = fetch->registry;

	if (fetch->next)
		fetch->next->prev = fetch->prev;
	if (fetch->prev)
		fetch->prev->next = fetch->next;
	else
		registry->fetches = fetch->next;
	registry->n_fetches--;
	fetch->done(fetch, fetch->context);
	fetch_free(fetch);
}

/* A URL of no registry: http only where that is allowed for the host. */
static int prepare_url(const struct registry *registry, struct exchange *ex, const char *url,
		       char *what)
{
	char host[HOST_MAX + 8];
	struct origin origin;
	int r;

	ex->what = what;
	ex->body_fd = -1;
	ex->is_plain_url = true;
	r = origin_parse(url, &origin);
	if (r)
		return r;
	origin_format(&origin, host);
	if (!origin.https && !registry_uses_http(registry, host))
		return -EINVAL;
	ex->url = strdup(url);
	ex->host = strdup(host);
	ex->scope = strdup("");
	return ex->url && ex->host && ex->scope && ex->what ? 0 : -ENOMEM;
}

int registry_fetch_start(struct registry *registry, const struct registry_fetch_request *request,
			 struct registry_fetch **out)
{
	struct registry_fetch *fetch;
	char digest[DIGEST_TEXT_SIZE];
	struct exchange *ex;
	char *what;
	int r;

	if (request->offset > request->size_bytes ||
	    (request->offset && request->offset == request->size_bytes))
		return -EINVAL;
	fetch = calloc(1, sizeof(*fetch));
	if (!fetch)
		return -ENOMEM;
	fetch->registry = registry;
	fetch->done = request->done;
	fetch->context = request->context;
	ex = &fetch->exchange;
	ex->method = HTTP_GET;
	ex->mode = EXCHANGE_STREAM;
	ex->size_bytes = request->size_bytes;
	ex->offset = request->offset;
	ex->sink = request->sink;
	ex->context = request->context;
	ex->deadline_ms = request->deadline_ms;
	ex->on_done = on_fetch_done;
	digest_format(&request->digest, digest);
	what = format_text("blob %s", digest);
	if (request->url)
		r = prepare_url(registry, ex, request->url, what);
	else
		r = registry_prepare(registry, ex, request->host, request->repository, "pull",
				     format_text("blobs/%s%s%s", digest,
						 request->namespace ? "?ns=" : "",
						 request->namespace ? request->namespace : ""),
				     what, NULL);
	if (!r && request->s3_region && !(ex->s3_region = strdup(request->s3_region)))
		r = -ENOMEM;
	if (!r)
		r = exchange_start(ex, &registry->client);
	if (r) {
		fetch_free(fetch);
		return r;
	}
	fetch->next = registry->fetches;
	if (fetch->next)
		fetch->next->prev = fetch;
	registry->fetches = fetch;
	registry->n_fetches++;
	*out = fetch;
	return 0;
}

void registry_fetch_resume(struct registry_fetch *fetch)
{
	exchange_resume(&fetch->exchange);
}

void registry_fetch_cancel(struct registry_fetch *fetch)
{
	exchange_cancel(&fetch->exchange);
}

int registry_fetch_error(const struct registry_fetch *fetch)
{
	return fetch->exchange.error;
}

const char *registry_fetch_problem(const struct registry_fetch *fetch)
{
	return problem_text(&fetch->exchange.problem, fetch->exchange.error);
}

uint64_t registry_fetch_wire_bytes(const struct registry_fetch *fetch)
{
	return fetch->exchange.wire_bytes;
}

uint64_t registry_fetch_bytes(const struct registry_fetch *fetch)
{
	return fetch->exchange.delivered - fetch->exchange.offset;
}

int64_t registry_fetch_retry_after_ms(const struct registry_fetch *fetch)
{
	return fetch->exchange.retry_after_ms;
}

int registry_run(struct registry *registry, struct pollfd *extra, unsigned int n_extra,
		 int timeout_ms)
{
	int r = http_run(registry->client.http, extra, n_extra, timeout_ms);

	return r ? r : registry->n_fetches;
}
