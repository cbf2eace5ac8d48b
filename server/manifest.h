/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the registry keeps of a manifest beside its bytes: the type it was pushed with and,
 * where it refers to another one, the descriptor that a listing of referrers shows.
 */
#pragma once

#include "lib/oci.h"
#include "server/index.h"
#include "server/store.h"

struct manifest_record {
	char *media_type; /* owned */
	bool has_subject;
	struct digest subject;
	char *descriptor; /* owned; JSON, only with a subject */
};

/** manifest_record_make() - from a parsed manifest. Return: 0 or -ENOMEM. */
int manifest_record_make(const struct oci_document *document, const struct digest *digest,
			 uint64_t size_bytes, struct manifest_record *out) must_check;
void manifest_record_free(struct manifest_record *record);

/** manifest_record_text() - the content of its link file, allocated; NULL = no memory. */
char *manifest_record_text(const struct manifest_record *record) must_check;

/** manifest_media_type() - from the text of a link file: cuts it to the type, in place. */
const char *manifest_media_type(char *link_text);

/**
 * manifest_record_load() - from the store's files; reads the manifest only where it has a
 * subject. Return: 0, -ENOENT, -EBADMSG or -errno.
 */
int manifest_record_load(const struct store *store, const char *repository,
			 const struct digest *digest, struct manifest_record *out) must_check;

/** manifest_record_index() - its rows, within index_update(). */
int manifest_record_index(struct index_txn *txn, const char *repository,
			  const struct digest *digest,
			  const struct manifest_record *record) must_check;

/** manifest_layer_is_foreign() - does the producer say that others must fetch it elsewhere? */
bool manifest_layer_is_foreign(const struct oci_descriptor *layer);

/**
 * manifest_missing() - the first thing that @document names and the repository lacks. Layers
 * that may not be distributed, and the subject, need not be there, nor with sparse_index what
 * an index lists. What is there has a new lease, so that it stays until the manifest is published.
 * @out: its digest (borrowed from @document), or NULL.
 * Return: 0; -errno: that cannot be said, or a lease not be given.
 */
int manifest_missing(struct store *store, const char *repository,
		     const struct oci_document *document, const struct digest **out) must_check;

/**
 * manifest_remove() - a manifest, durably, and its rows of the index; not its tags. Under
 * the repository's lock.
 * @before_s: only if its link was not renewed since then; INT64_MAX: in any case.
 * Return: 0, -ENOENT, -EBUSY (renewed since) or -errno.
 */
int manifest_remove(struct store *store, struct index *index, const char *repository,
		    const struct digest *digest, int64_t before_s) must_check;

static inline void cleanup_manifest_recordp(struct manifest_record *record)
{
	manifest_record_free(record);
}

#define cleanup_manifest_record __attribute__((cleanup(cleanup_manifest_recordp)))
