/* SPDX-License-Identifier: Apache-2.0 */
/* Serves /v2/NAME/manifests/REFERENCE: end-3, 7 and 9 of the specification. */
#include <string.h>

#include "lib/log.h"
#include "lib/registry.h"
#include "server/content.h"
#include "server/index_rebuild.h"
#include "server/manifest.h"
#include "server/negotiate.h"
#include "server/operations.h"
#include "server/quota.h"

enum {
	/* What is collected in memory others wait for: it may not come at a trickle. */
	BODY_DEADLINE_MS = 60 * 1000,
	HEADS_REST = 4 * 1024, /* what an answer has besides tags, and the library's own */
	TAG_REST = 64,	       /* the same for each tag */
};

static void manifest_unknown(struct request *request)
{
	char text[DIGEST_TEXT_SIZE];

	int r = store_has_repository(request->services->store, request->route.repository);

	if (r < 0)
		reply_failure(request, r, "the repository cannot be read");
	else if (!r)
		reply_error(request, API_NAME_UNKNOWN, "there is no repository %s",
			    request->route.repository);
	else
		reply_error(request, API_MANIFEST_UNKNOWN, "repository %s has no manifest %s",
			    request->route.repository,
			    request->route.has_digest ? digest_format(&request->route.digest, text)
						      : request->route.tag);
}

/* ---- Conditions ---- */

static void read_conditions(struct request *request)
{
	request->if_match = request_header(request, "If-Match");
	request->if_none_match = request_header(request, "If-None-Match");
}

/* What the URL names now. Return: 1; 0: nothing; -errno. */
static int find_current(const struct request *request, struct digest *out)
{
	const struct route *route = &request->route;
	struct store *store = request->services->store;
	int r = 0;

	*out = route->digest;
	if (!route->has_digest)
		r = store_get_tag(store, route->repository, route->tag, out);
	if (r)
		return r == -ENOENT || r == -EBADMSG ? 0 : r;
	return store_has_link(store, route->repository, STORE_MANIFESTS, out);
}

/*
 * Under the repository's lock: is what the URL names still what the client has seen? So several
 * can change one tag, such as the index of the old scheme of referrers, and none loses a change.
 */
static bool is_changed_meanwhile(struct request *request)
{
	char text[DIGEST_TEXT_SIZE], etag[DIGEST_TEXT_SIZE + 2] = "";
	struct digest digest;
	int is_there;

	if (!request->if_match && !request->if_none_match)
		return false;
	is_there = find_current(request, &digest);
	if (is_there < 0) {
		reply_failure(request, is_there, "what is there now cannot be read");
		return true;
	}
	if (is_there)
		snprintf(etag, sizeof(etag), "\"%s\"", digest_format(&digest, text));
	if (etag_allows_change(request->if_match, request->if_none_match, is_there ? etag : NULL))
		return false;
	reply_error_status(request, API_UNSUPPORTED, 412,
			   "what is there now is %s: look at it, and try again",
			   is_there ? text : "nothing");
	return true;
}

/* ---- GET, HEAD ---- */

static void send_manifest(struct request *request, const struct digest *digest, struct blob *blob,
			  const char *media_type)
{
	char text[DIGEST_TEXT_SIZE], etag[DIGEST_TEXT_SIZE + 2];
	const char *if_match = request_header(request, "If-Match");

	snprintf(etag, sizeof(etag), "\"%s\"", digest_format(digest, text));
	if (if_match && !etag_listed(if_match, etag, false)) {
		blob_close(blob);
		reply_error_status(request, API_UNSUPPORTED, 412, "what is there now is %s", text);
		return;
	}
	if (etag_listed(request_header(request, "If-None-Match"), etag, true)) {
		blob_close(blob);
		reply_empty(request, 304);
	} else {
		reply_checked(request, 200, blob);
		if (request->status != 200)
			return;
	}
	reply_header_text(request, "Content-Type", media_type);
	reply_header_text(request, "Docker-Content-Digest", text);
	reply_header_text(request, "ETag", etag);
	reply_header_text(request, "Cache-Control",
			  request->route.has_digest ? "max-age=31536000, immutable" : "no-cache");
}

