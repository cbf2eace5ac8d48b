/* SPDX-License-Identifier: Apache-2.0 */
/* Serves /v2/ and /v2/NAME/blobs/DIGEST: end-1, end-2 and end-10 of the specification. */
#include <string.h>

#include "server/content.h"
#include "server/hot.h"
#include "server/negotiate.h"
#include "server/operations.h"
#include "server/range.h"
#include "server/verified.h"

#define BLOB_TYPE "application/octet-stream"

enum { ETAG_SIZE = DIGEST_TEXT_SIZE + 8 };

void ping_begin(struct request *request)
{
	char *text = strdup("{}");

	reply_text(request, 200, "application/json", text, text ? 2 : 0);
}

static void blob_unknown(struct request *request)
{
	char text[DIGEST_TEXT_SIZE];

	reply_error(request, API_BLOB_UNKNOWN, "repository %s has no blob %s",
		    request->route.repository, digest_format(&request->route.digest, text));
}

/* In which form a GET without a range is answered. */
static bool sends_frames(const struct request *request, const struct blob *blob)
{
	return blob->packed && request->method == METHOD_GET &&
	       accepts_zstd(request_header(request, "Accept-Encoding"));
}

static void add_blob_headers(struct request *request, const char *digest, const char *etag)
{
	reply_header_text(request, "Docker-Content-Digest", digest);
	reply_header_text(request, "ETag", etag);
	/* Not "public": a shared cache would give it to who may not pull it (RFC 9111, 3.5). */
	reply_header_text(request, "Cache-Control", "max-age=31536000, immutable");
	reply_header_text(request, "Vary", "Accept-Encoding");
	reply_header_text(request, "Accept-Ranges", "bytes");
}

static void reply_behind_end(struct request *request, struct blob *blob)
{
	uint64_t size_bytes = blob->size_bytes;

	blob_close(blob);
	reply_error_status(request, API_SIZE_INVALID, 416,
			   "the blob has %llu bytes, the range is behind its end",
			   (unsigned long long)size_bytes);
	reply_header(request, "Content-Range", "bytes */%llu", (unsigned long long)size_bytes);
	reply_header_text(request, "Accept-Ranges", "bytes");
}

/* @ranges: one or several that the blob has. */
static void reply_ranges(struct request *request, struct blob *blob,
			 const struct byte_range *ranges, unsigned int n)
{
	uint64_t size_bytes = blob->size_bytes;

	if (n > 1) {
		reply_parts(request, blob, ranges, n, BLOB_TYPE);
		return;
	}
	reply_content(request, 206, blob, ranges[0].first, ranges[0].last - ranges[0].first + 1);
	if (request->status != 206)
		return;
	reply_header(request, "Content-Type", BLOB_TYPE);
	reply_header(request, "Content-Range", "bytes %llu-%llu/%llu",
		     (unsigned long long)ranges[0].first, (unsigned long long)ranges[0].last,
		     (unsigned long long)size_bytes);
}

/* What anybody gets who asks for this blob so. */
static struct hot_key hot_key_of(const struct request *request)
{
	return (struct hot_key){ request->route.repository, &request->route.digest,
				 accepts_zstd(request_header(request, "Accept-Encoding")) };
}

/* Who is to keep the answer of @len bytes? @is_file: it is a file's, as it lies there. */
static struct hot *find_keeper(const struct request *request, uint64_t len, bool is_file)
{
	struct hot_key key = hot_key_of(request);
	struct hot *hot = NULL;

	if (len <= HOT_BLOB_MAX)
		hot = request->services->hot;
	else if (is_file && len <= HOT_MAPPED_MAX)
		hot = request->services->mapped;
	return request->is_plain && hot_ask(hot, &key) ? hot : NULL;
}

static void etag_of(const char *digest, const char *suffix, char out[static ETAG_SIZE])
{
	const char *end = out + ETAG_SIZE;

	text_append(text_append(text_append(out, end, "\""), end, digest), end, suffix);
}

static void send_blob(struct request *request, struct blob *blob, const char *digest)
{
	bool is_plain = request->is_plain; /* has none of these */
	const char *range = is_plain ? NULL : request_header(request, "Range");
	const char *if_match = is_plain ? NULL : request_header(request, "If-Match");
	const char *if_range = is_plain ? NULL : request_header(request, "If-Range");
	const char *if_none_match = is_plain ? NULL : request_header(request, "If-None-Match");
	cleanup_free struct byte_range *ranges = NULL;
	char etag[ETAG_SIZE], packed_etag[ETAG_SIZE];
	bool as_frames;
	unsigned int n;

	etag_of(digest, "\"", etag);
	etag_of(digest, "-zstd\"", packed_etag);
	if (if_match && !etag_listed(if_match, etag, false) &&
	    !etag_listed(if_match, packed_etag, false)) {
		blob_close(blob);
		reply_error_status(request, API_UNSUPPORTED, 412, "what is there is %s", digest);
		return;
	}
	/* A range is of the content, and only if it is of the content that the client has. */
	if (request->method == METHOD_HEAD || (if_range && strcmp(if_range, etag)))
		range = NULL;
	as_frames = !range && sends_frames(request, blob);
	if (etag_listed(if_none_match, etag, true) ||
	    etag_listed(if_none_match, packed_etag, true)) {
		blob_close(blob);
		reply_empty(request, 304);
		/* Of what a 200 would have sent (RFC 9110, 15.4.5). */
		add_blob_headers(request, digest, as_frames ? packed_etag : etag);
		return;
	}
	if (as_frames) {
		request->keeper = find_keeper(request, blob->pack.frames_bytes, false);
		reply_frames(request, blob);
		if (request->status != 200)
			return;
		reply_header_text(request, "Content-Encoding", "zstd");
		reply_header(request, "Content-Type", BLOB_TYPE);
		add_blob_headers(request, digest, packed_etag);
		return;
	}
	switch (range_parse(range, blob->size_bytes, &ranges, &n)) {
	case RANGE_UNSATISFIABLE:
		reply_behind_end(request, blob);
		return;
	case RANGE_PART:
		reply_ranges(request, blob, ranges, n);
		break;
	case RANGE_WHOLE:
		request->keeper = find_keeper(request, blob->size_bytes, !blob->packed);
		reply_blob(request, blob);
		if (request->status == 200)
			reply_header(request, "Content-Type", BLOB_TYPE);
		break;
	}
	if (request->status < 300)
		add_blob_headers(request, digest, etag);
}

