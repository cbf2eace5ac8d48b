/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the pipeline of one layer: source (download, uncompress) -> thinner (hash, walk, hash
 * files) -> compressor. Each is a thread, the middle one the caller's; channels between them
 * bound the memory. An error goes both ways: readers see it behind the last byte, writers
 * at their next write, and the first one is what is reported.
 */
#include "client/thinlayer.h"

#include <string.h>

#include "lib/channel.h"

struct pipeline {
	const struct thin_layer_options *options;
	const struct layer_source *source;
	thin_layer_blob blob;
	void *context;
	struct channel *full, *thin; /* owned */
	struct failure failure;
	struct thin_layer *out;
	int thin_fd; /* owned: the compressed thin layer */
};

static int write_full(void *context, const void *bytes, size_t len)
{
	struct pipeline *pipeline = context;

	return channel_write(pipeline->full, bytes, len);
}

static void *source_thread(void *arg)
{
	struct pipeline *pipeline = arg;
	struct problem problem = { .text = "" };
	int r = pipeline->source->produce(pipeline->source->context, write_full, pipeline,
					  &problem);

	failure_set(&pipeline->failure, r, &problem);
	channel_end(pipeline->full, r);
	return NULL;
}

/* ---- the compressor's thread ---- */

struct packed {
	int fd;
	struct hasher *hasher;
	uint64_t size_bytes;
};

static int write_packed(void *context, const void *bytes, size_t len)
{
	struct packed *packed = context;

	hasher_update(packed->hasher, bytes, len);
	packed->size_bytes += len;
	return write_all(packed->fd, bytes, len);
}

static int compress_all(struct pipeline *pipeline, struct hasher *plain, struct packed *packed)
{
	cleanup_compressor struct compressor *compressor =
		compressor_new(pipeline->options->compression, pipeline->options->level);
	const void *bytes;
	size_t len;
	int r;

	if (!compressor || !plain || !packed->hasher)
		return -ENOMEM;
	while ((r = channel_read(pipeline->thin, &bytes, &len)) > 0) {
		hasher_update(plain, bytes, len);
		r = compressor_feed(compressor, bytes, len, write_packed, packed);
		if (r)
			return r;
	}
	return r ? r : compressor_finish(compressor, write_packed, packed);
}

static void *compress_thread(void *arg)
{
	struct pipeline *pipeline = arg;
	cleanup_hasher struct hasher *plain = hasher_new(DIGEST_SHA256);
	cleanup_hasher struct hasher *hasher = hasher_new(DIGEST_SHA256);
	struct packed packed = { .fd = pipeline->thin_fd, .hasher = hasher };
	struct problem problem = { .text = "" };
	int r = compress_all(pipeline, plain, &packed);

	if (r) {
		problem_set(&problem, r, "temporary file of the thin layer: %s", strerror(-r));
		failure_set(&pipeline->failure, r, &problem);
		channel_give_up(pipeline->thin, r);
		return NULL;
	}
	hasher_final(plain, &pipeline->out->diff_id);
	hasher_final(hasher, &pipeline->out->content.digest);
	pipeline->out->content.size_bytes = packed.size_bytes;
	return NULL;
}

/* ---- the caller's thread ---- */

static int write_thin(void *context, const void *bytes, size_t len)
{
	struct pipeline *pipeline = context;

	return channel_write(pipeline->thin, bytes, len);
}

static int take_blob(void *context, struct content *content)
{
	struct pipeline *pipeline = context;

	return pipeline->blob(pipeline->context, content);
}

static const struct thin_handler thin_events = { .output = write_thin, .blob = take_blob };

static int feed_thinner(struct pipeline *pipeline, struct thinner *thinner, struct problem *problem)
{
	cleanup_hasher struct hasher *hasher = hasher_new(DIGEST_SHA256);
	const void *bytes;
	size_t len;
	int r;

	if (!hasher)
		return -ENOMEM;
	while ((r = channel_read(pipeline->full, &bytes, &len)) > 0) {
		hasher_update(hasher, bytes, len);
		pipeline->out->full_bytes += len;
		r = thinner_feed(thinner, bytes, len, problem);
		if (r)
			return r;
	}
	if (!r)
		r = thinner_finish(thinner, problem);
	hasher_final(hasher, &pipeline->out->full_diff_id);
	return r;
}

static void run_thinner(struct pipeline *pipeline)
{
	struct problem problem = { .text = "" };
	struct thinner *thinner = NULL;
	int r = thinner_new(&pipeline->options->thin, &thin_events, pipeline, &thinner, &problem);

	if (!r)
		r = feed_thinner(pipeline, thinner, &problem);
	if (!r)
		thinner_counts(thinner, &pipeline->out->counts);
	thinner_free(thinner);
	failure_set(&pipeline->failure, r, &problem);
	if (r)
		channel_give_up(pipeline->full, r);
	channel_end(pipeline->thin, r);
}

static int run_pipeline(struct pipeline *pipeline, struct problem *problem)
{
	pthread_t source, compress;

	if (pthread_create(&source, NULL, source_thread, pipeline))
		return problem_set(problem, -EAGAIN, "no more threads can be started");
	if (pthread_create(&compress, NULL, compress_thread, pipeline)) {
		channel_give_up(pipeline->full, -EAGAIN);
		pthread_join(source, NULL);
		return problem_set(problem, -EAGAIN, "no more threads can be started");
	}
	run_thinner(pipeline);
	pthread_join(source, NULL);
	pthread_join(compress, NULL);
	return failure_get(&pipeline->failure, problem);
}

static int open_thin_file(struct pipeline *pipeline, struct problem *problem)
{
	cleanup_spool struct spool *spool = NULL;
	int r = spool_new(pipeline->options->thin.temp_dir, &spool, problem);

	if (!r)
		pipeline->thin_fd = spool_temp_file(spool, problem);
	return r ? r : pipeline->thin_fd < 0 ? pipeline->thin_fd : 0;
}

int thin_layer_make(const struct thin_layer_options *options, const struct layer_source *source,
		    thin_layer_blob blob, void *context, struct thin_layer *out,
		    struct problem *problem)
{
	struct pipeline pipeline = {
		.options = options,
		.source = source,
		.blob = blob,
		.context = context,
		.out = out,
		.thin_fd = -1,
		.full = channel_new(),
		.thin = channel_new(),
	};
	int r = pipeline.full && pipeline.thin ? 0 : -ENOMEM;

	*out = (struct thin_layer){ .content = CONTENT_EMPTY };
	failure_init(&pipeline.failure);
	if (!r)
		r = open_thin_file(&pipeline, problem);
	if (!r)
		r = run_pipeline(&pipeline, problem);
	channel_free(pipeline.full);
	channel_free(pipeline.thin);
	if (!r)
		out->content.fd = steal_fd(&pipeline.thin_fd);
	if (pipeline.thin_fd >= 0)
		close(pipeline.thin_fd);
	return r;
}
