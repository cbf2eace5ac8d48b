/* SPDX-License-Identifier: Apache-2.0 */
/* Serves /v2/ and /v2/NAME/blobs/DIGEST: end-1, end-2 and end-10 of the specification. */
#include <string.h>

#include "server/operations.h"
#include "server/range.h"
#include "server/zstdbody.h"

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

/* Is one of the tags in an If-None-Match header ours, in either encoding? */
static bool none_matches(const char *header, const char *digest)
{
	return header && (!strcmp(header, "*") || strstr(header, digest));
}

static void add_blob_headers(struct request *request, const char *digest, const char *suffix)
{
	reply_header(request, "Content-Type", "application/octet-stream");
	reply_header(request, "Docker-Content-Digest", "%s", digest);
	reply_header(request, "ETag", "\"%s%s\"", digest, suffix);
	reply_header(request, "Cache-Control", "public, max-age=31536000, immutable");
	reply_header(request, "Vary", "Accept-Encoding");
	reply_header(request, "Accept-Ranges", "bytes");
}

/* Return: true when the answer was made and @fd is taken. */
static bool try_zstd(struct request *request, int fd, uint64_t size_bytes, const char *digest)
{
	struct MHD_Response *response;
	uint64_t bytes;

	if (request->method != METHOD_GET || !request->services->zstd_cache ||
	    !zstd_is_accepted(request_header(request, "Accept-Encoding")) ||
	    zstd_respond(request->services->zstd_cache, fd, size_bytes, &request->route.digest,
			 &response, &bytes))
		return false;
	reply_response(request, 200, response, bytes);
	reply_header(request, "Content-Encoding", "zstd");
	add_blob_headers(request, digest, "-zstd");
	return true;
}

static void send_blob(struct request *request, int fd, uint64_t size_bytes, const char *digest)
{
	const char *range = request_header(request, "Range");
	const char *if_range = request_header(request, "If-Range");
	uint64_t first = 0, last = 0;
	char etag[DIGEST_TEXT_SIZE + 2];

	snprintf(etag, sizeof(etag), "\"%s\"", digest);
	if (!range && try_zstd(request, fd, size_bytes, digest))
		return;
	if (if_range && strcmp(if_range, etag))
		range = NULL;
	switch (range_parse(range, size_bytes, &first, &last)) {
	case RANGE_UNSATISFIABLE:
		close(fd);
		reply_error_status(request, API_SIZE_INVALID, 416,
				   "the blob has %llu bytes, the range is behind its end",
				   (unsigned long long)size_bytes);
		reply_header(request, "Content-Range", "bytes */%llu",
			     (unsigned long long)size_bytes);
		reply_header(request, "Accept-Ranges", "bytes");
		return;
	case RANGE_PART:
		reply_fd(request, 206, fd, first, last - first + 1);
		reply_header(request, "Content-Range", "bytes %llu-%llu/%llu",
			     (unsigned long long)first, (unsigned long long)last,
			     (unsigned long long)size_bytes);
		break;
	case RANGE_WHOLE:
		reply_fd(request, 200, fd, 0, size_bytes);
		break;
	}
	add_blob_headers(request, digest, "");
}

void blob_get_begin(struct request *request)
{
	const struct digest *digest = &request->route.digest;
	struct store *store = request->services->store;
	char text[DIGEST_TEXT_SIZE];
	uint64_t size_bytes;
	int fd;

	digest_format(digest, text);
	if (!store_has_link(store, request->route.repository, STORE_LAYERS, digest)) {
		blob_unknown(request);
		return;
	}
	fd = store_open_blob(store, digest, &size_bytes);
	if (fd == -ENOENT) {
		blob_unknown(request);
	} else if (fd < 0) {
		reply_failure(request, fd, "the blob cannot be opened");
	} else if (none_matches(request_header(request, "If-None-Match"), text)) {
		close(fd);
		reply_empty(request, 304);
		add_blob_headers(request, text, "");
	} else {
		send_blob(request, fd, size_bytes, text);
	}
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
