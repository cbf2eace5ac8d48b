/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves the listings: tags (end-8), _catalog (a reserved extension that every registry
 * has) and referrers (end-12). They come from the index, in pages. On workers: what rights hide, or
 * a filter leaves out, makes a page as long to find as the listing is.
 */
#include <string.h>

#include "lib/json.h"
#include "lib/oci.h"
#include "lib/registry.h"
#include "server/authorize.h"
#include "server/manifest.h"
#include "server/operations.h"

enum { REFERRERS_BYTES_MAX = 4 * 1024 * 1024, TYPE_FILTER_MAX = 255 };

struct page {
	json_t *names; /* owned by the answer */
	size_t max;
	size_t n_bytes;	  /* of referrers */
	const char *type; /* referrers: only these; may be NULL */
	char last[TAG_MAX + REPOSITORY_MAX + 1];
	bool more;
	const struct request *hides; /* catalog: whose rights decide what is shown; or NULL */
};

/* Return: false when the answer is an error. */
static bool read_page_size(struct request *request, struct page *page)
{
	const char *text = route_query(&request->route, "n");

	page->max = LIST_PAGE_MAX;
	if (!text)
		return true;
	if (!*text || text[strspn(text, "0123456789")]) {
		reply_error_status(request, API_UNSUPPORTED, 400, "n is not a number");
		return false;
	}
	if (strlen(text) <= 4 && strtoul(text, NULL, 10) < LIST_PAGE_MAX)
		page->max = strtoul(text, NULL, 10);
	return true;
}

static bool index_answers(struct request *request)
{
	if (index_is_ready(request->services->index))
		return true;
	reply_error(request, API_UNAVAILABLE,
		    "the index is being rebuilt; listings come back in a moment, pulls and pushes "
		    "work");
	return false;
}

static int add_name(void *context, const struct index_row *row)
{
	struct page *page = context;

	/* What he may not pull is not there for him. */
	if (page->hides && !request_may(page->hides, row->name, ACTION_PULL))
		return 0;
	if (json_array_size(page->names) >= page->max) {
		page->more = page->max > 0;
		return 1;
	}
	snprintf(page->last, sizeof(page->last), "%s", row->name);
	return json_array_append_new(page->names, json_string(row->name)) ? -ENOMEM : 0;
}

static void reply_json(struct request *request, const char *content_type, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	reply_text(request, 200, content_type, text, text ? strlen(text) : 0);
	json_decref(value);
}

/* Names and digests need no escapes in a query but for ":", which is allowed there. */
static void add_next_link(struct request *request, const struct page *page, const char *path)
{
	if (page->more)
		reply_header(request, "Link", "<%s?n=%zu&last=%s>; rel=\"next\"", path, page->max,
			     page->last);
}

