/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the restoring of one layer. The caller's thread downloads and walks the thin layer and
 * cuts the full one into segments: bytes it has, and contents to be fetched. The pool's
 * threads fetch these in any order; the writer's thread takes the segments in theirs. The
 * queue between them is bounded in number and in bytes.
 */
#include "client/thicklayer.h"

#include <string.h>

#include "client/thickqueue.h"
#include "lib/thin.h"

enum { RAW_BYTES = 64 * 1024 /* of a segment that is not a content */ };

struct layer {
	struct thick_queue queue;
	struct thick_run *run; /* borrowed */
	struct thick_layer *out;
	struct segment *filling; /* owned by the producer: raw bytes not yet pushed */
	struct problem problem;	 /* producer: of the walk, which explains more than the transfer */
	struct thickener *thickener;
	struct decompressor *decompressor;
	int fd; /* owned: the full layer */
};

/* ---- the pool's threads ---- */

struct fetcher {
	struct image_store *store;
	struct spool *spool;
};

static void end_fetcher(void *state)
{
	struct fetcher *fetcher = state;

	image_store_close(fetcher->store);
	spool_free(fetcher->spool);
	free(fetcher);
}

static int begin_fetcher(void *context, void **state, struct problem *problem)
{
	struct thick_run *run = context;
	struct fetcher *fetcher = calloc(1, sizeof(*fetcher));
	int r;

	if (!fetcher)
		return -ENOMEM;
	r = spool_new(run->temp_dir, &fetcher->spool, problem);
	if (!r)
		r = image_store_clone(run->src, &fetcher->store, problem);
	if (r)
		end_fetcher(fetcher);
	else
		*state = fetcher;
	return r;
}

struct fetch {
	struct fetcher *fetcher;
	struct problem problem;
};

static int take_bytes(void *context, const void *bytes, size_t len)
{
	struct fetch *fetch = context;

	return spool_write(fetch->fetcher->spool, bytes, len, &fetch->problem);
}

static int fetch_content(struct fetcher *fetcher, struct segment *segment, struct problem *problem)
{
	struct fetch fetch = { .fetcher = fetcher };
	int r = spool_begin(fetcher->spool, segment->size_bytes, problem);

	if (r)
		return r;
	r = image_get_blob(fetcher->store, &segment->digest, segment->size_bytes, take_bytes,
			   &fetch, problem);
	if (r) {
		if (fetch.problem.text[0])
			*problem = fetch.problem;
		return r;
	}
	r = spool_end(fetcher->spool, &segment->content);
	if (!r && !digest_equal(&segment->content.digest, &segment->digest))
		r = problem_set(problem, -EBADMSG, "its content has another digest");
	return r;
}

static int run_fetch(void *context, void *state, void *job, struct problem *problem)
{
	struct segment *segment = job;
	int r = fetch_content(state, segment, problem);
	char shown[256];

	(void)context;
	if (r) {
		log_escape(shown, sizeof(shown), segment->path, strlen(segment->path));
		problem_prefix(problem, r, "'%s'", shown);
		/* Before segment_settle(): this is the reason, whatever the writer says then. */
		failure_set(&segment->queue->failure, r, problem);
	}
	segment_settle(segment, r);
	return r;
}

static void drop_fetch(void *job)
{
	segment_settle(job, -ECANCELED);
}

int thick_fetchers_new(struct thick_run *run, unsigned int n_threads, struct problem *problem)
{
	struct pool_options options = {
		.n_threads = n_threads,
		.max_jobs = SEGMENTS_MAX,
		.max_bytes = UINT64_MAX, /* the queue bounds them */
		.context = run,
		.failure = run->failure,
		.begin = begin_fetcher,
		.end = end_fetcher,
		.run = run_fetch,
		.drop = drop_fetch,
	};
	int r = pool_new(&options, &run->fetchers);

	return r ? problem_set(problem, r, "%u threads: %s", n_threads, strerror(-r)) : 0;
}

/* ---- the writer's thread ---- */

struct writer {
	struct layer *layer;
	struct compressor *compressor;
	struct hasher *full, *packed;
};

static int write_packed(void *context, const void *bytes, size_t len)
{
	struct writer *writer = context;

	if (writer->layer->run->compression != OCI_UNCOMPRESSED)
		hasher_update(writer->packed, bytes, len);
	writer->layer->out->content.size_bytes += len;
	return write_all(writer->layer->fd, bytes, len);
}

static int write_full(void *context, const void *bytes, size_t len)
{
	struct writer *writer = context;

	hasher_update(writer->full, bytes, len);
	writer->layer->out->full_bytes += len;
	progress_add(writer->layer->run->progress, (int64_t)len);
	return compressor_feed(writer->compressor, bytes, len, write_packed, writer);
}

static int write_segments(struct writer *writer)
{
	struct segment *segment = NULL;
	int r;

	while ((r = thick_queue_next(&writer->layer->queue, &segment)) > 0) {
		if (segment->raw)
			r = write_full(writer, segment->raw, segment->raw_len);
		else
			r = content_copy(&segment->content, write_full, writer);
		segment_free(segment);
		if (r)
			return r;
	}
	return r ? r : compressor_finish(writer->compressor, write_packed, writer);
}

