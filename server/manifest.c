/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the link file of a manifest and what referrers show of it. Any thread. */
#include "server/manifest.h"

#include <string.h>

#include "lib/registry.h"

static char *make_descriptor(const struct oci_document *document, const struct digest *digest,
			     uint64_t size_bytes)
{
	cleanup_json json_t *value = oci_descriptor_json(document->media_type, digest, size_bytes);
	const char *type = document->artifact_type;

	if (!type && document->kind == OCI_KIND_MANIFEST)
		type = document->config.media_type;
	if (!value || (type && json_object_set_new(value, "artifactType", json_string(type))) ||
	    (document->annotations &&
	     json_object_set_new(value, "annotations", json_deep_copy(document->annotations))))
		return NULL;
	return json_dumps(value, JSON_COMPACT);
}

int manifest_record_make(const struct oci_document *document, const struct digest *digest,
			 uint64_t size_bytes, struct manifest_record *out)
{
	struct manifest_record record = { .has_subject = document->has_subject };

	record.media_type = strdup(document->media_type);
	if (record.has_subject) {
		record.subject = document->subject.digest;
		record.descriptor = make_descriptor(document, digest, size_bytes);
	}
	if (!record.media_type || (record.has_subject && !record.descriptor)) {
		manifest_record_free(&record);
		return -ENOMEM;
	}
	*out = record;
	return 0;
}

void manifest_record_free(struct manifest_record *record)
{
	free(record->media_type);
	free(record->descriptor);
	*record = (struct manifest_record){ .media_type = NULL };
}

char *manifest_record_text(const struct manifest_record *record)
{
	char text[DIGEST_TEXT_SIZE];

	if (!record->has_subject)
		return format_text("%s\n", record->media_type);
	return format_text("%s\n%s\n", record->media_type, digest_format(&record->subject, text));
}

const char *manifest_media_type(char *link_text)
{
	link_text[strcspn(link_text, "\n")] = '\0';
	return link_text;
}

static int load_descriptor(const struct store *store, const struct digest *digest,
			   const char *media_type, struct manifest_record *out)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_free char *bytes = NULL;
	cleanup_blob struct blob blob = { .fd = -1 };
	int r = store_open_blob(store, digest, &blob);

	if (!r)
		r = blob_read_all(&blob, MANIFEST_SIZE_MAX, &bytes);
	if (r)
		return r == -EFBIG ? -EBADMSG : r;
	r = oci_document_parse(bytes, blob.size_bytes, media_type, &document, NULL);
	if (r)
		return r == -ENOMEM ? r : -EBADMSG;
	return manifest_record_make(&document, digest, blob.size_bytes, out);
}

int manifest_record_load(const struct store *store, const char *repository,
			 const struct digest *digest, struct manifest_record *out)
{
	cleanup_free char *text = NULL;
	const char *subject;
	int r = store_read_link(store, repository, STORE_MANIFESTS, digest, &text);

	if (r)
		return r;
	subject = strchr(text, '\n');
	manifest_media_type(text);
	if (subject)
		return load_descriptor(store, digest, text, out);
	*out = (struct manifest_record){ .media_type = steal_ptr(text) };
	return 0;
}

int manifest_record_index(struct index_txn *txn, const char *repository,
			  const struct digest *digest, const struct manifest_record *record)
{
	int r = index_put(txn, INDEX_MANIFESTS, repository, NULL, digest, NULL, record->media_type,
			  strlen(record->media_type));

	if (r || !record->has_subject)
		return r;
	return index_put(txn, INDEX_REFERRERS, repository, NULL, &record->subject, digest,
			 record->descriptor, strlen(record->descriptor));
}

bool manifest_layer_is_foreign(const struct oci_descriptor *layer)
{
	return strstr(layer->media_type, ".nondistributable.") ||
	       strstr(layer->media_type, ".foreign.");
}

/* Return: 1: it is there, and stays for a lease; 0; -errno: neither is known. */
static int has(struct store *store, const char *repository, enum store_kind kind,
	       const struct digest *digest)
{
	int r = store_renew_link(store, repository, kind, digest);

	if (r)
		return r == -ENOENT ? 0 : r;
	return store_has_blob(store, digest);
}

static int has_entry(struct store *store, const char *repository,
		     const struct oci_document *document, const struct oci_descriptor *entry)
{
	bool is_index = document->kind == OCI_KIND_INDEX;
	int r = 0;

	if (!is_index && manifest_layer_is_foreign(entry))
		return 1;
	if (is_index)
		r = has(store, repository, STORE_MANIFESTS, &entry->digest);
	if (!r)
		r = has(store, repository, STORE_LAYERS, &entry->digest);
	return r ? r : is_index && store->sparse_index;
}

int manifest_missing(struct store *store, const char *repository,
		     const struct oci_document *document, const struct digest **out)
{
	int r = 1;

	*out = NULL;
	if (document->kind == OCI_KIND_MANIFEST)
		r = has(store, repository, STORE_LAYERS, &document->config.digest);
	if (!r)
		*out = &document->config.digest;
	for (size_t i = 0; r > 0 && i < document->n_entries; i++) {
		r = has_entry(store, repository, document, &document->entries[i]);
		if (!r)
			*out = &document->entries[i].digest;
	}
	return r < 0 ? r : 0;
}

struct removal {
	const char *repository;
	const struct digest *digest;
	struct manifest_record record;
};

static int remove_rows(struct index_txn *txn, void *context)
{
	const struct removal *removal = context;
	int r = index_delete(txn, INDEX_MANIFESTS, removal->repository, NULL, removal->digest,
			     NULL);

	if (r || !removal->record.has_subject)
		return r;
	return index_delete(txn, INDEX_REFERRERS, removal->repository, NULL,
			    &removal->record.subject, removal->digest);
}

int manifest_remove(struct store *store, struct index *index, const char *repository,
		    const struct digest *digest, int64_t before_s)
{
	struct removal removal = { .repository = repository, .digest = digest };
	int followed = 0, r = manifest_record_load(store, repository, digest, &removal.record);

	if (r == -EBADMSG || r == -ENOENT) /* unreadable: it may still be removed */
		removal.record = (struct manifest_record){ .media_type = NULL };
	else if (r)
		return r;
	r = store_remove_idle_link(store, repository, STORE_MANIFESTS, digest, before_s);
	if (!r)
		r = store_sync_links(store, repository, STORE_MANIFESTS);
	/* Also when only the last step failed, now or before. */
	if (!r || !store_has_link(store, repository, STORE_MANIFESTS, digest))
		followed = index_follow(index, remove_rows, &removal);
	manifest_record_free(&removal.record);
	return r ? r : followed;
}
