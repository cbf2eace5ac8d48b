/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves uploads of blobs: end-4, 5, 6, 11, 13 and 14 of the specification. Bytes are
 * collected in the loop thread and stored and hashed there in pieces of BODY_PIECE; a body
 * that is not longer waits in memory for its worker, which does everything at once.
 */
#include <string.h>

#include "lib/log.h"
#include "server/authorize.h"
#include "server/index_rebuild.h"
#include "server/operations.h"
#include "server/packer.h"
#include "server/quota.h"
#include "server/range.h"

static void add_session_headers(struct request *request)
{
	uint64_t size = upload_size(request->upload);

	reply_header(request, "Location", "/v2/%s/blobs/uploads/%s", request->route.repository,
		     upload_id(request->upload));
	reply_header_text(request, "Docker-Upload-UUID", upload_id(request->upload));
	reply_header(request, "Range", "0-%llu", (unsigned long long)(size ? size - 1 : 0));
}

static void reply_created(struct request *request, const struct digest *digest)
{
	char text[DIGEST_TEXT_SIZE];

	digest_format(digest, text);
	reply_empty(request, 201);
	reply_header(request, "Location", "/v2/%s/blobs/%s", request->route.repository, text);
	reply_header_text(request, "Docker-Content-Digest", text);
}

static void start_session(struct request *request, bool listed)
{
	int r = upload_new(request->services->uploads, request->route.repository, listed,
			   &request->upload);

	if (r == -EAGAIN)
		reply_error(request, API_TOOMANYREQUESTS,
			    "%d uploads are open; finish or cancel some, or wait", UPLOADS_MAX);
	else if (r)
		reply_failure(request, r, "no upload can be started");
}

/* The digest parameter, where there is one. Return: false when the answer is an error. */
static bool read_digest(struct request *request, const char *key)
{
	const char *text = route_query(&request->route, key);

	if (!text)
		return true;
	if (digest_parse(text, strlen(text), &request->digest)) {
		reply_error(request, API_DIGEST_INVALID,
			    "%s is not a sha256 or sha512 digest: ALGORITHM:HEX in lower case",
			    key);
		return false;
	}
	request->has_digest = true;
	return true;
}

/* What the digest of a session's end will be of, where the client says it. */
static bool read_algorithm(struct request *request, enum digest_algorithm *out)
{
	const char *name = route_query(&request->route, "digest-algorithm");

	if (!name || !strcmp(name, digest_algorithm_name(DIGEST_SHA256)))
		return true;
	if (!strcmp(name, digest_algorithm_name(DIGEST_SHA512))) {
		*out = DIGEST_SHA512;
		return true;
	}
	reply_error(request, API_DIGEST_INVALID,
		    "digest-algorithm: sha256 and sha512 are supported");
	return false;
}

/* Does the repository have it, and is what comes as long? */
static bool is_push_again(const struct request *request)
{
	const struct store *store = request->services->store;
	cleanup_blob struct blob blob = { .fd = -1 };

	return request->has_digest && request->has_length &&
	       store_has_link(store, request->route.repository, STORE_LAYERS, &request->digest) >
		       0 &&
	       !store_open_blob(store, &request->digest, &blob) &&
	       blob.size_bytes == request->length;
}

/* Room in the quota for @bytes more; a blob that the repository has costs nothing. */
static int hold(struct request *request, uint64_t bytes, bool may_block)
{
	struct problem problem = { "" };
	int r;

	if (is_push_again(request))
		return 0;
	r = upload_hold(request->upload, bytes, may_block, &problem);
	if (r == -EDQUOT)
		reply_over_quota(request, &problem);
	return r;
}

/* What cannot fit is refused before it is sent. */
static void check_room(struct request *request)
{
	int r = 0;

	if (request_is_answered(request))
		return;
	if (!store_has_room(request->services->store, request->length))
		r = -ENOSPC;
	if (!r)
		r = hold(request, request->length, false);
	if (!r)
		return;
	reply_failure(request, r, "upload");
	if (request->method != METHOD_POST)
		add_session_headers(request);
}