static void *writer_thread(void *arg)
{
	struct layer *layer = arg;
	cleanup_compressor struct compressor *compressor =
		compressor_new(layer->run->compression, layer->run->level);
	cleanup_hasher struct hasher *full = hasher_new(DIGEST_SHA256);
	cleanup_hasher struct hasher *packed = hasher_new(DIGEST_SHA256);
	struct writer writer = {
		.layer = layer,
		.compressor = compressor,
		.full = full,
		.packed = packed,
	};
	int r = compressor && full && packed ? write_segments(&writer) : -ENOMEM;
	struct problem problem;

	if (r) {
		problem_set(&problem, r, "temporary file of the layer: %s", strerror(-r));
		thick_queue_fail(&layer->queue, r, &problem);
		return NULL;
	}
	hasher_final(full, &layer->out->diff_id);
	if (layer->run->compression == OCI_UNCOMPRESSED)
		layer->out->content.digest = layer->out->diff_id;
	else
		hasher_final(packed, &layer->out->content.digest);
	return NULL;
}

/* ---- the caller's thread ---- */

static int push_filling(struct layer *layer)
{
	struct segment *segment = steal_ptr(layer->filling);

	if (!segment)
		return 0;
	segment->ready = true;
	return thick_queue_push(&layer->queue, segment);
}

static int output_raw(void *context, const void *bytes, size_t len)
{
	struct layer *layer = context;
	const char *p = bytes;

	while (len > 0) {
		struct segment *segment = layer->filling;
		size_t n;

		if (!segment) {
			segment = layer->filling = segment_new(&layer->queue);
			if (!segment)
				return -ENOMEM;
			segment->raw = malloc(RAW_BYTES);
			if (!segment->raw)
				return -ENOMEM;
		}
		n = RAW_BYTES - segment->raw_len;
		if (n > len)
			n = len;
		memcpy(segment->raw + segment->raw_len, p, n);
		segment->raw_len += n;
		p += n;
		len -= n;
		if (segment->raw_len == RAW_BYTES) {
			int r = push_filling(layer);

			if (r)
				return r;
		}
	}
	return 0;
}

static int output_blob(void *context, const struct stub *stub, const char *path)
{
	struct layer *layer = context;
	struct segment *segment;
	int r = push_filling(layer);

	if (r)
		return r;
	segment = segment_new(&layer->queue);
	if (!segment)
		return -ENOMEM;
	segment->digest.algorithm = DIGEST_SHA256;
	memcpy(segment->digest.bytes, stub->sha256, SHA256_BYTES);
	segment->size_bytes = stub->size_bytes;
	segment->path = strdup(path);
	if (!segment->path) {
		segment_free(segment);
		return -ENOMEM;
	}
	r = thick_queue_push(&layer->queue, segment);
	/* From here on the queue owns it, and the pool settles it whatever happens. */
	return r ? r : pool_submit(layer->run->fetchers, segment, 0);
}

static const struct thick_handler thick_events = { .output = output_raw, .blob = output_blob };

static int feed_plain(void *context, const void *bytes, size_t len)
{
	struct layer *layer = context;

	return thickener_feed(layer->thickener, bytes, len, &layer->problem);
}

static int feed_packed(void *context, const void *bytes, size_t len)
{
	struct layer *layer = context;

	return decompressor_feed(layer->decompressor, bytes, len, feed_plain, layer,
				 &layer->problem);
}

static int read_thin(struct layer *layer, const struct oci_descriptor *descriptor,
		     struct problem *problem)
{
	int r;

	r = image_get_blob(layer->run->src, &descriptor->digest, descriptor->size_bytes,
			   feed_packed, layer, problem);
	if (r && layer->problem.text[0])
		*problem = layer->problem;
	if (!r)
		r = decompressor_finish(layer->decompressor, problem);
	if (!r)
		r = thickener_finish(layer->thickener, problem);
	return r ? r : push_filling(layer);
}

static int run_layer(struct layer *layer, const struct oci_descriptor *descriptor,
		     struct problem *problem)
{
	pthread_t writer;
	int r;

	if (pthread_create(&writer, NULL, writer_thread, layer))
		return problem_set(problem, -EAGAIN, "no more threads can be started");
	r = read_thin(layer, descriptor, problem);
	if (r)
		thick_queue_fail(&layer->queue, r, problem);
	thick_queue_end(&layer->queue);
	pthread_join(writer, NULL);
	/* After this no fetcher looks at a segment any more. */
	r = pool_drain(layer->run->fetchers);
	segment_free(layer->filling);
	/* What went wrong in this layer has words of its own; the pool's may be older. */
	return failure_get(&layer->queue.failure, problem) ?: r;
}

static int layer_init(struct layer *layer, const struct oci_descriptor *descriptor,
		      struct problem *problem)
{
	enum oci_compression compression;
	cleanup_spool struct spool *spool = NULL;
	int r = oci_layer_compression(descriptor->media_type, &compression);

	if (r)
		return problem_set(problem, r, "its media type is not one of a layer");
	layer->decompressor = decompressor_new(compression);
	layer->thickener = thickener_new(&thick_events, layer);
	if (!layer->decompressor || !layer->thickener)
		return -ENOMEM;
	r = spool_new(layer->run->temp_dir, &spool, problem);
	if (!r)
		layer->fd = spool_temp_file(spool, problem);
	return r ? r : layer->fd < 0 ? layer->fd : 0;
}

int thick_layer_make(struct thick_run *run, const struct oci_descriptor *descriptor,
		     struct thick_layer *out, struct problem *problem)
{
	struct layer layer = { .run = run, .out = out, .fd = -1 };
	int r;

	*out = (struct thick_layer){ .content = CONTENT_EMPTY };
	thick_queue_init(&layer.queue);
	r = layer_init(&layer, descriptor, problem);
	if (!r)
		r = run_layer(&layer, descriptor, problem);
	if (!r)
		out->content.fd = steal_fd(&layer.fd);
	if (layer.fd >= 0)
		close(layer.fd);
	decompressor_free(layer.decompressor);
	thickener_free(layer.thickener);
	thick_queue_deinit(&layer.queue);
	return r;
}
