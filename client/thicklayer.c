/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the restoring of one layer. The caller's thread downloads and walks the thin layer and
 * cuts the full one into segments: bytes it has, and contents to be fetched. The pool's
 * threads fetch these in any order; the writer's thread takes the segments in theirs. The
 * queue between them is bounded in number and in bytes.
 */
#include "client/thicklayer.h"

#include <string.h>

#include "lib/thin.h"

enum {
	SEGMENTS_MAX = 256, /* with SPOOL_MEMORY_MAX each: 64 MiB */
	/* Contents in the temporary directory that wait for their turn. */
	SEGMENT_BYTES_MAX = 1024 * 1024 * 1024,
	RAW_BYTES = 64 * 1024, /* of a segment that is not a content */
};

struct segment {
	struct segment *next;
	struct queue *queue;
	char *raw; /* owned; NULL: a content */
	size_t raw_len;
	/* A content: */
	struct digest digest;
	uint64_t size_bytes;
	char *path;		/* owned: of the entry, for messages */
	struct content content; /* under lock until ready */
	bool ready;		/* under lock */
	int error;		/* under lock */
};

struct queue {
	struct thick_run *run; /* borrowed */
	struct thick_layer *out;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct segment *first, **last; /* under lock */
	size_t n;		       /* under lock */
	uint64_t bytes;		       /* under lock */
	bool ended;		       /* under lock */
	int error;		       /* under lock: of either side */
	struct failure failure;
	struct segment *filling; /* owned by the producer: raw bytes not yet pushed */
	struct problem *problem; /* producer: of the call at hand */
	struct thickener *thickener;
	struct decompressor *decompressor;
	int fd; /* owned: the full layer */
};

static void free_segment(struct segment *segment)
{
	if (!segment)
		return;
	content_free(&segment->content);
	free(segment->raw);
	free(segment->path);
	free(segment);
}

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

static void settle(struct segment *segment, int error)
{
	struct queue *queue = segment->queue;

	pthread_mutex_lock(&queue->lock);
	segment->ready = true;
	segment->error = error;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
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
		/* Before settle(): this is the reason, whatever the writer says then. */
		failure_set(&segment->queue->failure, r, problem);
	}
	settle(segment, r);
	return r;
}

static void drop_fetch(void *job)
{
	settle(job, -ECANCELED);
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
	struct queue *queue;
	struct compressor *compressor;
	struct hasher *full, *packed;
};

static int write_packed(void *context, const void *bytes, size_t len)
{
	struct writer *writer = context;

	if (writer->queue->run->compression != OCI_UNCOMPRESSED)
		hasher_update(writer->packed, bytes, len);
	writer->queue->out->content.size_bytes += len;
	return write_all(writer->queue->fd, bytes, len);
}

static int write_full(void *context, const void *bytes, size_t len)
{
	struct writer *writer = context;

	hasher_update(writer->full, bytes, len);
	writer->queue->out->full_bytes += len;
	progress_add(writer->queue->run->progress, (int64_t)len);
	return compressor_feed(writer->compressor, bytes, len, write_packed, writer);
}

/* The next segment in order, its content there. Return: 1, 0 at the end, -errno. */
static int next_segment(struct queue *queue, struct segment **out)
{
	struct segment *segment;
	int r = 1;

	pthread_mutex_lock(&queue->lock);
	for (;;) {
		segment = queue->first;
		if (queue->error) {
			r = queue->error;
			break;
		}
		if (segment && segment->ready) {
			r = segment->error ? segment->error : 1;
			break;
		}
		if (!segment && queue->ended) {
			r = 0;
			break;
		}
		pthread_cond_wait(&queue->changed, &queue->lock);
	}
	if (r == 1) {
		queue->first = segment->next;
		if (!queue->first)
			queue->last = &queue->first;
		queue->n--;
		queue->bytes -= segment->size_bytes;
		pthread_cond_broadcast(&queue->changed);
		*out = segment;
	}
	pthread_mutex_unlock(&queue->lock);
	return r;
}

