/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the text of the documents we publish. The same input gives the same bytes. Any thread. */
#include "client/thinmanifest.h"

#include <string.h>

#include "client/thinlayer.h"
#include "lib/log.h"

char *thin_config_text(const char *config, size_t config_len, const struct thin_layer *layers,
		       size_t n_layers, size_t *lenp, struct problem *problem)
{
	cleanup_json json_t *json = NULL;
	char text[DIGEST_TEXT_SIZE];
	json_t *diff_ids;

	if (json_parse(config, config_len, &json, problem))
		return NULL;
	diff_ids = json_object_get(json_object_get(json, "rootfs"), "diff_ids");
	json_array_clear(diff_ids);
	for (size_t i = 0; i < n_layers; i++) {
		if (json_array_append_new(diff_ids,
					  json_string(digest_format(&layers[i].diff_id, text)))) {
			problem_set(problem, -ENOMEM, "out of memory");
			return NULL;
		}
	}
	return oci_dump(json, lenp);
}

static int set_count(json_t *annotations, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return json_object_set_new(annotations, key, json_string(text));
}

static json_t *make_annotations(const struct thin_manifest *thin)
{
	cleanup_json json_t *annotations =
		thin->full->annotations ? json_copy((json_t *)(uintptr_t)thin->full->annotations)
					: json_object();
	char text[DIGEST_TEXT_SIZE];
	uint64_t n_stubs = 0, bytes = 0;

	for (size_t i = 0; i < thin->n_layers; i++) {
		n_stubs += thin->layers[i].counts.n_stubs;
		bytes += thin->layers[i].counts.stub_bytes;
	}
	if (!annotations ||
	    json_object_set_new(annotations, INTINODE_ANNOTATION_VERSION, json_string("1")) ||
	    json_object_set_new(annotations, INTINODE_ANNOTATION_SOURCE,
				json_string(digest_format(thin->source, text))) ||
	    set_count(annotations, INTINODE_ANNOTATION_SOURCE_SIZE, thin->source_size) ||
	    set_count(annotations, INTINODE_ANNOTATION_STUBS, n_stubs) ||
	    set_count(annotations, INTINODE_ANNOTATION_BYTES, bytes))
		return NULL;
	return steal_ptr(annotations);
}

static json_t *make_layers(const struct thin_manifest *thin)
{
	const char *type = thin->compression == OCI_ZSTD ? OCI_MEDIA_LAYER_ZSTD
							 : OCI_MEDIA_LAYER_GZIP;
	cleanup_json json_t *layers = json_array();

	for (size_t i = 0; i < thin->n_layers; i++) {
		const struct content *content = &thin->layers[i].content;

		if (json_array_append_new(layers, oci_descriptor_json(type, &content->digest,
								      content->size_bytes)))
			return NULL;
	}
	return steal_ptr(layers);
}

/* A manifest up to its config; the rest is appended in the order of the specification. */
static json_t *begin_manifest(const char *artifact_type, const char *config_type,
			      const struct digest *config, uint64_t config_len)
{
	cleanup_json json_t *json = json_object();

	if (json_object_set_new(json, "schemaVersion", json_integer(2)) ||
	    json_object_set_new(json, "mediaType", json_string(OCI_MEDIA_MANIFEST)) ||
	    (artifact_type &&
	     json_object_set_new(json, "artifactType", json_string(artifact_type))) ||
	    json_object_set_new(json, "config",
				oci_descriptor_json(config_type, config, config_len)))
		return NULL;
	return steal_ptr(json);
}

char *thin_manifest_text(const struct thin_manifest *thin, size_t *lenp)
{
	cleanup_json json_t *json =
		begin_manifest(NULL, OCI_MEDIA_CONFIG, thin->config, thin->config_len);

	if (!json || json_object_set_new(json, "layers", make_layers(thin)) ||
	    json_object_set_new(json, "annotations", make_annotations(thin)))
		return NULL;
	return oci_dump(json, lenp);
}

size_t blobset_count(size_t n_blobs)
{
	size_t n = (n_blobs + OCI_BLOBSET_LAYERS_MAX - 1) / OCI_BLOBSET_LAYERS_MAX;

	return n ? n : 1;
}

char *blobset_text(const struct blob_list *blobs, size_t part, const struct digest *subject,
		   uint64_t subject_size, size_t *lenp)
{
	size_t first = part * OCI_BLOBSET_LAYERS_MAX, end = first + OCI_BLOBSET_LAYERS_MAX;
	cleanup_json json_t *json = NULL, *layers = json_array();
	struct digest config;

	if (digest_compute(DIGEST_SHA256, BLOBSET_CONFIG, strlen(BLOBSET_CONFIG), &config))
		return NULL;
	json = begin_manifest(INTINODE_MEDIA_BLOBSET, OCI_MEDIA_EMPTY, &config,
			      strlen(BLOBSET_CONFIG));
	for (size_t i = first; i < end && i < blobs->n; i++) {
		struct digest digest = blob_ref_digest(&blobs->refs[i]);

		if (json_array_append_new(layers,
					  oci_descriptor_json("application/octet-stream", &digest,
							      blobs->refs[i].size_bytes)))
			return NULL;
	}
	if (!json || json_object_set(json, "layers", layers) ||
	    json_object_set_new(json, "subject",
				oci_descriptor_json(OCI_MEDIA_MANIFEST, subject, subject_size)))
		return NULL;
	return oci_dump(json, lenp);
}

json_t *thin_index_new(void)
{
	cleanup_json json_t *json = json_object();

	if (json_object_set_new(json, "schemaVersion", json_integer(2)) ||
	    json_object_set_new(json, "mediaType", json_string(OCI_MEDIA_INDEX)) ||
	    json_object_set_new(json, "manifests", json_array()))
		return NULL;
	return steal_ptr(json);
}

static int append(json_t *index, json_t *descriptor)
{
	return json_array_append(json_object_get(index, "manifests"), descriptor) ? -ENOMEM : 0;
}

int thin_index_add(json_t *index, const struct digest *digest, uint64_t size_bytes,
		   json_t *platform)
{
	cleanup_json json_t *json = oci_descriptor_json(OCI_MEDIA_MANIFEST, digest, size_bytes);

	if (!json || (platform && json_object_set(json, "platform", platform)))
		return -ENOMEM;
	return append(index, json);
}

/* As attestations are marked: tools that choose by platform never choose "unknown". */
int thin_index_add_blobset(json_t *index, const struct digest *digest, uint64_t size_bytes)
{
	cleanup_json json_t *json = oci_descriptor_json(OCI_MEDIA_MANIFEST, digest, size_bytes);

	if (!json ||
	    json_object_set_new(json, "artifactType", json_string(INTINODE_MEDIA_BLOBSET)) ||
	    json_object_set_new(json, "platform",
				json_pack("{s:s,s:s}", "architecture", "unknown", "os", "unknown")))
		return -ENOMEM;
	return append(index, json);
}

json_t *thin_platform(const char *config, size_t config_len)
{
	static const char *const keys[] = { "architecture", "os", "os.version", "os.features",
					    "variant" };
	cleanup_json json_t *json = NULL, *platform = json_object();

	if (!platform || json_parse(config, config_len, &json, NULL))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *value = json_object_get(json, keys[i]);

		if (value && json_object_set(platform, keys[i], value))
			return NULL;
	}
	return steal_ptr(platform);
}
