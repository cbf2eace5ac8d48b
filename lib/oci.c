/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the meaning of manifests, indexes and configs; never their bytes.
 *
 * The hard idea: what a document is must not depend on who reads it. The type the
 * transport gave, "mediaType" inside and the members that are there have to agree
 * (CVE-2021-41190), so each shape refuses the members of the others. No I/O; any thread.
 */
#include "lib/oci.h"

#include <string.h>
#include <strings.h>

#include "lib/log.h"

enum { SHOWN_MAX = 100 }; /* of foreign text in a message */

/* What a layer's media type says about its bytes. */
static const struct {
	const char *media_type;
	enum oci_compression compression;
} layer_types[] = {
	{ OCI_MEDIA_LAYER, OCI_UNCOMPRESSED }, { OCI_MEDIA_LAYER_GZIP, OCI_GZIP },
	{ OCI_MEDIA_LAYER_ZSTD, OCI_ZSTD },    { DOCKER_MEDIA_LAYER, OCI_UNCOMPRESSED },
	{ DOCKER_MEDIA_LAYER_GZIP, OCI_GZIP }, { DOCKER_MEDIA_LAYER ".zstd", OCI_ZSTD },
};

static const struct {
	const char *media_type;
	enum oci_kind kind;
} document_types[] = {
	{ OCI_MEDIA_MANIFEST, OCI_KIND_MANIFEST },
	{ DOCKER_MEDIA_MANIFEST, OCI_KIND_MANIFEST },
	{ OCI_MEDIA_INDEX, OCI_KIND_INDEX },
	{ DOCKER_MEDIA_LIST, OCI_KIND_INDEX },
};

/* What servers say that do not know the type: then only the document counts. */
static const char *const vague_types[] = { "", "application/json", "text/plain",
					   "application/octet-stream" };

int oci_layer_compression(const char *media_type, enum oci_compression *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(layer_types); i++) {
		if (!strcmp(media_type, layer_types[i].media_type)) {
			*out = layer_types[i].compression;
			return 0;
		}
	}
	return -ENOTSUP;
}

static const char *show(char buffer[static SHOWN_MAX], const char *text)
{
	return log_escape(buffer, SHOWN_MAX, text, strlen(text));
}

/* "type/subtype; charset=utf-8" is compared without its parameters. */
static bool media_type_is(const char *text, const char *type)
{
	size_t len = strcspn(text, "; \t");

	return len == strlen(type) && !strncasecmp(text, type, len);
}

/*
 * The table's string for @text; NULL for a type that says nothing.
 * Return: 0, or -ENOTSUP for a type that is none of ours.
 */
static int canonical_type(const char *text, const char **type, enum oci_kind *kind,
			  struct problem *problem)
{
	static const char schema1[] = "application/vnd.docker.distribution.manifest.v1+";
	char shown[SHOWN_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(document_types); i++) {
		if (media_type_is(text, document_types[i].media_type)) {
			*type = document_types[i].media_type;
			*kind = document_types[i].kind;
			return 0;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(vague_types); i++) {
		if (media_type_is(text, vague_types[i])) {
			*type = NULL;
			return 0;
		}
	}
	if (!strncmp(text, schema1, strlen(schema1)))
		return problem_set(problem, -ENOTSUP,
				   "a manifest of docker schema 1, which no tool writes any more; "
				   "push the image again with a current tool");
	return problem_set(problem, -ENOTSUP, "'%s' is not the type of an image manifest or index",
			   show(shown, text));
}

static int read_platform(const json_t *json, struct oci_descriptor *out)
{
	const json_t *platform = json_object_get(json, "platform");

	if (!platform)
		return 0;
	if (!json_is_object(platform))
		return -EBADMSG;
	out->os = json_get_string(platform, "os");
	out->architecture = json_get_string(platform, "architecture");
	out->variant = json_get_string(platform, "variant");
	return 0;
}

static int read_descriptor(const json_t *json, struct oci_descriptor *out, struct problem *problem)
{
	const char *digest = json_get_string(json, "digest");
	char shown[SHOWN_MAX];
	int r;

	*out = (struct oci_descriptor){ .media_type = json_get_string(json, "mediaType") };
	if (!json_is_object(json))
		return problem_set(problem, -EBADMSG, "not an object");
	if (!out->media_type || !*out->media_type)
		return problem_set(problem, -EBADMSG, "no \"mediaType\"");
	if (!digest)
		return problem_set(problem, -EBADMSG, "no \"digest\"");
	r = digest_parse(digest, strlen(digest), &out->digest);
	if (r == -ENOTSUP)
		return problem_set(problem, r,
				   "digest '%s' is of an algorithm other than sha256 and sha512",
				   show(shown, digest));
	if (r)
		return problem_set(problem, -EBADMSG, "'%s' is not a digest", show(shown, digest));
	if (json_get_size(json, "size", &out->size_bytes))
		return problem_set(problem, -EBADMSG, "no \"size\" of 0 to 2^63-1");
	out->artifact_type = json_get_string(json, "artifactType");
	out->annotations = json_object_get(json, "annotations");
	if (out->annotations && !json_is_object(out->annotations))
		return problem_set(problem, -EBADMSG, "\"annotations\" is not an object");
	if (read_platform(json, out))
		return problem_set(problem, -EBADMSG, "\"platform\" is not an object");
	return 0;
}

static int read_entries(const json_t *array, const char *what, struct oci_document *out,
			struct problem *problem)
{
	uint64_t sum = 0;
	size_t n = json_array_size(array);