void uploads_post_begin(struct request *request)
{
	const char *from = route_query(&request->route, "from");
	enum digest_algorithm algorithm = DIGEST_SHA256;

	if (route_query(&request->route, "mount")) {
		if (!read_digest(request, "mount"))
			return;
		if (from && !repository_is_valid(from, strlen(from)))
			reply_error(request, API_NAME_INVALID, "from is not a repository name");
		return; /* finish mounts on a worker */
	}
	if (!read_digest(request, "digest") || !read_algorithm(request, &algorithm))
		return;
	start_session(request, !request->has_digest);
	if (request->has_digest)
		check_room(request);
	if (!request->upload || request->has_digest)
		return;
	upload_expect(request->upload, algorithm);
	reply_empty(request, 202);
	add_session_headers(request);
}

static enum digest_algorithm algorithm_of(const struct request *request)
{
	return request->has_digest ? request->digest.algorithm : upload_expected(request->upload);
}

/* What a PATCH stores stays for later requests; a PUT or POST is done or was nothing. */
static bool keeps_data(const struct request *request)
{
	return request->method == METHOD_PATCH;
}

static int flush(struct request *request)
{
	int r = hold(request, request->body_len, false);

	/* Looked at for each piece: others write, too, and not all say how much will come. */
	if (!r && !store_has_room(request->services->store, request->body_len))
		r = -ENOSPC;
	if (!r)
		r = upload_append(request->upload, request->body, request->body_len,
				  keeps_data(request), algorithm_of(request),
				  request->body_size == FOLLOWER_PIECE ? &request->body : NULL);
	if (!r)
		request->body_len = 0;
	return r;
}

static void reply_append_failure(struct request *request, int r)
{
	request_drop_body(request);
	reply_failure(request, r, "upload data cannot be stored");
	if (request->method != METHOD_POST)
		add_session_headers(request);
}

static void reply_wrong_range(struct request *request)
{
	reply_error_status(request, API_BLOB_UPLOAD_INVALID, 416,
			   "the upload has %llu bytes: the next chunk must start there and be as "
			   "long as its Content-Range says",
			   (unsigned long long)upload_size(request->upload));
	add_session_headers(request);
}

void upload_body(struct request *request, const char *bytes, size_t len)
{
	while (len > 0 && !request_is_answered(request)) {
		size_t part = BODY_PIECE - request->body_len;
		int r = 0;

		if (!request->upload) { /* a mount with a body: the body means nothing */
			return;
		}
		if (request->range_bytes && request->body_bytes > request->range_bytes) {
			reply_wrong_range(request);
			return;
		}
		if (part == 0) {
			r = flush(request);
			part = BODY_PIECE;
		}
		if (part > len)
			part = len;
		if (!r)
			r = request_collect(request, bytes, part, BODY_PIECE);
		if (r)
			reply_append_failure(request, r);
		bytes += part;
		len -= part;
	}
}

static int link_mounted(struct request *request)
{
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	cleanup_blob struct blob blob = { .fd = -1 };
	struct problem problem = { "" };
	bool is_new = store_has_link(store, repository, STORE_LAYERS, &request->digest) <= 0;
	/* Its name may have been seen before its publisher has synced it. */
	int r = store_sync_blob(store, &request->digest);

	if (!r)
		r = store_open_blob(store, &request->digest, &blob);
	if (!r && is_new)
		r = quota_hold(store->quotas, repository, blob.size_bytes, &problem);
	if (r == -EDQUOT && problem.text[0])
		reply_over_quota(request, &problem);
	if (r)
		return r;
	r = index_create_repository(request->services->index, store, repository);
	if (!r)
		r = store_add_link(store, repository, STORE_LAYERS, &request->digest, "", 0);
	if (is_new)
		quota_release(store->quotas, repository, blob.size_bytes);
	return r;
}

static void mount(struct request *request)
{
	const char *from = route_query(&request->route, "from");
	struct store *store = request->services->store;
	int r;

	/* Knowing a digest is no right to its content: it must be in sight somewhere. */
	if ((from && *from
		     ? !request_may(request, from, ACTION_PULL) ||
			       store_has_link(store, from, STORE_LAYERS, &request->digest) <= 0
		     : !request_sees_all(request)) ||
	    store_renew_blob(store, &request->digest)) {
		/* nothing to mount: the client uploads it */
		start_session(request, true);
		if (!request->upload)
			return;
		reply_empty(request, 202);
		add_session_headers(request);
		return;
	}
	r = link_mounted(request);
	if (r)
		reply_failure(request, r, "the blob cannot be mounted");
	else
		reply_created(request, &request->digest);
}

