/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the way from what a user typed to local layers and a mount record. */
#include "client/prepare.h"

#include <string.h>
#include <sys/stat.h>

#include "client/frontend.h"
#include "client/layers.h"
#include "client/progress.h"
#include "lib/image.h"
#include "lib/log.h"

static char *short_id(const char *prefix, const char *text, char *out, size_t size)
{
	char hex[DIGEST_TEXT_SIZE];
	struct digest digest;

	if (digest_compute(DIGEST_SHA256, text, strlen(text), &digest))
		abort(); /* SHA-256 of a short text fails only without any memory */
	snprintf(out, size, "%s-%.24s", prefix, digest_format_hex(&digest, hex));
	return out;
}

char *mount_id(const char *mountpoint, char out[static 40])
{
	return short_id("m", mountpoint, out, 40);
}

static json_t *new_record(const struct prepare_options *options, const char *image,
			  const char *source, json_t *layers, const char *lower)
{
	char id[40];

	return json_pack("{s:s, s:s, s:s*, s:s, s:s, s:s, s:O, s:s*, s:s*, s:s*}", "id",
			 mount_id(options->mountpoint, id), "reference", options->what, "source",
			 source, "frontend", options->frontend->name, "mountpoint",
			 options->mountpoint, "image", image, "layers", layers, "upper",
			 options->upper, "work", options->work, "lower", lower);
}

/* ---- a directory ---- */

static int prepare_dir(struct host *host, const struct prepare_options *options, const char *what,
		       json_t **record, struct problem *problem)
{
	cleanup_json json_t *layers = json_array();
	cleanup_free char *path = realpath(what, NULL);
	cleanup_free char *name = NULL, *key = NULL;
	char image[40];
	struct stat st;
	int r = 0;

	if (!path || stat(path, &st))
		return problem_set(
			problem, -errno,
			"%s: %s; it must be a directory, or an image as in docker://HOST/REPO:TAG",
			what, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return problem_set(problem, -ENOTDIR, "%s: it is not a directory", path);
	if (options->frontend->twins) {
		r = layers_make_dir_twin(host, path, &name, problem);
		if (r)
			return r;
		json_array_append_new(layers, json_string(name));
	}
	key = format_text("%s\n%s\n%s", options->frontend->name, path, name ? name : "");
	if (!key)
		return -ENOMEM;
	*record = new_record(options, short_id("dir", key, image, sizeof(image)), options->source,
			     layers, path);
	return *record ? 0 : -ENOMEM;
}

/* ---- an image ---- */

static int choose_manifest(struct image_store *store, const struct prepare_options *options,
			   struct registry_manifest *manifest, struct oci_document *document,
			   struct problem *problem)
{
	const struct oci_descriptor *chosen;
	char text[DIGEST_TEXT_SIZE];
	int r = image_get_manifest(store, NULL, manifest, problem);

	if (!r)
		r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
				       document, problem);
	if (r || document->kind == OCI_KIND_MANIFEST)
		return r;
	r = oci_select_platform(document, options->platform, &chosen, problem);
	if (r)
		return r;
	digest_format(&chosen->digest, text);
	oci_document_free(document);
	*document = (struct oci_document){ .json = NULL };
	registry_manifest_free(manifest);
	r = image_get_manifest(store, text, manifest, problem);
	if (r)
		return r;
	r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
			       document, problem);
	if (!r && document->kind != OCI_KIND_MANIFEST)
		r = problem_set(problem, -EBADMSG,
				"%s is an index in an index; name the image itself", text);
	return r;
}

static void on_progress(void *context, int64_t bytes)
{
	progress_add(context, bytes);
}

static int make_twins(struct host *host, struct image_store *store,
		      const struct oci_document *document, struct progress *progress,
		      json_t *layers, struct problem *problem)
{
	struct digest chain;
	int r = 0;

	for (size_t i = 0; !r && i < document->n_entries; i++) {
		const struct oci_descriptor *layer = &document->entries[i];
		cleanup_free char *name = NULL;

		r = layers_chain(i ? &chain : NULL, &layer->digest, &chain);
		if (r)
			break;
		if (layers_have_twin(host, &chain, &name))
			progress_add(progress, (int64_t)layer->size_bytes);
		else
			r = layers_make_twin(host, store, layer, &chain, layers, on_progress,
					     progress, &name, problem);
		if (!r && json_array_append_new(layers, json_string(name)))
			r = -ENOMEM;
	}
	return r;
}

