/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the threads that write to the destination. Any thread may put. */
#include "client/uploader.h"

#include <stdatomic.h>
#include <string.h>

#include "client/blobs.h"

enum {
	/* Contents of at most SPOOL_MEMORY_MAX are in memory: 64 MiB at most wait. */
	WAITING_MAX = 256,
	/* Larger ones are in the temporary directory: so much of it is used at once. */
	WAITING_BYTES_MAX = 1024 * 1024 * 1024,
};

struct uploader {
	struct image_store *store; /* borrowed */
	struct pool *pool;	   /* owned */
	struct blob_seen seen;
	atomic_ullong n_sent, sent_bytes, n_there, there_bytes;
};

static int begin_thread(void *context, void **state, struct problem *problem)
{
	struct uploader *uploader = context;
	struct image_store *store;
	int r = image_store_clone(uploader->store, &store, problem);

	*state = r ? NULL : store;
	return r;
}

static void end_thread(void *state)
{
	image_store_close(state);
}

static void drop_content(void *job)
{
	struct content *content = job;

	content_free(content);
	free(content);
}

static int send_content(struct uploader *uploader, struct image_store *store,
			struct content *content, struct problem *problem)
{
	int r = image_has_blob(store, &content->digest, problem);

	if (r < 0)
		return r;
	if (r) {
		uploader->n_there++;
		uploader->there_bytes += content->size_bytes;
		return 0;
	}
	if (content->bytes)
		r = image_put_bytes(store, &content->digest, content->bytes,
				    (size_t)content->size_bytes, problem);
	else
		r = image_put_blob(store, &content->digest, content->fd, content->size_bytes, NULL,
				   NULL, problem);
	if (r)
		return r;
	uploader->n_sent++;
	uploader->sent_bytes += content->size_bytes;
	return 0;
}

static int run_upload(void *context, void *state, void *job, struct problem *problem)
{
	int r = send_content(context, state, job, problem);

	drop_content(job);
	return r;
}

int uploader_new(struct image_store *store, unsigned int n_threads, struct failure *failure,
		 struct uploader **out, struct problem *problem)
{
	struct uploader *uploader = calloc(1, sizeof(*uploader));
	struct pool_options options = {
		.n_threads = n_threads,
		.max_jobs = WAITING_MAX,
		.max_bytes = WAITING_BYTES_MAX,
		.context = uploader,
		.failure = failure,
		.begin = begin_thread,
		.end = end_thread,
		.run = run_upload,
		.drop = drop_content,
	};
	int r;

	if (!uploader)
		return problem_set(problem, -ENOMEM, "out of memory");
	uploader->store = store;
	blob_seen_init(&uploader->seen);
	r = pool_new(&options, &uploader->pool);
	if (r) {
		uploader_free(uploader);
		return problem_set(problem, r, "%u upload threads: %s", n_threads, strerror(-r));
	}
	*out = uploader;
	return 0;
}

void uploader_free(struct uploader *uploader)
{
	if (!uploader)
		return;
	pool_free(uploader->pool);
	blob_seen_deinit(&uploader->seen);
	free(uploader);
}

int uploader_put(struct uploader *uploader, struct content *content)
{
	struct content *job;
	int r = blob_seen_add(&uploader->seen, content->digest.bytes);

	if (r <= 0) {
		content_free(content);
		return r;
	}
	job = malloc(sizeof(*job));
	if (!job)
		return -ENOMEM;
	*job = content_move(content);
	return pool_submit(uploader->pool, job, job->size_bytes);
}

int uploader_put_bytes(struct uploader *uploader, const void *bytes, size_t len,
		       struct digest *digest)
{
	cleanup_content struct content content = CONTENT_EMPTY;
	int r = digest_compute(DIGEST_SHA256, bytes, len, &content.digest);

	if (r)
		return r;
	content.bytes = malloc(len + 1);
	if (!content.bytes)
		return -ENOMEM;
	memcpy(content.bytes, bytes, len);
	content.size_bytes = len;
	*digest = content.digest;
	return uploader_put(uploader, &content);
}

int uploader_drain(struct uploader *uploader)
{
	return pool_drain(uploader->pool);
}

void uploader_stats(const struct uploader *uploader, struct uploader_stats *out)
{
	out->n_sent = uploader->n_sent;
	out->sent_bytes = uploader->sent_bytes;
	out->n_there = uploader->n_there;
	out->there_bytes = uploader->there_bytes;
}