	if (!json_is_array(array))
		return problem_set(problem, -EBADMSG, "\"%s\" is not an array", what);
	if (n > OCI_ENTRIES_MAX)
		return problem_set(problem, -EBADMSG, "%zu entries in \"%s\"; at most %d are taken",
				   n, what, OCI_ENTRIES_MAX);
	out->entries = calloc(n ? n : 1, sizeof(*out->entries));
	if (!out->entries)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = read_descriptor(json_array_get(array, i), &out->entries[i], problem);

		if (r)
			return problem_prefix(problem, r, "\"%s\" entry %zu", what, i + 1);
		if (out->entries[i].size_bytes > (uint64_t)INT64_MAX - sum)
			return problem_set(problem, -EBADMSG,
					   "the sizes in \"%s\" add up to more "
					   "than 2^63-1",
					   what);
		sum += out->entries[i].size_bytes;
	}
	out->n_entries = n;
	return 0;
}

static int read_manifest(struct oci_document *out, struct problem *problem)
{
	const json_t *config = json_object_get(out->json, "config");
	int r;

	if (json_object_get(out->json, "manifests"))
		return problem_set(problem, -EBADMSG,
				   "a manifest with \"manifests\" could be read as an index, too");
	if (!config)
		return problem_set(problem, -EBADMSG, "no \"config\"");
	r = read_descriptor(config, &out->config, problem);
	if (r)
		return problem_prefix(problem, r, "\"config\"");
	return read_entries(json_object_get(out->json, "layers"), "layers", out, problem);
}

static int read_index(struct oci_document *out, struct problem *problem)
{
	if (json_object_get(out->json, "layers") || json_object_get(out->json, "config") ||
	    json_object_get(out->json, "fsLayers"))
		return problem_set(problem, -EBADMSG,
				   "an index with \"config\" or \"layers\" could be read as a "
				   "manifest, too");
	return read_entries(json_object_get(out->json, "manifests"), "manifests", out, problem);
}

/* Type by transport, type inside and shape: each may be missing, none may disagree. */
static int decide_kind(struct oci_document *out, const char *transport_type,
		       struct problem *problem)
{
	const json_t *inside = json_object_get(out->json, "mediaType");
	const char *type = NULL, *inner_type = NULL;
	enum oci_kind kind = OCI_KIND_MANIFEST, inner_kind = OCI_KIND_MANIFEST;
	int r = 0;

	if (inside && !json_is_string(inside))
		return problem_set(problem, -EBADMSG, "\"mediaType\" is not a string");
	if (transport_type)
		r = canonical_type(transport_type, &type, &kind, problem);
	if (!r && inside)
		r = canonical_type(json_string_value(inside), &inner_type, &inner_kind, problem);
	if (r)
		return r;
	if (type && inner_type && strcmp(type, inner_type))
		return problem_set(problem, -EBADMSG, "sent as %s, but says of itself it is %s",
				   type, inner_type);
	if (!type && inner_type) {
		type = inner_type;
		kind = inner_kind;
	}
	if (!type) {
		kind = json_object_get(out->json, "manifests") ? OCI_KIND_INDEX : OCI_KIND_MANIFEST;
		type = kind == OCI_KIND_INDEX ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
	}
	out->media_type = type;
	out->kind = kind;
	return 0;
}