static int write_segments(struct writer *writer)
{
	struct segment *segment = NULL;
	int r;

	while ((r = next_segment(writer->queue, &segment)) > 0) {
		if (segment->raw)
			r = write_full(writer, segment->raw, segment->raw_len);
		else
			r = content_copy(&segment->content, write_full, writer);
		free_segment(segment);
		if (r)
			return r;
	}
	return r ? r : compressor_finish(writer->compressor, write_packed, writer);
}

static void fail(struct queue *queue, int error, const struct problem *problem)
{
	failure_set(&queue->failure, error, problem);
	pthread_mutex_lock(&queue->lock);
	if (!queue->error)
		queue->error = error;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

static void *writer_thread(void *arg)
{
	struct queue *queue = arg;
	cleanup_compressor struct compressor *compressor =
		compressor_new(queue->run->compression, queue->run->level);
	cleanup_hasher struct hasher *full = hasher_new(DIGEST_SHA256);
	cleanup_hasher struct hasher *packed = hasher_new(DIGEST_SHA256);
	struct writer writer = {
		.queue = queue,
		.compressor = compressor,
		.full = full,
		.packed = packed,
	};
	int r = compressor && full && packed ? write_segments(&writer) : -ENOMEM;
	struct problem problem;

	if (r) {
		problem_set(&problem, r, "temporary file of the layer: %s", strerror(-r));
		fail(queue, r, &problem);
		return NULL;
	}
	hasher_final(full, &queue->out->diff_id);
	if (queue->run->compression == OCI_UNCOMPRESSED)
		queue->out->content.digest = queue->out->diff_id;
	else
		hasher_final(packed, &queue->out->content.digest);
	return NULL;
}

/* ---- the caller's thread ---- */

static int push(struct queue *queue, struct segment *segment)
{
	int r;

	pthread_mutex_lock(&queue->lock);
	while (!queue->error &&
	       (queue->n >= SEGMENTS_MAX ||
		(queue->n && queue->bytes + segment->size_bytes > SEGMENT_BYTES_MAX)))
		pthread_cond_wait(&queue->changed, &queue->lock);
	r = queue->error;
	if (!r) {
		*queue->last = segment;
		queue->last = &segment->next;
		queue->n++;
		queue->bytes += segment->size_bytes;
		pthread_cond_broadcast(&queue->changed);
	}
	pthread_mutex_unlock(&queue->lock);
	if (r)
		free_segment(segment);
	return r;
}

static struct segment *new_segment(struct queue *queue)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (!segment)
		return NULL;
	segment->queue = queue;
	segment->content = CONTENT_EMPTY;
	return segment;
}

static int push_filling(struct queue *queue)
{
	struct segment *segment = steal_ptr(queue->filling);

	if (!segment)
		return 0;
	segment->ready = true;
	return push(queue, segment);
}

static int output_raw(void *context, const void *bytes, size_t len)
{
	struct queue *queue = context;
	const char *p = bytes;

	while (len > 0) {
		struct segment *segment = queue->filling;
		size_t n;

		if (!segment) {
			segment = queue->filling = new_segment(queue);
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
			int r = push_filling(queue);

			if (r)
				return r;
		}
	}
	return 0;
}

static int output_blob(void *context, const struct stub *stub, const char *path)
{
	struct queue *queue = context;
	struct segment *segment;
	int r = push_filling(queue);

	if (r)
		return r;
	segment = new_segment(queue);
	if (!segment)
		return -ENOMEM;
	segment->digest.algorithm = DIGEST_SHA256;
	memcpy(segment->digest.bytes, stub->sha256, SHA256_BYTES);
	segment->size_bytes = stub->size_bytes;
	segment->path = strdup(path);
	if (!segment->path) {
		free_segment(segment);
		return -ENOMEM;
	}
	r = push(queue, segment);
	/* From here on the queue owns it, and the pool settles it whatever happens. */
	return r ? r : pool_submit(queue->run->fetchers, segment, 0);
}

