/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what is asked of the cache over the control socket: room, damage, pins. Loop thread. */
#include "fetchd/controlserver-internal.h"

#include <string.h>

#include "lib/control.h"

static void on_evicted(void *context, uint64_t files, uint64_t bytes)
{
	struct controlserver *server = context;
	struct client *client = server->evicts;

	server->evicts = NULL;
	if (!client)
		return;
	control_reply(client, json_pack("{s:b, s:I, s:I}", "ok", 1, "files", (json_int_t)files,
					"bytes", (json_int_t)bytes));
	control_resume(client);
}

void control_evict(struct client *client, const json_t *request)
{
	struct controlserver *server = client->server;
	uint64_t bytes = UINT64_MAX;
	int r = -EBUSY;

	if (json_object_get(request, "bytes") && json_get_size(request, "bytes", &bytes)) {
		control_reply_error(client, -EINVAL, "\"bytes\" is a number");
		return;
	}
	if (!server->evicts)
		r = space_shrink(server->supervisor->space, bytes, on_evicted, server);
	if (r) {
		control_reply_error(client, r, "room is being made already; try again");
		return;
	}
	server->evicts = client;
	client->waiting = true;
}

static int get_digest(const json_t *value, struct digest *out)
{
	const char *text = json_string_value(value);

	if (!text || digest_parse(text, strlen(text), out) || out->algorithm != DIGEST_SHA256)
		return -EINVAL;
	return 0;
}

static void on_discarded(void *context, int error)
{
	struct controlserver *server = context;
	struct client *client = server->discards;

	server->discards = NULL;
	server->discarding = false;
	if (!client)
		return;
	if (error)
		control_reply_error(client, error, NULL);
	else
		control_reply(client, json_pack("{s:b}", "ok", 1));
	control_resume(client);
}

void control_discard(struct client *client, const json_t *request)
{
	struct controlserver *server = client->server;
	struct digest digest;
	int r = get_digest(json_object_get(request, "digest"), &digest);

	if (!r && server->discarding)
		r = -EBUSY;
	if (!r)
		r = space_discard(server->supervisor->space, &digest, on_discarded, server);
	if (r) {
		control_reply_error(client, r,
				    r == -EBUSY ? "another one is being discarded; try again"
						: NULL);
		return;
	}
	server->discarding = true;
	server->discards = client;
	client->waiting = true;
}

static void on_prefetched(void *context, const struct batch_result *result)
{
	struct client *client = context;

	client->batch = NULL;
	control_reply(client,
		      json_pack("{s:b, s:I, s:I, s:I, s:I, s:s}", "ok", 1, "fetched",
				(json_int_t)result->fetched, "cached", (json_int_t)result->cached,
				"failed", (json_int_t)result->failed, "bytes",
				(json_int_t)result->bytes, "problem", result->problem));
	control_resume(client);
}

/* Return: an array, or NULL. */
static struct batch_blob *parse_blobs(const json_t *list, size_t n)
{
	struct batch_blob *blobs = calloc(n + 1, sizeof(*blobs));

	for (size_t i = 0; blobs && i < n; i++) {
		const json_t *entry = json_array_get(list, i), *size = json_array_get(entry, 1);

		if (get_digest(json_array_get(entry, 0), &blobs[i].digest) ||
		    !json_is_integer(size) || json_integer_value(size) < 0)
			free(steal_ptr(blobs));
		else
			blobs[i].size_bytes = (uint64_t)json_integer_value(size);
	}
	return blobs;
}

void control_prefetch(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	const json_t *list = json_object_get(request, "blobs");
	struct source_list sources = { .n = 0 };
	struct problem problem = { "" };
	struct batch_options options = {
		.base = sv->base,
		.table = sv->fetches,
		.n = json_array_size(list),
		.sources = &sources,
		.done = on_prefetched,
		.context = client,
	};
	int r = control_sources(client, request, NULL, &sources, &problem);

	if (!r) {
		options.blobs = parse_blobs(list, options.n);
		r = options.blobs ? batch_new(&options, &client->batch) : -EINVAL;
	}
	source_list_clear(&sources);
	if (r)
		control_reply_error(client, r, problem.text);
	else
		client->waiting = true;
}

static int add_digest(struct digest_list *list, const struct digest *digest)
{
	if (list->n == PIN_DIGESTS_MAX)
		return -E2BIG;
	if (list->n == list->max) {
		size_t max = list->max ? 2 * list->max : 1024;
		struct digest *grown = realloc(list->digests, max * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->digests = grown;
		list->max = max;
	}
	list->digests[list->n++] = *digest;
	return 0;
}

static void forget_digests(struct client *client)
{
	free(client->to_pin.digests);
	client->to_pin = (struct digest_list){ .n = 0 };
}

void control_pin(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	const json_t *digests = json_object_get(request, "digests");
	const char *name = json_get_string(request, "name") ?: "";
	struct problem problem = { "" };
	struct digest digest;
	int r = 0;

	for (size_t i = 0; !r && i < json_array_size(digests); i++) {
		r = get_digest(json_array_get(digests, i), &digest);
		if (!r)
			r = add_digest(&client->to_pin, &digest);
	}
	if (!r && json_is_true(json_object_get(request, "more"))) {
		control_reply(client, json_pack("{s:b}", "ok", 1));
		return;
	}
	if (!r)
		r = pins_set(sv->pins, name, client->to_pin.digests, client->to_pin.n, &problem);
	if (r)
		control_reply_error(client, r, problem_text(&problem, r));
	else
		control_reply(client, json_pack("{s:b, s:I}", "ok", 1, "digests",
						(json_int_t)client->to_pin.n));
	forget_digests(client);
}

void control_unpin(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	int r = pins_remove(sv->pins, json_get_string(request, "name") ?: "");

	if (r)
		control_reply_error(client, r,
				    r == -ENOENT ? "nothing is pinned by that name" : NULL);
	else
		control_reply(client, json_pack("{s:b}", "ok", 1));
}

void control_pins(struct client *client, const json_t *request)
{
	(void)request;
	control_reply(client, json_pack("{s:b, s:o}", "ok", 1, "pins",
					pins_describe(client->server->supervisor->pins)));
}