/* A media type as a client sent it, decoded: everything but letters and digits is escaped again. */
static void escape_type(const char *type, char out[static 3 * TYPE_FILTER_MAX + 1])
{
	static const char plain[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = 0;

	for (; *type; type++) {
		if (strchr(plain, *type))
			out[len++] = *type;
		else
			len += (size_t)snprintf(out + len, 4, "%%%02X", (unsigned char)*type);
	}
	out[len] = '\0';
}

static void add_next_referrers(struct request *request, const struct page *page, const char *path)
{
	char type[3 * TYPE_FILTER_MAX + 1] = "";

	if (!page->more)
		return;
	if (page->type)
		escape_type(page->type, type);
	reply_header(request, "Link", "<%s?%s%s%slast=%s>; rel=\"next\"", path,
		     page->type ? "artifactType=" : "", type, page->type ? "&" : "", page->last);
}

static bool fill_page(struct request *request, enum index_table table, const char *repository,
		      struct page *page)
{
	const char *after = route_query(&request->route, "last");
	int r;

	page->names = json_array();
	if (!page->names) {
		reply_failure(request, -ENOMEM, "listing");
		return false;
	}
	r = index_list(request->services->index, table, repository, NULL, after, add_name, page);
	if (r >= 0)
		return true;
	json_decref(page->names);
	reply_failure(request, r, "the listing cannot be read");
	return false;
}

void tags_finish(struct request *request)
{
	const char *repository = request->route.repository;
	char path[REPOSITORY_MAX + 32];
	struct page page = { .max = 0 };
	int r = store_has_repository(request->services->store, repository);

	if (r < 0) {
		reply_failure(request, r, "the repository cannot be read");
		return;
	}
	if (!r) {
		reply_error(request, API_NAME_UNKNOWN, "there is no repository %s", repository);
		return;
	}
	if (!index_answers(request) || !read_page_size(request, &page) ||
	    !fill_page(request, INDEX_TAGS, repository, &page))
		return;
	reply_json(request, "application/json",
		   json_pack("{s:s,s:o}", "name", repository, "tags", page.names));
	snprintf(path, sizeof(path), "/v2/%s/tags/list", repository);
	add_next_link(request, &page, path);
}

void catalog_finish(struct request *request)
{
	struct page page = { .hides = request_sees_all(request) ? NULL : request };

	if (!index_answers(request) || !read_page_size(request, &page) ||
	    !fill_page(request, INDEX_REPOSITORIES, NULL, &page))
		return;
	reply_json(request, "application/json", json_pack("{s:o}", "repositories", page.names));
	add_next_link(request, &page, "/v2/_catalog");
}

static int add_referrer(void *context, const struct index_row *row)
{
	struct page *page = context;
	json_error_t error;
	json_t *value;
	const char *type;

	if (page->n_bytes + row->value_len > REFERRERS_BYTES_MAX &&
	    json_array_size(page->names) > 0) {
		page->more = true;
		return 1;
	}
	value = json_loadb(row->value, row->value_len, 0, &error);
	if (!value)
		return -EUCLEAN;
	type = json_get_string(value, "artifactType");
	if (page->type && (!type || strcmp(type, page->type))) {
		json_decref(value);
		return 0;
	}
	page->n_bytes += row->value_len;
	snprintf(page->last, sizeof(page->last), "%s", row->name);
	return json_array_append_new(page->names, value) ? -ENOMEM : 0;
}

/* Those that the index lists already, since the manifest itself names the subject, are left out. */
static int add_tagged(const struct request *request, struct page *page,
		      const struct oci_document *document, const json_t *manifests)
{
	for (size_t i = 0; i < document->n_entries; i++) {
		json_t *value = json_array_get(manifests, i);
		const char *type = json_get_string(value, "artifactType");
		int r;

		if (page->type && (!type || strcmp(type, page->type)))
			continue;
		r = index_has(request->services->index, INDEX_REFERRERS, request->route.repository,
			      NULL, &request->route.digest, &document->entries[i].digest);
		if (r == 0)
			r = json_array_append(page->names, value) ? -ENOMEM : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Clients of registries without this endpoint kept referrers in an index of their own, under a
 * tag made of the subject's digest ("Referrers Tag Schema"). What such an index lists is
 * a referrer, too. On the last page; an index that cannot be read lists nothing.
 */
static int add_by_tag(const struct request *request, struct page *page)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_blob struct blob blob = { .fd = -1 };
	const char *repository = request->route.repository;
	struct store *store = request->services->store;
	cleanup_free char *bytes = NULL;
	char tag[TAG_MAX + 1], hex[DIGEST_TEXT_SIZE];
	struct digest digest;

	snprintf(tag, sizeof(tag), "%s-%.64s",
		 digest_algorithm_name(request->route.digest.algorithm),
		 digest_format_hex(&request->route.digest, hex));
	if (store_get_tag(store, repository, tag, &digest) ||
	    !store_has_link(store, repository, STORE_MANIFESTS, &digest) ||
	    store_open_blob(store, &digest, &blob) ||
	    blob_read_all(&blob, MANIFEST_SIZE_MAX, &bytes) ||
	    oci_document_parse(bytes, blob.size_bytes, OCI_MEDIA_INDEX, &document, NULL))
		return 0;
	return add_tagged(request, page, &document, json_object_get(document.json, "manifests"));
}

/* Always an index, also for a repository or a subject that was never pushed. */
void referrers_finish(struct request *request)
{
	const char *after = route_query(&request->route, "last");
	struct page page = { .type = route_query(&request->route, "artifactType") };
	char path[REPOSITORY_MAX + DIGEST_TEXT_SIZE + 32], text[DIGEST_TEXT_SIZE];
	int r;

	if (page.type && strlen(page.type) > TYPE_FILTER_MAX) {
		reply_error_status(request, API_UNSUPPORTED, 400,
				   "artifactType: a media type has %d characters at most",
				   TYPE_FILTER_MAX);
		return;
	}
	if (!index_answers(request))
		return;
	page.names = json_array();
	r = page.names ? index_list(request->services->index, INDEX_REFERRERS,
				    request->route.repository, &request->route.digest, after,
				    add_referrer, &page)
		       : -ENOMEM;
	if (r == 0)
		r = add_by_tag(request, &page);
	if (r < 0) {
		json_decref(page.names);
		if (r == -EINVAL)
			reply_error(request, API_DIGEST_INVALID, "last is not a digest");
		else
			reply_failure(request, r, "the referrers cannot be read");
		return;
	}
	reply_json(request, OCI_MEDIA_INDEX,
		   json_pack("{s:i,s:s,s:o}", "schemaVersion", 2, "mediaType", OCI_MEDIA_INDEX,
			     "manifests", page.names));
	if (page.type)
		reply_header_text(request, "OCI-Filters-Applied", "artifactType");
	snprintf(path, sizeof(path), "/v2/%s/referrers/%s", request->route.repository,
		 digest_format(&request->route.digest, text));
	add_next_referrers(request, &page, path);
}
