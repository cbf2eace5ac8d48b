/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns one attempt of a fetch: bytes from one source into the cache's writer.
 *
 * The hard idea: two independent events end an attempt, the end of the pipe (all bytes are
 * here) and the worker's result (why it ended). Right bytes count whatever the result says;
 * wrong or missing ones need it, to know what to try next.
 *
 * Loop thread, but for drain_run() and layout_run(), which are pool jobs and own the writer
 * and the pipe while they run.
 */
#include "fetchd/fetch-internal.h"

#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PIPE_BYTES = 1024 * 1024,
	DRAIN_MAX_BYTES = 4 * 1024 * 1024, /* of one fetch, before others get the thread */
	DRAIN_PIECE_BYTES = 128 * 1024,
};

static void close_pipe(struct fetch *fetch)
{
	if (fetch->readable) {
		event_free(fetch->readable);
		fetch->readable = NULL;
	}
	if (fetch->pipe_fd >= 0)
		close(steal_fd(&fetch->pipe_fd));
}

/* ---- commit ---- */

/* Pool: all bytes are here. What else may come cannot make them better. */
static void commit(struct fetch *fetch)
{
	fetch->committed = true;
	fetch->io_error = cache_commit(steal_ptr(fetch->writer));
}

static void after_commit(struct fetch *fetch)
{
	char where[512];

	fetch->committed = false;
	workerlink_forget(fetch->link, &fetch->worker_job);
	close_pipe(fetch);
	if (!fetch->io_error) {
		fetch_judge_source(fetch, 0);
		fetch_note(fetch, "attempt", now_ms() - fetch->attempt_ms, "");
		fetch_finish(fetch, 0);
		return;
	}
	if (fetch->io_error != -EBADMSG) {
		snprintf(fetch->problem, sizeof(fetch->problem), "cache: %s",
			 strerror(-fetch->io_error));
		fetch_finish(fetch, fetch->io_error);
		return;
	}
	source_describe(&fetch->sources.entries[fetch->source], where, sizeof(where));
	snprintf(fetch->problem, sizeof(fetch->problem),
		 "%s sent bytes that do not have this digest; they were dropped", where);
	log_error("%s", fetch->problem);
	fetch_next_source(fetch, -EBADMSG);
}

/* ---- bytes ---- */

/* The disk is full, though there was room: somebody else writes there, too. Can some be made? */
static bool may_have_room(struct fetch *fetch)
{
	struct space *space = fetch->table->space;

	fetch_release_space(fetch);
	fetch->no_room = true;
	return space && space_is_full(space, fetch->size_bytes) != -ENOSPC;
}

static void attempt_may_be_over(struct fetch *fetch)
{
	if (fetch->busy || !fetch->eof)
		return;
	if (fetch->aborted) {
		fetch_finish(fetch, -ECANCELED);
		return;
	}
	if (fetch->io_error) {
		workerlink_cancel(fetch->link, &fetch->worker_job);
		if (fetch->io_error == -ENOSPC && may_have_room(fetch)) {
			close_pipe(fetch);
			cache_abort(steal_ptr(fetch->writer));
			fetch->io_error = 0;
			fetch_next_source(fetch, -EBUSY);
			return;
		}
		if (fetch->io_error != -EFBIG) {
			snprintf(fetch->problem, sizeof(fetch->problem), "cache: %s",
				 strerror(-fetch->io_error));
			fetch_finish(fetch, fetch->io_error);
			return;
		}
		fetch->have_result = true;
		fetch->result_error = -EBADMSG;
	}
	if (!fetch->have_result)
		return;
	close_pipe(fetch);
	if (fetch->io_error) {
		cache_abort(steal_ptr(fetch->writer));
		fetch->io_error = 0;
	}
	fetch_next_source(fetch, fetch->result_error ? fetch->result_error : -EIO);
}

static void drain_run(struct offload_job *job)
{
	struct fetch *fetch = container_of(job, struct fetch, offload_job);
	char piece[DRAIN_PIECE_BYTES];
	size_t total = 0;

	while (total < DRAIN_MAX_BYTES) {
		ssize_t n = read(fetch->pipe_fd, piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			fetch->io_error = -errno;
		else if (n > 0)
			fetch->io_error = cache_write(fetch->writer, piece, (size_t)n);
		fetch->eof = n <= 0 || fetch->io_error;
		if (!fetch->io_error && cache_written(fetch->writer) == fetch->size_bytes)
			commit(fetch);
		if (fetch->eof || fetch->committed)
			return;
		total += (size_t)n;
	}
}

static void drain_done(struct offload_job *job)
{
	struct fetch *fetch = container_of(job, struct fetch, offload_job);

	fetch->busy = false;
	if (fetch->committed) {
		after_commit(fetch);
		return;
	}
	if (fetch->aborted)
		fetch->eof = true;
	if (!fetch->eof) {
		event_add(fetch->readable, NULL);
		return;
	}
	attempt_may_be_over(fetch);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct fetch *fetch = context;

	(void)fd;
	(void)what;
	fetch->offload_job = (struct offload_job){ .run = drain_run, .done = drain_done };
	fetch->busy = true;
	offload_submit(fetch->table->offload, &fetch->offload_job);
}

static void on_result(struct worker_job *job, const struct worker_result *result)
{
	struct fetch *fetch = container_of(job, struct fetch, worker_job);

	fetch->have_result = true;
	fetch->result_error = result->error;
	fetch->worker_died = result->worker_died;
	fetch->is_suspect = result->is_suspect;
	fetch->retry_after_ms = result->retry_after_ms;
	if (result->error)
		snprintf(fetch->problem, sizeof(fetch->problem), "%s", result->problem);
	attempt_may_be_over(fetch);
}

/* ---- an OCI layout on this host ---- */

static int copy_file(struct fetch *fetch, int fd)
{
	char piece[DRAIN_PIECE_BYTES];

	for (;;) {
		ssize_t n = read(fd, piece, sizeof(piece));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = cache_write(fetch->writer, piece, (size_t)n);
		if (r)
			return r;
	}
}

static int read_layout(struct fetch *fetch)
{
	const struct source *source = &fetch->sources.entries[fetch->source];
	char path[PATH_MAX], hex[DIGEST_TEXT_SIZE];
	cleanup_close int fd = -1;
	struct stat st;

	if (fetch->size_bytes == 0)
		return 0; /* from any source: nothing is nothing */
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", source->path,
		 digest_format_hex(&fetch->digest, hex));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? copy_file(fetch, fd) : -EINVAL;
}