static int make_layers(struct host *host, const struct prepare_options *options,
		       struct image_store *store, const struct digest *manifest,
		       const struct oci_document *document, json_t *layers, struct problem *problem)
{
	cleanup_free char *name = NULL;
	cleanup_progress struct progress *progress = progress_new("unpacking", options->quiet);
	int r;

	if (!progress)
		return -ENOMEM;
	if (!document->n_entries)
		return problem_set(problem, -EBADMSG, "the image has no layers");
	for (size_t i = 0; i < document->n_entries; i++)
		progress_expect(progress, document->entries[i].size_bytes);
	if (options->frontend->twins) {
		r = make_twins(host, store, document, progress, layers, problem);
	} else {
		r = layers_make_merged(host, store, manifest, document, on_progress, progress,
				       &name, problem);
		if (!r && json_array_append_new(layers, json_string(name)))
			r = -ENOMEM;
	}
	return r;
}

/* Where blobs come from: the place of the image, without tag and digest. */
static char *source_of(const struct reference *reference)
{
	struct reference place = *reference;

	if (place.transport == REFERENCE_OCI_ARCHIVE)
		return NULL;
	place.tag = NULL;
	place.has_digest = false;
	return reference_format(&place);
}

static int prepare_image(struct host *host, const struct prepare_options *options,
			 struct reference *reference, json_t **record, struct problem *problem)
{
	struct registry_manifest manifest = { .media_type = NULL };
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_json json_t *layers = json_array();
	cleanup_free char *source = NULL;
	struct image_store *store = NULL;
	char image[40], text[DIGEST_TEXT_SIZE + 16];
	int r;

	if (reference->path) {
		char *absolute = realpath(reference->path, NULL);

		if (!absolute)
			return problem_set(problem, -errno, "%s: %s", reference->path,
					   strerror(errno));
		free(reference->path);
		reference->path = absolute;
	}
	r = image_store_open(reference, IMAGE_READ, options->registry, &store, problem);
	if (r)
		return r;
	r = choose_manifest(store, options, &manifest, &document, problem);
	if (!r) {
		if (!oci_is_thin(&document))
			log_info("%s is not a thin image: all of it is fetched now ('intinode "
				 "convert' makes a thin one)",
				 options->what);
		r = make_layers(host, options, store, &manifest.digest, &document, layers, problem);
	}
	if (!r) {
		source = options->source ? strdup(options->source) : source_of(reference);
		snprintf(text, sizeof(text), "%s %s", options->frontend->name,
			 digest_format(&manifest.digest, (char[DIGEST_TEXT_SIZE]){ 0 }));
		*record = new_record(options, short_id("img", text, image, sizeof(image)), source,
				     layers, NULL);
		r = *record ? 0 : -ENOMEM;
	}
	registry_manifest_free(&manifest);
	image_store_close(store);
	return r;
}

static bool is_reference(const char *what)
{
	static const char *const prefixes[] = { "docker://", "oci:", "oci-archive:" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (!strncmp(what, prefixes[i], strlen(prefixes[i])))
			return true;
	}
	return false;
}

int prepare(struct host *host, const struct prepare_options *options, json_t **record,
	    struct problem *problem)
{
	cleanup_reference struct reference reference = { .host = NULL };
	int r;

	if (!strncmp(options->what, "dir:", 4))
		return prepare_dir(host, options, options->what + 4, record, problem);
	if (!is_reference(options->what))
		return prepare_dir(host, options, options->what, record, problem);
	r = reference_parse(options->what, &reference, problem);
	if (r)
		return r;
	r = prepare_image(host, options, &reference, record, problem);
	return r ? problem_prefix(problem, r, "%s", options->what) : 0;
}