void manifest_get_begin(struct request *request)
{
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	cleanup_free char *link = NULL;
	struct digest digest = request->route.digest;
	struct blob blob;
	int r = 0;

	if (!request->route.has_digest)
		r = store_get_tag(store, repository, request->route.tag, &digest);
	/* Who asks may be about to push an index that names it. */
	if (!r && request->method == METHOD_HEAD)
		r = store_offer_link(store, repository, STORE_MANIFESTS, &digest);
	if (!r)
		r = store_read_link(store, repository, STORE_MANIFESTS, &digest, &link);
	if (!r)
		r = store_open_blob(store, &digest, &blob);
	if (r == -ENOENT)
		manifest_unknown(request);
	else if (r)
		reply_failure(request, r, "the manifest cannot be read");
	else
		send_manifest(request, &digest, &blob, manifest_media_type(link));
}

/* ---- PUT ---- */

static void too_large(struct request *request)
{
	reply_error_status(request, API_SIZE_INVALID, 413, "a manifest may have %d bytes at most",
			   MANIFEST_SIZE_MAX);
}

/* Each tag is in the answer, too, whose head must fit behind that of the request. */
static bool has_room_for(const struct request *request, const char *const *tags, int n)
{
	const union MHD_ConnectionInfo *head = MHD_get_connection_info(
		request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	size_t need = HEADS_REST + (head ? head->header_size : 0);

	for (int i = 0; i < n; i++)
		need += strlen(tags[i]) + TAG_REST;
	return need <= CONNECTION_MEMORY;
}

static void check_tags(struct request *request)
{
	const char *tags[ROUTE_TAGS_MAX];
	int n = route_tags(&request->route, tags);

	if (n == -E2BIG)
		reply_error_status(
			request, API_UNSUPPORTED, 414,
			"one push can set %d tags at most: set the others by further ones",
			ROUTE_TAGS_MAX);
	else if (n > 0 && !has_room_for(request, tags, n))
		reply_error_status(request, API_UNSUPPORTED, 431,
				   "the head of the request and its %d tags are too long together: "
				   "set some of them by further pushes",
				   n);
	else if (n < 0)
		reply_error(request, API_MANIFEST_INVALID,
			    "tag: 1 to 128 of A-Z a-z 0-9 _ . - that start with none of . -");
}

void manifest_put_begin(struct request *request)
{
	const char *type = request_header(request, "Content-Type");

	read_conditions(request);
	check_tags(request);
	if (request_is_answered(request))
		return;
	if (request->has_length && request->length > MANIFEST_SIZE_MAX) {
		too_large(request);
		return;
	}
	request->text = strdup(type ? type : "");
	if (!request->text)
		reply_failure(request, -ENOMEM, "manifest");
}

void manifest_put_body(struct request *request, const char *bytes, size_t len)
{
	int r;

	if (request_age_ms(request) > BODY_DEADLINE_MS) {
		reply_error_status(request, API_UNAVAILABLE, 408,
				   "a manifest must be here within %d s", BODY_DEADLINE_MS / 1000);
		request_drop_body(request);
		return;
	}
	r = request_collect(request, bytes, len, MANIFEST_SIZE_MAX);
	if (!r)
		return;
	if (r == -EFBIG)
		too_large(request);
	else
		reply_failure(request, r, "manifest");
	request_drop_body(request);
}

struct change {
	struct request *request;
	const struct digest *digest;
	const struct manifest_record *record;
	const char **tags; /* that will point at it */
	int n_tags;
};

static int index_put_manifest(struct index_txn *txn, void *context)
{
	const struct change *change = context;
	const struct route *route = &change->request->route;
	char text[DIGEST_TEXT_SIZE];
	int r = index_put(txn, INDEX_REPOSITORIES, route->repository, NULL, NULL, NULL, "", 0);

	if (!r)
		r = manifest_record_index(txn, route->repository, change->digest, change->record);
	digest_format(change->digest, text);
	for (int i = 0; !r && i < change->n_tags; i++)
		r = index_put(txn, INDEX_TAGS, route->repository, change->tags[i], NULL, NULL, text,
			      strlen(text));
	return r;
}

static bool is_missing_something(struct request *request, const struct oci_document *document)
{
	const char *repository = request->route.repository;
	const struct digest *missing;
	char text[DIGEST_TEXT_SIZE];
	int r = manifest_missing(request->services->store, repository, document, &missing);

	if (r)
		reply_failure(request, r, "what the manifest names cannot be looked up");
	else if (missing)
		reply_error(request, API_MANIFEST_BLOB_UNKNOWN,
			    "the manifest names %s, which repository %s does not have: push that "
			    "first",
			    digest_format(missing, text), repository);
	return r || missing;
}

static bool tag_is(const struct store *store, const char *repository, const char *tag,
		   const struct digest *digest)
{
	struct digest found;

	return !store_get_tag(store, repository, tag, &found) && digest_equal(&found, digest);
}

/* Under the repository's lock: link, tag, index. */
static int publish(struct change *change)
{
	struct request *request = change->request;
	const struct route *route = &request->route;
	struct store *store = request->services->store;
	cleanup_free char *text = manifest_record_text(change->record);
	struct problem problem = { "" };
	uint64_t bytes = request->body_len;
	int r, followed, n = 0;

	if (!text)
		return -ENOMEM;
	if (store_has_link(store, route->repository, STORE_MANIFESTS, change->digest) > 0)
		bytes = 0;
	r = bytes ? quota_hold(store->quotas, route->repository, bytes, &problem) : 0;
	if (r == -EDQUOT)
		reply_over_quota(request, &problem);
	if (r)
		return r;
	r = store_add_link(store, route->repository, STORE_MANIFESTS, change->digest, text,
			   strlen(text));
	quota_release(store->quotas, route->repository, bytes);
	for (; !r && n < change->n_tags; n++) {
		struct digest old;

		/* What loses its tag has been without one from now on, not for long. */
		if (!store_get_tag(store, route->repository, change->tags[n], &old))
			(void)!store_renew_link(store, route->repository, STORE_MANIFESTS, &old);
		r = store_set_tag(store, route->repository, change->tags[n], change->digest);
	}
	/* Also when the last step failed the files may say it already. */
	while (r && n > 0 && !tag_is(store, route->repository, change->tags[n - 1], change->digest))
		n--;
	if (r && !n)
		return r;
	change->n_tags = n;
	followed = index_follow(request->services->index, index_put_manifest, change);
	return r ? r : followed;
}

static void put_manifest(struct request *request, const struct oci_document *document,
			 const struct digest *digest)
{
	cleanup_manifest_record struct manifest_record record = { .media_type = NULL };
	const char *tags[ROUTE_TAGS_MAX + 1];
	struct change change = { request, digest, &record, tags, 0 };
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	char text[DIGEST_TEXT_SIZE];
	int r;

	change.n_tags = route_tags(&request->route, tags); /* looked at before the body came */
	if (!request->route.has_digest)
		tags[change.n_tags++] = request->route.tag;
	r = manifest_record_make(document, digest, request->body_len, &record);
	if (!r && !store_has_room(store, request->body_len))
		r = -ENOSPC;
	if (!r)
		r = store_publish_bytes(store, digest, request->body, request->body_len);
	if (!r)
		r = index_create_repository(request->services->index, store, repository);
	if (!r) {
		/* Looked at again: a blob may have been deleted meanwhile. */
		store_lock_repository(store, repository);
		if (!is_changed_meanwhile(request) && !is_missing_something(request, document))
			r = publish(&change);
		store_unlock_repository(store, repository);
	}
	if (r)
		reply_failure(request, r, "the manifest cannot be stored");
	if (request_is_answered(request))
		return;
	reply_empty(request, 201);
	digest_format(digest, text);
	reply_header(request, "Location", "/v2/%s/manifests/%s", repository, text);
	reply_header_text(request, "Docker-Content-Digest", text);
	if (record.has_subject)
		reply_header_text(request, "OCI-Subject", digest_format(&record.subject, text));
	for (int i = 0; i < change.n_tags; i++)
		reply_header_text(request, "OCI-Tag", tags[i]);
}

void manifest_put_finish(struct request *request)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	struct problem problem = { "" };
	struct digest digest;
	int r = digest_compute(request->route.has_digest ? request->route.digest.algorithm
							 : DIGEST_SHA256,
			       request->body, request->body_len, &digest);

	if (!r && request->route.has_digest && !digest_equal(&digest, &request->route.digest)) {
		reply_error(request, API_DIGEST_INVALID,
			    "the manifest's bytes do not have the digest in its URL");
		return;
	}
	if (!r)
		r = oci_document_parse(request->body, request->body_len, request->text, &document,
				       &problem);
	if (r == -ENOMEM)
		reply_failure(request, r, "manifest");
	else if (r)
		reply_error(request, API_MANIFEST_INVALID, "%s", problem_text(&problem, r));
	else if (!is_changed_meanwhile(request) && !is_missing_something(request, &document))
		put_manifest(request, &document, &digest);
}