static void commit(struct request *request)
{
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	bool in_memory = upload_size(request->upload) == 0;
	int r = hold(request, request->body_len, true);

	if (!r && request->body_len && !store_has_room(store, request->body_len))
		r = -ENOSPC;
	if (!r)
		r = upload_commit(request->upload, request->body, request->body_len,
				  &request->digest);
	if (!r)
		r = index_create_repository(request->services->index, store, repository);
	if (!r)
		r = store_add_link(store, repository, STORE_LAYERS, &request->digest, "", 0);
	if (!r && !in_memory)
		packer_submit(request->services->packer, &request->digest);
	if (!r) {
		reply_created(request, &request->digest);
	} else if (r == -EBADMSG) {
		char text[DIGEST_TEXT_SIZE];

		reply_error(request, API_DIGEST_INVALID,
			    "what was uploaded does not have the digest %s: upload it again",
			    digest_format(&request->digest, text));
	} else {
		reply_append_failure(request, r);
		return;
	}
	upload_drop(request->services->uploads, steal_ptr(request->upload));
}

void uploads_post_finish(struct request *request)
{
	if (route_query(&request->route, "mount"))
		mount(request);
	else
		commit(request);
}

static void acquire(struct request *request)
{
	int r = upload_acquire(request->services->uploads, request->route.upload,
			       request->route.repository, &request->upload);

	if (r == -EBUSY)
		reply_error_status(request, API_BLOB_UPLOAD_INVALID, 409,
				   "another request is using this upload");
	else if (r)
		reply_error(request, API_BLOB_UPLOAD_UNKNOWN,
			    "repository %s has no such upload; it may have expired: start again",
			    request->route.repository);
}

/* Content-Range, where there is one, must go on exactly where the session is. */
static void check_content_range(struct request *request)
{
	const char *header = request_header(request, "Content-Range");
	uint64_t first = 0, last = 0, size;

	if (!header || request_is_answered(request))
		return;
	size = upload_size(request->upload);
	if (!content_range_parse(header, &first, &last) && first == size &&
	    (!request->has_length || request->length == last - first + 1)) {
		request->range_bytes = last - first + 1;
		return;
	}
	reply_wrong_range(request);
}

/* A chunk without a length was not as long as its Content-Range said. */
static bool has_wrong_length(struct request *request)
{
	if (!request->range_bytes || request->body_bytes == request->range_bytes)
		return false;
	reply_wrong_range(request);
	return true;
}

void upload_patch_begin(struct request *request)
{
	acquire(request);
	check_content_range(request);
	check_room(request);
}

/* What the session says that it has is on disk. */
static void reply_session(struct request *request, unsigned int status)
{
	int r = upload_sync(request->upload);

	if (r) {
		reply_append_failure(request, r);
		return;
	}
	reply_empty(request, status);
	add_session_headers(request);
}

void upload_patch_finish(struct request *request)
{
	int r;

	if (has_wrong_length(request))
		return;
	r = flush(request);
	if (r)
		reply_append_failure(request, r);
	else
		reply_session(request, 202);
}

void upload_put_begin(struct request *request)
{
	if (!read_digest(request, "digest"))
		return;
	if (!request->has_digest) {
		reply_error(request, API_DIGEST_INVALID,
			    "the last request of an upload needs ?digest=ALGORITHM:HEX");
		return;
	}
	acquire(request);
	check_content_range(request);
	check_room(request);
}

void upload_put_finish(struct request *request)
{
	if (!has_wrong_length(request))
		commit(request);
}

void upload_get_finish(struct request *request)
{
	acquire(request);
	if (!request_is_answered(request))
		reply_session(request, 204);
}

void upload_delete_finish(struct request *request)
{
	acquire(request);
	if (request_is_answered(request))
		return;
	upload_drop(request->services->uploads, steal_ptr(request->upload));
	reply_empty(request, 204);
}

void upload_end(struct request *request)
{
	if (request->upload)
		upload_release(request->services->uploads, steal_ptr(request->upload));
}