/*
 * What stands for a repository among the links that were seen. Clients choose names: without the
 * key nobody can make two whose links look alike.
 */
static uint64_t repository_mark(const struct request *request)
{
	static _Thread_local struct {
		char name[REPOSITORY_MAX + 1];
		uint64_t mark;
	} last;
	const char *name = request->route.repository;
	unsigned char bytes[sizeof(request->services->key) + REPOSITORY_MAX];
	size_t len = strlen(name);
	struct digest digest;

	if (!strcmp(name, last.name))
		return last.mark;
	memcpy(bytes, request->services->key, sizeof(request->services->key));
	memcpy(bytes + sizeof(request->services->key), name, len);
	if (digest_compute(DIGEST_SHA256, bytes, sizeof(request->services->key) + len, &digest))
		return 0;
	memcpy(last.name, name, len + 1);
	memcpy(&last.mark, digest.bytes, sizeof(last.mark));
	return last.mark;
}

/* As store_has_link(); what was seen is seen until something of the kind is removed. */
static int is_linked(struct request *request)
{
	const struct services *services = request->services;
	const char *repository = request->route.repository;
	const struct digest *digest = &request->route.digest;
	uint64_t mark = repository_mark(request);
	uint64_t version = mark + store_removals(services->store, digest);
	int r;

	if (mark && verified_has(services->verified, VERIFIED_LINK, digest, version))
		return 1;
	r = store_has_link(services->store, repository, STORE_LAYERS, digest);
	if (r > 0 && mark)
		verified_add(services->verified, VERIFIED_LINK, digest, version);
	return r;
}

static int find_blob(struct request *request, struct blob *blob)
{
	const char *repository = request->route.repository;
	const struct digest *digest = &request->route.digest;
	struct store *store = request->services->store;
	int r = 0;

	/* Who asks by HEAD may leave out an upload for it: it must stay for a while. */
	if (request->method == METHOD_HEAD)
		r = store_offer_link(store, repository, STORE_LAYERS, digest);
	if (!r)
		r = is_linked(request);
	if (r <= 0)
		return r ? r : -ENOENT;
	return store_open_blob(store, digest, blob);
}

static void get_blob(struct request *request)
{
	char text[DIGEST_TEXT_SIZE];
	struct blob blob;
	int r = find_blob(request, &blob);

	if (r == -ENOENT)
		blob_unknown(request);
	else if (r)
		reply_failure(request, r, "the blob cannot be opened");
	else
		send_blob(request, &blob, digest_format(&request->route.digest, text));
}

/* Is the answer the same for everybody who asks for this? */
static bool is_plain_get(const struct request *request)
{
	static const char *const headers[] = { "Range", "If-Range", "If-Match", "If-None-Match" };

	if (request->method != METHOD_GET || !request->services->hot ||
	    request->services->draining || request->route.n_query)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		if (request_header(request, headers[i]))
			return false;
	}
	return true;
}

/* Never one with a descriptor: thousands of those would be all there are. */
static void keep_answer(struct request *request, const struct hot_key *key, uint32_t removals)
{
	if (request->keeper && request->in_memory)
		request->hot = hot_put(request->keeper, key, request->response,
				       request->answer_bytes, removals);
	if (request->hot)
		request->response = NULL; /* the cache's now */
}

void blob_get_begin(struct request *request)
{
	const struct services *services = request->services;
	struct hot_key key;
	uint32_t removals;

	request->is_plain = is_plain_get(request);
	if (!request->is_plain) {
		get_blob(request);
		return;
	}
	key = hot_key_of(request);
	removals = store_removals(services->store, key.digest);
	request->hot = hot_get(services->hot, &key, removals);
	if (!request->hot)
		request->hot = hot_get(services->mapped, &key, removals);
	if (request->hot) {
		request->status = 200;
		request->answer_bytes = hot_entry_bytes(request->hot);
		return;
	}
	get_blob(request);
	if (request->status == 200)
		keep_answer(request, &key, removals);
}

/* The repository's link goes; the content may be another repository's, too. */
void blob_delete_finish(struct request *request)
{
	struct store *store = request->services->store;
	const char *repository = request->route.repository;
	int r;

	store_lock_repository(store, repository);
	r = store_remove_link(store, repository, STORE_LAYERS, &request->route.digest);
	store_unlock_repository(store, repository);
	if (r == -ENOENT)
		blob_unknown(request);
	else if (r)
		reply_failure(request, r, "the blob cannot be deleted");
	else
		reply_empty(request, 202);
}