static const struct thick_handler thick_events = { .output = output_raw, .blob = output_blob };

static int feed_plain(void *context, const void *bytes, size_t len)
{
	struct queue *queue = context;

	return thickener_feed(queue->thickener, bytes, len, queue->problem);
}

static int feed_packed(void *context, const void *bytes, size_t len)
{
	struct queue *queue = context;

	return decompressor_feed(queue->decompressor, bytes, len, feed_plain, queue,
				 queue->problem);
}

static int read_thin(struct queue *queue, const struct oci_descriptor *descriptor,
		     struct problem *problem)
{
	struct problem inner = { .text = "" };
	int r;

	queue->problem = &inner;
	r = image_get_blob(queue->run->src, &descriptor->digest, descriptor->size_bytes,
			   feed_packed, queue, problem);
	if (r && inner.text[0])
		*problem = inner;
	if (!r)
		r = decompressor_finish(queue->decompressor, problem);
	if (!r) {
		queue->problem = problem;
		r = thickener_finish(queue->thickener, problem);
	}
	return r ? r : push_filling(queue);
}

static int run_queue(struct queue *queue, const struct oci_descriptor *descriptor,
		     struct problem *problem)
{
	struct segment *segment;
	pthread_t writer;
	int r;

	if (pthread_create(&writer, NULL, writer_thread, queue))
		return problem_set(problem, -EAGAIN, "no more threads can be started");
	r = read_thin(queue, descriptor, problem);
	if (r)
		fail(queue, r, problem);
	pthread_mutex_lock(&queue->lock);
	queue->ended = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(writer, NULL);
	/* After this no fetcher looks at a segment any more. */
	r = pool_drain(queue->run->fetchers);
	while ((segment = queue->first)) {
		queue->first = segment->next;
		free_segment(segment);
	}
	free_segment(queue->filling);
	/* What went wrong in this layer has words of its own; the pool's may be older. */
	return failure_get(&queue->failure, problem) ?: r;
}

static int queue_init(struct queue *queue, const struct oci_descriptor *descriptor,
		      struct problem *problem)
{
	enum oci_compression compression;
	cleanup_spool struct spool *spool = NULL;
	int r = oci_layer_compression(descriptor->media_type, &compression);

	if (r)
		return problem_set(problem, r, "its media type is not one of a layer");
	queue->decompressor = decompressor_new(compression);
	queue->thickener = thickener_new(&thick_events, queue);
	if (!queue->decompressor || !queue->thickener)
		return -ENOMEM;
	r = spool_new(queue->run->temp_dir, &spool, problem);
	if (!r)
		queue->fd = spool_temp_file(spool, problem);
	return r ? r : queue->fd < 0 ? queue->fd : 0;
}

int thick_layer_make(struct thick_run *run, const struct oci_descriptor *descriptor,
		     struct thick_layer *out, struct problem *problem)
{
	struct queue queue = { .run = run, .out = out, .fd = -1 };
	int r;

	*out = (struct thick_layer){ .content = CONTENT_EMPTY };
	queue.last = &queue.first;
	pthread_mutex_init(&queue.lock, NULL);
	pthread_cond_init(&queue.changed, NULL);
	failure_init(&queue.failure);
	r = queue_init(&queue, descriptor, problem);
	if (!r)
		r = run_queue(&queue, descriptor, problem);
	if (!r)
		out->content.fd = steal_fd(&queue.fd);
	if (queue.fd >= 0)
		close(queue.fd);
	decompressor_free(queue.decompressor);
	thickener_free(queue.thickener);
	pthread_cond_destroy(&queue.changed);
	pthread_mutex_destroy(&queue.lock);
	return r;
}