static int read_common(struct oci_document *out, struct problem *problem)
{
	const json_t *version = json_object_get(out->json, "schemaVersion");
	const json_t *subject = json_object_get(out->json, "subject");
	int r;

	if (json_integer_value(version) == 1)
		return problem_set(problem, -ENOTSUP,
				   "a manifest of docker schema 1, which no tool writes any more; "
				   "push the image again with a current tool");
	if (!json_is_integer(version) || json_integer_value(version) != 2)
		return problem_set(problem, -EBADMSG, "\"schemaVersion\" is not 2");
	out->artifact_type = json_get_string(out->json, "artifactType");
	out->annotations = json_object_get(out->json, "annotations");
	if (out->annotations && !json_is_object(out->annotations))
		return problem_set(problem, -EBADMSG, "\"annotations\" is not an object");
	if (!subject)
		return 0;
	r = read_descriptor(subject, &out->subject, problem);
	if (r)
		return problem_prefix(problem, r, "\"subject\"");
	out->has_subject = true;
	return 0;
}

int oci_document_parse(const char *bytes, size_t len, const char *media_type,
		       struct oci_document *out, struct problem *problem)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	int r;

	r = json_parse(bytes, len, &document.json, problem);
	if (r)
		return r;
	if (!json_is_object(document.json))
		return problem_set(problem, -EBADMSG, "a manifest is a JSON object, this is not");
	r = decide_kind(&document, media_type, problem);
	if (!r)
		r = read_common(&document, problem);
	if (!r)
		r = document.kind == OCI_KIND_INDEX ? read_index(&document, problem)
						    : read_manifest(&document, problem);
	if (r)
		return r;
	*out = document;
	document = (struct oci_document){ .json = NULL };
	return 0;
}

void oci_document_free(struct oci_document *document)
{
	free(document->entries);
	json_decref(document->json);
	*document = (struct oci_document){ .json = NULL };
}

bool oci_is_thin(const struct oci_document *document)
{
	const char *version = json_get_string(document->annotations, INTINODE_ANNOTATION_VERSION);

	return version && !strcmp(version, "1");
}

json_t *oci_descriptor_json(const char *media_type, const struct digest *digest,
			    uint64_t size_bytes)
{
	char text[DIGEST_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
			 digest_format(digest, text), "size", (json_int_t)size_bytes);
}

char *oci_dump(const json_t *value, size_t *lenp)
{
	char *text = json_dumps(value, JSON_COMPACT);

	if (text)
		*lenp = strlen(text);
	return text;
}

int oci_config_diff_ids(const char *bytes, size_t len, struct digest **out, size_t *n,
			struct problem *problem)
{
	cleanup_json json_t *config = NULL;
	cleanup_free struct digest *digests = NULL;
	const json_t *rootfs, *array;
	const char *type;
	size_t count;
	int r;

	r = json_parse(bytes, len, &config, problem);
	if (r)
		return problem_prefix(problem, r, "image config");
	rootfs = json_object_get(config, "rootfs");
	array = json_object_get(rootfs, "diff_ids");
	type = json_get_string(rootfs, "type");
	count = json_array_size(array);
	if (!json_is_array(array) || !type || strcmp(type, "layers"))
		return problem_set(problem, -EBADMSG,
				   "image config: no \"rootfs\" of type \"layers\" with "
				   "\"diff_ids\"; is this an image?");
	if (count > OCI_LAYERS_MAX)
		return problem_set(problem, -EBADMSG,
				   "image config: %zu diff_ids; at most %d are taken", count,
				   OCI_LAYERS_MAX);
	digests = calloc(count ? count : 1, sizeof(*digests));
	if (!digests)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(array, i));

		r = text ? digest_parse(text, strlen(text), &digests[i]) : -EINVAL;
		if (r)
			return problem_set(problem, r == -ENOTSUP ? r : -EBADMSG,
					   "image config: diff_id %zu is not a digest we know",
					   i + 1);
	}
	*out = steal_ptr(digests);
	*n = count;
	return 0;
}