/* ---- DELETE ---- */

static int index_remove_tag(struct index_txn *txn, void *context)
{
	const struct route *route = &((struct request *)context)->route;

	return index_delete(txn, INDEX_TAGS, route->repository, route->tag, NULL, NULL);
}

static int delete_tag(struct request *request)
{
	const struct route *route = &request->route;
	struct store *store = request->services->store;
	struct digest digest;
	int r, followed;

	if (!store_get_tag(store, route->repository, route->tag, &digest))
		(void)!store_renew_link(store, route->repository, STORE_MANIFESTS, &digest);
	r = store_remove_tag(store, route->repository, route->tag);
	/* A removal that failed late, now or before, may have left its row. */
	if (r && !store_get_tag(store, route->repository, route->tag, &digest))
		return r;
	followed = index_follow(request->services->index, index_remove_tag, request);
	return r ? r : followed;
}

/* Visits every tag; those of the manifest that goes, go first. */
static int remove_if_tagged(void *context, const char *tag)
{
	struct request *request = context;
	struct store *store = request->services->store;
	struct digest digest;
	int r = store_get_tag(store, request->route.repository, tag, &digest);

	if (r || !digest_equal(&digest, &request->route.digest))
		return r == -ENOENT || r == -EBADMSG ? 0 : r;
	snprintf(request->route.tag, sizeof(request->route.tag), "%s", tag);
	return delete_tag(request);
}

static int delete_manifest(struct request *request)
{
	struct services *services = request->services;
	const struct route *route = &request->route;
	int r = store_has_link(services->store, route->repository, STORE_MANIFESTS, &route->digest);

	if (r <= 0)
		return r ? r : -ENOENT;
	r = store_each_name(services->store, route->repository, STORE_TAGS, remove_if_tagged,
			    request);
	return r ? r
		 : manifest_remove(services->store, services->index, route->repository,
				   &route->digest, INT64_MAX);
}

void manifest_delete_begin(struct request *request)
{
	read_conditions(request);
}

void manifest_delete_finish(struct request *request)
{
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	int r = 0;

	store_lock_repository(store, repository);
	if (!is_changed_meanwhile(request))
		r = request->route.has_digest ? delete_manifest(request) : delete_tag(request);
	store_unlock_repository(store, repository);
	if (r == -ENOENT)
		manifest_unknown(request);
	else if (r)
		reply_failure(request, r, "the manifest cannot be deleted");
	else if (!request_is_answered(request))
		reply_empty(request, 202);
}