static void layout_run(struct offload_job *job)
{
	struct fetch *fetch = container_of(job, struct fetch, offload_job);

	fetch->result_error = read_layout(fetch);
	if (!fetch->result_error)
		commit(fetch);
}

static void layout_done(struct offload_job *job)
{
	struct fetch *fetch = container_of(job, struct fetch, offload_job);
	int error = fetch->result_error;

	fetch->busy = false;
	if (fetch->committed) {
		after_commit(fetch);
		return;
	}
	snprintf(fetch->problem, sizeof(fetch->problem), "oci:%s: %s",
		 fetch->sources.entries[fetch->source].path, strerror(-error));
	cache_abort(steal_ptr(fetch->writer));
	if (error == -ENOSPC && may_have_room(fetch))
		fetch_next_source(fetch, -EBUSY);
	else if (error == -ENOSPC || error == -EDQUOT)
		fetch_finish(fetch, error);
	else
		fetch_next_source(fetch, error == -EFBIG ? -EBADMSG : error);
}

static int open_pipe(struct fetch *fetch, int *write_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	/* Larger where allowed: fewer turns through the loop. */
	if (fetch->size_bytes > 64 * 1024)
		fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES);
	fetch->pipe_fd = fds[0];
	*write_fd = fds[1];
	fetch->readable = event_new(fetch->table->base, fds[0], EV_READ, on_readable, fetch);
	return fetch->readable && !event_add(fetch->readable, NULL) ? 0 : -ENOMEM;
}

static int start_transfer(struct fetch *fetch)
{
	cleanup_close int write_fd = -1;
	int r = open_pipe(fetch, &write_fd);

	if (r)
		return r;
	fetch->writer_base = cache_written(fetch->writer);
	fetch->worker_job.result = on_result;
	return workerlink_submit(fetch->link, &fetch->worker_job,
				 &fetch->sources.entries[fetch->source], &fetch->digest,
				 fetch->size_bytes, cache_written(fetch->writer),
				 fetch->deadline_ms, write_fd);
}

void fetch_release_space(struct fetch *fetch)
{
	if (fetch->promised)
		space_release(fetch->table->space, fetch->promised, fetch->reserved);
	fetch->promised = 0;
	fetch->reserved = false;
}

/* Room was promised, and the file system has it. Return: as space_ask(), or -errno. */
static int begin_writer(struct fetch *fetch)
{
	struct space *space = fetch->table->space;
	uint64_t size_bytes = fetch->size_bytes;
	int r;

	fetch_release_space(fetch);
	r = space ? space_ask(space, size_bytes) : 0;
	if (!r && space)
		fetch->promised = size_bytes;
	if (!r)
		r = cache_begin(fetch->table->cache, &fetch->digest, size_bytes, &fetch->writer);
	if (r == -ENOSPC && fetch->promised)
		r = space_is_full(space, size_bytes);
	if (!r && space && cache_is_reserved(fetch->writer)) {
		fetch->reserved = true;
		space_reserved(space, size_bytes);
	}
	if (r)
		fetch_release_space(fetch);
	fetch->no_room = r == -EAGAIN || r == -ENOSPC;
	return r;
}

static int start_layout(struct fetch *fetch)
{
	int r;

	/* From the start: a local copy is not worth resuming. */
	fetch->writer_base = 0;
	cache_abort(steal_ptr(fetch->writer));
	r = begin_writer(fetch);
	if (r)
		return r;
	fetch->have_result = true;
	fetch->offload_job = (struct offload_job){ .run = layout_run, .done = layout_done };
	fetch->busy = true;
	offload_submit(fetch->table->offload, &fetch->offload_job);
	return 0;
}

int fetch_transfer_start(struct fetch *fetch)
{
	int r = 0;

	fetch->attempt_ms = now_ms();
	fetch->eof = fetch->have_result = fetch->worker_died = false;
	fetch->io_error = fetch->result_error = 0;
	fetch->retry_after_ms = -1;
	if (fetch->sources.entries[fetch->source].kind == SOURCE_LAYOUT || !fetch->size_bytes)
		return start_layout(fetch);
	if (!fetch->writer)
		r = begin_writer(fetch);
	if (!r)
		r = start_transfer(fetch);
	if (r)
		close_pipe(fetch);
	return r;
}

void fetch_transfer_stop(struct fetch *fetch)
{
	workerlink_cancel(fetch->link, &fetch->worker_job);
	close_pipe(fetch);
}
