/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the blobs that are still to come, and the places of those under way. */
#include "fetchd/batch.h"

#include <event2/event.h>
#include <string.h>

enum {
	PLACES = 64, /* the fetches themselves are fewer: some wait in their queue */
	/* Nobody is blocked: a large file may take long, and what stands still ends by itself. */
	TIMEOUT_MS = 24 * 3600 * 1000,
};

struct place {
	struct batch *batch;
	struct fetch_waiter waiter;
	uint64_t size_bytes;
	bool taken;
};

struct batch {
	struct batch_options options; /* blobs: owned */
	struct source_list sources;
	struct event *step; /* owned */
	size_t next;
	unsigned int n_taken;
	struct place places[PLACES];
	struct batch_result result;
};

static void free_batch(struct batch *batch)
{
	if (batch->step)
		event_free(batch->step);
	source_list_clear(&batch->sources);
	free(batch->options.blobs);
	free(batch);
}

/* Not amid a fetch that tells its waiters: in the loop's next turn. */
static void on_fetched(struct fetch_waiter *waiter, int error, const char *problem)
{
	struct place *place = container_of(waiter, struct place, waiter);
	struct batch *batch = place->batch;

	place->taken = false;
	batch->n_taken--;
	if (error) {
		batch->result.failed++;
		snprintf(batch->result.problem, sizeof(batch->result.problem), "%s",
			 problem && *problem ? problem : strerror(-error));
	} else {
		batch->result.fetched++;
		batch->result.bytes += place->size_bytes;
	}
	event_active(batch->step, 0, 0);
}

static struct place *free_place(struct batch *batch)
{
	for (size_t i = 0; i < PLACES; i++) {
		if (!batch->places[i].taken)
			return &batch->places[i];
	}
	return NULL;
}

static void begin(struct batch *batch, struct place *place)
{
	const struct batch_blob *blob = &batch->options.blobs[batch->next++];
	int r;

	place->batch = batch;
	place->waiter = (struct fetch_waiter){ .done = on_fetched, .background = true };
	place->size_bytes = blob->size_bytes;
	r = fetch_wait(batch->options.table, &blob->digest, blob->size_bytes, &batch->sources,
		       now_ms() + TIMEOUT_MS, &place->waiter);
	if (r > 0) {
		batch->result.cached++;
	} else if (r < 0) {
		batch->result.failed++;
		snprintf(batch->result.problem, sizeof(batch->result.problem), "%s", strerror(-r));
	} else {
		place->taken = true;
		batch->n_taken++;
	}
}

static void on_step(evutil_socket_t fd, short what, void *context)
{
	struct batch *batch = context;
	struct place *place;

	(void)fd;
	(void)what;
	while (batch->next < batch->options.n && (place = free_place(batch)))
		begin(batch, place);
	if (batch->next < batch->options.n || batch->n_taken)
		return;
	batch->options.done(batch->options.context, &batch->result);
	free_batch(batch);
}

int batch_new(const struct batch_options *options, struct batch **out)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	int r;

	if (!batch) {
		free(options->blobs);
		return -ENOMEM;
	}
	batch->options = *options;
	batch->step = event_new(options->base, -1, 0, on_step, batch);
	r = batch->step ? source_copy_all(&batch->sources, options->sources) : -ENOMEM;
	if (r) {
		free_batch(batch);
		return r;
	}
	event_active(batch->step, 0, 0);
	*out = batch;
	return 0;
}

void batch_end(struct batch *batch)
{
	if (!batch)
		return;
	for (size_t i = 0; i < PLACES; i++) {
		if (batch->places[i].taken)
			fetch_unwait(batch->options.table, &batch->places[i].waiter);
	}
	free_batch(batch);
}
