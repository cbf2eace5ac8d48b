/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the ways a blob gets into a registry: one POST, or POST and PUT, or a mount. The
 * client's thread; blocks.
 *
 * The hard idea: a body should go out once. So the first upload to a registry begins with
 * an empty POST, which settles the log-in; whether one POST is enough is then tried with
 * something small, and remembered.
 */
#include "lib/registry-internal.h"

#include <string.h>

enum {
	SINGLE_POST_TRIAL_MAX = 1024 * 1024,
	ANSWER_SIZE_MAX = 64 * 1024,
	SESSIONS_MAX = 2, /* an upload session that is gone is opened once more */
};

struct upload {
	struct registry *registry;
	const char *host, *repository;
	char digest[DIGEST_TEXT_SIZE];
	int fd;
	uint64_t size_bytes;
	void (*progress)(void *context, int64_t bytes);
	void *context;
	int64_t sent;
};

static void on_sent(void *context, int64_t bytes)
{
	struct upload *upload = context;

	upload->sent += bytes;
	if (upload->progress)
		upload->progress(upload->context, bytes);
}

/* What was sent will be sent again. */
static void take_back(struct upload *upload)
{
	if (upload->sent)
		on_sent(upload, -upload->sent);
}

static int prepare(const struct upload *upload, struct exchange *ex, char *path,
		   struct problem *problem)
{
	ex->size_bytes = ANSWER_SIZE_MAX;
	return registry_prepare(upload->registry, ex, upload->host, upload->repository, "pull,push",
				path, format_text("upload of blob %s", upload->digest), problem);
}

static void set_body(struct upload *upload, struct exchange *ex)
{
	ex->content_type = "application/octet-stream";
	ex->body_fd = upload->fd;
	ex->body_size = upload->size_bytes;
	ex->on_sent = on_sent;
	ex->context = upload;
}

/* PUT to where the session lives: @post's Location, under the rules for redirects. */
static int put_to_session(struct upload *upload, const struct exchange *post,
			  struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_PUT };
	struct origin home, target;
	int r;

	r = prepare(upload, &ex, strdup("blobs/uploads/"), problem);
	if (r)
		return r;
	if (!post->location)
		return problem_set(problem, -EBADMSG,
				   "docker://%s: it accepted an upload, but did not say where to "
				   "(no Location header)",
				   upload->host);
	if (origin_parse(ex.url, &home) || origin_parse(post->location, &target) ||
	    (home.https && !target.https))
		return problem_set(problem, -EBADMSG,
				   "docker://%s: it wants the upload at an address that is not "
				   "https; behind a proxy, it must be told the outer scheme "
				   "(X-Forwarded-Proto)",
				   upload->host);
	ex.home_url = steal_ptr(ex.url);
	ex.url = format_text("%s%sdigest=%s", post->location,
			     strchr(post->location, '?') ? "&" : "?", upload->digest);
	if (!ex.url)
		return -ENOMEM;
	ex.led_by = post->peer;
	set_body(upload, &ex);
	r = registry_call(upload->registry, &ex, problem);
	if (!r && ex.status != 201 && ex.status != 204)
		return problem_set(problem, -EIO,
				   "docker://%s: unexpected answer to an upload, status %u",
				   upload->host, ex.status);
	return r;
}

/* Return: 1 when it is worth another session. */
static int post_and_put(struct upload *upload, struct problem *problem)
{
	cleanup_exchange struct exchange post = { .method = HTTP_POST };
	int r;

	r = prepare(upload, &post, strdup("blobs/uploads/"), problem);
	if (!r)
		r = registry_call(upload->registry, &post, problem);
	if (r)
		return r;
	if (post.status != 202)
		return problem_set(problem, -EIO,
				   "docker://%s: unexpected answer to an upload, status %u",
				   upload->host, post.status);
	r = put_to_session(upload, &post, problem);
	if (r == -ENOENT) {
		take_back(upload);
		return 1;
	}
	if (!r)
		registry_host(upload->registry, upload->host)->push_worked = true;
	return r;
}

/* Is the registry's answer only about this way of uploading? */
static bool another_way_may_work(int error)
{
	return error == -EIO || error == -EBADMSG || error == -ENOENT;
}

/* Return: 0 done; 1 it has to be done the other way; or -errno. */
static int post_at_once(struct upload *upload, struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_POST };
	struct registry_host *host;
	int r;

	r = prepare(upload, &ex, format_text("blobs/uploads/?digest=%s", upload->digest), problem);
	if (r)
		return r;
	set_body(upload, &ex);
	r = registry_call(upload->registry, &ex, problem);
	host = registry_host(upload->registry, upload->host);
	if (!r && ex.status == 201) {
		host->single_post_works = true;
		return 0;
	}
	if (r && !another_way_may_work(r))
		return r;
	host->single_post_fails = !host->single_post_works;
	take_back(upload);
	if (!r && ex.status == 202) {
		r = put_to_session(upload, &ex, problem);
		if (r == -ENOENT)
			take_back(upload);
		return r == -ENOENT ? 1 : r;
	}
	return 1;
}

int registry_put_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, int fd, uint64_t size_bytes,
		      void (*progress)(void *context, int64_t bytes), void *context,
		      struct problem *problem)
{
	struct upload upload = {
		.registry = registry,
		.host = host,
		.repository = repository,
		.fd = fd,
		.size_bytes = size_bytes,
		.progress = progress,
		.context = context,
	};
	const struct registry_host *known = registry_host(registry, host);
	bool is_trial = known->push_worked && size_bytes <= SINGLE_POST_TRIAL_MAX;
	int r = 1;

	digest_format(digest, upload.digest);
	if (!known->single_post_fails && (known->single_post_works || is_trial))
		r = post_at_once(&upload, problem);
	for (int i = 0; r == 1 && i < SESSIONS_MAX; i++)
		r = post_and_put(&upload, problem);
	return r == 1 ? -EIO : r;
}

/* It opened a session instead; tell it that nothing will come. Whether it listens is no matter. */
static void drop_session(struct upload *upload, const struct exchange *post)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_DELETE };
	struct origin home, target;

	if (prepare(upload, &ex, strdup("blobs/uploads/"), NULL) || !post->location ||
	    origin_parse(ex.url, &home) || origin_parse(post->location, &target) ||
	    !origin_equal(&home, &target))
		return;
	free(ex.url);
	ex.url = strdup(post->location);
	if (ex.url && registry_call(upload->registry, &ex, NULL))
		log_debug("docker://%s: an upload session was left open", upload->host);
}

int registry_mount_blob(struct registry *registry, const char *host, const char *repository,
			const struct digest *digest, const char *from_repository,
			struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_POST };
	struct upload upload = { .registry = registry, .host = host, .repository = repository };
	char *longer;
	int r;

	if (!repository_is_valid(from_repository, strlen(from_repository)))
		return problem_set(problem, -EINVAL, "docker://%s: not a repository name", host);
	digest_format(digest, upload.digest);
	r = prepare(&upload, &ex,
		    format_text("blobs/uploads/?mount=%s&from=%s", upload.digest, from_repository),
		    problem);
	if (r)
		return r;
	longer = format_text("%s repository:%s:pull", ex.scope, from_repository);
	if (!longer)
		return -ENOMEM;
	free(ex.scope);
	ex.scope = longer;
	r = registry_call(registry, &ex, problem);
	if (r)
		return r;
	if (ex.status == 201)
		return 1;
	drop_session(&upload, &ex);
	return 0;
}
