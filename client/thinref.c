/* SPDX-License-Identifier: Apache-2.0 */
/* Owns finding the parts of a thin image from its name. One thread. */
#include "client/thinref.h"

#include <string.h>

#include "lib/log.h"

void thin_ref_free(struct thin_ref *ref)
{
	for (size_t i = 0; i < ref->n_images; i++) {
		oci_document_free(&ref->images[i].document);
		registry_manifest_free(&ref->images[i].manifest);
		json_decref(ref->images[i].platform);
	}
	for (size_t i = 0; i < ref->n_blobsets; i++)
		registry_manifest_free(&ref->blobsets[i]);
	free(ref->images);
	free(ref->blobsets);
	*ref = (struct thin_ref){ .n_images = 0 };
}

static int read_source(struct thin_ref_image *image, struct problem *problem)
{
	const json_t *annotations = image->document.annotations;
	const char *digest = json_get_string(annotations, INTINODE_ANNOTATION_SOURCE);
	const char *size = json_get_string(annotations, INTINODE_ANNOTATION_SOURCE_SIZE);

	if (!digest || digest_parse(digest, strlen(digest), &image->source) || !size ||
	    strspn(size, "0123456789") != strlen(size) || strlen(size) > 9)
		return problem_set(problem, -EBADMSG,
				   "the thin manifest does not say which full image it was made "
				   "of (annotations " INTINODE_ANNOTATION_SOURCE
				   " and " INTINODE_ANNOTATION_SOURCE_SIZE ")");
	image->source_size = strtoull(size, NULL, 10);
	return 0;
}

static bool is_blobset_type(const char *type)
{
	return type && !strcmp(type, INTINODE_MEDIA_BLOBSET);
}

/* Takes @manifest over when it is a thin image or a blobset. Return: 1, 0 it is not, -errno. */
static int add_image(struct thin_ref *ref, struct registry_manifest *manifest, json_t *platform,
		     struct problem *problem)
{
	struct thin_ref_image *image = &ref->images[ref->n_images];
	int r;

	r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
			       &image->document, problem);
	if (r)
		return r;
	if (image->document.kind == OCI_KIND_MANIFEST && oci_is_thin(&image->document))
		r = read_source(image, problem) ?: 1;
	if (!r && image->document.kind == OCI_KIND_MANIFEST &&
	    is_blobset_type(image->document.artifact_type)) {
		ref->blobsets[ref->n_blobsets++] = *manifest;
		*manifest = (struct registry_manifest){ .bytes = NULL };
	}
	if (r <= 0) {
		oci_document_free(&image->document);
		return r;
	}
	image->manifest = *manifest;
	*manifest = (struct registry_manifest){ .bytes = NULL };
	image->platform = json_incref(platform);
	ref->n_images++;
	return 1;
}

/* By its descriptor; tools that write an index anew leave only the platform "unknown". */
static bool may_be_blobset(const struct oci_descriptor *entry)
{
	return is_blobset_type(entry->artifact_type) ||
	       (!entry->artifact_type && entry->os && !strcmp(entry->os, "unknown"));
}

static int load_entry(struct image_store *store, struct thin_ref *ref,
		      const struct oci_descriptor *entry, json_t *json, struct problem *problem)
{
	struct registry_manifest manifest = { .bytes = NULL };
	char text[DIGEST_TEXT_SIZE];
	int r;

	digest_format(&entry->digest, text);
	r = image_get_manifest(store, text, &manifest, problem);
	if (r == -ENOENT && may_be_blobset(entry))
		return 0;
	if (!r)
		r = add_image(ref, &manifest, json_object_get(json, "platform"), problem);
	registry_manifest_free(&manifest);
	return r < 0 ? r : 0;
}

static int load_index(struct image_store *store, const char *platform,
		      const struct oci_document *index, struct thin_ref *ref,
		      struct problem *problem)
{
	const json_t *manifests = json_object_get(index->json, "manifests");
	const struct oci_descriptor *chosen = NULL;
	int r = 0;

	ref->is_index = true;
	if (platform) {
		r = oci_select_platform(index, platform, &chosen, problem);
		if (r)
			return r;
	}
	for (size_t i = 0; !r && i < index->n_entries; i++) {
		const struct oci_descriptor *entry = &index->entries[i];

		if (!chosen || entry == chosen || may_be_blobset(entry))
			r = load_entry(store, ref, entry, json_array_get(manifests, i), problem);
	}
	return r;
}

static int load(struct image_store *store, const char *platform, struct thin_ref *ref,
		struct registry_manifest *manifest, struct problem *problem)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	int r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
				   &document, problem);

	if (r)
		return r;
	ref->images = calloc(document.n_entries + 1, sizeof(*ref->images));
	ref->blobsets = calloc(document.n_entries + 1, sizeof(*ref->blobsets));
	if (!ref->images || !ref->blobsets)
		return -ENOMEM;
	if (document.kind == OCI_KIND_INDEX)
		r = load_index(store, platform, &document, ref, problem);
	else
		r = add_image(ref, manifest, NULL, problem);
	if (r >= 0 && !ref->n_images)
		return problem_set(problem, -EINVAL,
				   "this is not a thin image; intinode convert makes one");
	return r < 0 ? r : 0;
}

int thin_ref_load(struct image_store *store, const char *platform, struct thin_ref *out,
		  struct problem *problem)
{
	struct registry_manifest manifest = { .bytes = NULL };
	struct thin_ref ref = { .n_images = 0 };
	int r = image_get_manifest(store, NULL, &manifest, problem);

	if (!r)
		r = load(store, platform, &ref, &manifest, problem);
	registry_manifest_free(&manifest);
	if (r)
		thin_ref_free(&ref);
	else
		*out = ref;
	return r;
}
