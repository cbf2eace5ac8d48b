/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the conversion of one image: its layers in parallel, then the documents that name
 * what came of them. The full manifest and config are kept as blobs among the files, so that
 * thicken has the original diff_ids whatever became of the full image.
 *
 * The caller's thread waits; layers run in a pool; contents go to the uploader's threads.
 */
#include "client/thinimage.h"

#include <string.h>

#include "client/blobs.h"
#include "client/dirsource.h"
#include "client/thinmanifest.h"

enum { CONFIG_MAX = 8 * 1024 * 1024 };

struct image {
	struct thin_run *run; /* borrowed */
	struct blob_list blobs;
	struct oci_document full;
	struct digest source;  /* of the full manifest */
	const char *full_text; /* borrowed */
	size_t full_len;
	char *config; /* owned: of the full image */
	size_t config_len;
	struct digest *diff_ids;   /* owned: full.n_entries */
	struct thin_layer *layers; /* owned */
	size_t n_layers;
};

static void image_deinit(struct image *image)
{
	for (size_t i = 0; image->layers && i < image->n_layers; i++)
		content_free(&image->layers[i].content);
	free(image->layers);
	free(image->diff_ids);
	free(image->config);
	oci_document_free(&image->full);
	blob_list_deinit(&image->blobs);
}

static int image_alloc_layers(struct image *image, size_t n)
{
	if (n == 0)
		return 0;
	image->layers = calloc(n, sizeof(*image->layers));
	if (!image->layers)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		image->layers[i].content = CONTENT_EMPTY;
	image->n_layers = n;
	return 0;
}

static int keep_blob(void *context, struct content *content)
{
	struct image *image = context;
	int r = blob_list_add(&image->blobs, content->digest.bytes, content->size_bytes);

	return r ? r : uploader_put(image->run->uploader, content);
}

/* ---- one layer ---- */

struct layer_job {
	struct image *image; /* borrowed */
	size_t i;
};

struct layer_input {
	struct thin_run *run;
	struct image_store *store;
	const struct oci_descriptor *descriptor;
	enum oci_compression compression;
	/* While it runs: */
	struct decompressor *decompressor;
	compress_sink sink;
	void *sink_context;
	struct problem *problem;
};

static int uncompress(void *context, const void *bytes, size_t len)
{
	struct layer_input *input = context;

	progress_add(input->run->progress, (int64_t)len);
	return decompressor_feed(input->decompressor, bytes, len, input->sink, input->sink_context,
				 input->problem);
}

static int produce_layer(void *context, compress_sink sink, void *sink_context,
			 struct problem *problem)
{
	struct layer_input *input = context;
	cleanup_decompressor struct decompressor *decompressor =
		decompressor_new(input->compression);
	struct problem inner = { .text = "" };
	int r;

	if (!decompressor)
		return -ENOMEM;
	input->decompressor = decompressor;
	input->sink = sink;
	input->sink_context = sink_context;
	input->problem = &inner;
	r = image_get_blob(input->store, &input->descriptor->digest, input->descriptor->size_bytes,
			   uncompress, input, problem);
	/* What the decompressor said explains more than that the transfer was stopped. */
	if (r && inner.text[0])
		*problem = inner;
	return r ? r : decompressor_finish(decompressor, problem);
}

static int check_diff_id(const struct image *image, size_t i, struct problem *problem)
{
	char is[DIGEST_TEXT_SIZE], wanted[DIGEST_TEXT_SIZE];

	if (digest_equal(&image->layers[i].full_diff_id, &image->diff_ids[i]))
		return 0;
	return problem_set(problem, -EBADMSG,
			   "its uncompressed bytes have the digest %s, but the image's config "
			   "says %s; this image is damaged",
			   digest_format(&image->layers[i].full_diff_id, is),
			   digest_format(&image->diff_ids[i], wanted));
}

static int make_layer(struct image *image, size_t i, struct image_store *store,
		      struct problem *problem)
{
	struct thin_layer *layer = &image->layers[i];
	struct layer_input input = {
		.run = image->run,
		.store = store,
		.descriptor = &image->full.entries[i],
	};
	struct layer_source source = { .produce = produce_layer, .context = &input };
	int r = oci_layer_compression(input.descriptor->media_type, &input.compression);

	if (r) {
		char shown[128];

		log_escape(shown, sizeof(shown), input.descriptor->media_type,
			   strlen(input.descriptor->media_type));
		return problem_set(problem, r, "its media type %s is not one of a layer", shown);
	}
	r = thin_layer_make(&image->run->options, &source, keep_blob, image, layer, problem);
	return r ? r : check_diff_id(image, i, problem);
}

static int run_layer(void *context, void *state, void *arg, struct problem *problem)
{
	struct layer_job *job = arg;
	struct image *image = job->image;
	char text[DIGEST_TEXT_SIZE];
	size_t i = job->i;
	int r;

	(void)context;
	free(job);
	r = make_layer(image, i, state, problem);
	if (!r)
		return 0;
	return problem_prefix(problem, r, "layer %zu of %zu (%s)", i + 1, image->n_layers,
			      digest_format(&image->full.entries[i].digest, text));
}

static int begin_layers(void *context, void **state, struct problem *problem)
{
	struct thin_run *run = context;
	struct image_store *store;
	int r = image_store_clone(run->src, &store, problem);

	*state = r ? NULL : store;
	return r;
}

static void end_layers(void *state)
{
	image_store_close(state);
}

static int make_layers(struct image *image, struct problem *problem)
{
	struct thin_run *run = image->run;
	struct pool_options options = {
		.n_threads = run->n_layers_at_once,
		.max_jobs = OCI_LAYERS_MAX,
		.max_bytes = UINT64_MAX,
		.context = run,
		.failure = run->failure,
		.begin = begin_layers,
		.end = end_layers,
		.run = run_layer,
		.drop = free,
	};
	struct pool *pool;
	int r;

	if (image->n_layers < options.n_threads)
		options.n_threads = (unsigned int)image->n_layers;
	if (!options.n_threads)
		return 0;
	r = pool_new(&options, &pool);
	if (r)
		return problem_set(problem, r, "threads for layers: %s", strerror(-r));
	for (size_t i = 0; !r && i < image->n_layers; i++) {
		struct layer_job *job = malloc(sizeof(*job));

		if (!job) {
			failure_set(run->failure, -ENOMEM, NULL);
			break;
		}
		*job = (struct layer_job){ .image = image, .i = i };
		r = pool_submit(pool, job, 0);
	}
	r = pool_drain(pool);
	pool_free(pool);
	return r ? failure_get(run->failure, problem) : 0;
}

/* ---- documents ---- */

static int put_manifest(struct thin_run *run, const char *text, size_t len, struct digest *digest,
			struct problem *problem)
{
	int r = digest_compute(DIGEST_SHA256, text, len, digest);

	if (r)
		return r;
	return image_put_manifest(run->dst, NULL, OCI_MEDIA_MANIFEST, text, len, problem);
}

static int put_blobsets(struct image *image, const struct digest *subject, size_t subject_len,
			struct problem *problem)
{
	struct thin_run *run = image->run;

	for (size_t part = 0; part < blobset_count(image->blobs.n); part++) {
		cleanup_free char *text = NULL;
		struct digest digest;
		size_t len;
		int r;

		text = blobset_text(&image->blobs, part, subject, subject_len, &len);
		if (!text)
			return -ENOMEM;
		r = put_manifest(run, text, len, &digest, problem);
		if (!r)
			r = thin_index_add_blobset(run->index, &digest, len);
		if (r)
			return r;
	}
	return 0;
}

static int put_thin_manifest(struct image *image, const struct digest *config, size_t config_len,
			     json_t *platform, struct problem *problem)
{
	struct thin_run *run = image->run;
	struct thin_manifest thin = {
		.full = &image->full,
		.source = &image->source,
		.source_size = image->full_len,
		.config = config,
		.config_len = config_len,
		.layers = image->layers,
		.n_layers = image->n_layers,
		.compression = run->options.compression,
	};
	cleanup_free char *text = NULL;
	struct digest digest;
	size_t len;
	int r;

	text = thin_manifest_text(&thin, &len);
	if (!text)
		return -ENOMEM;
	if (len > MANIFEST_SIZE_MAX)
		return problem_set(problem, -EFBIG, "the thin manifest would be over 4 MiB");
	r = put_manifest(run, text, len, &digest, problem);
	if (!r)
		r = thin_index_add(run->index, &digest, len, platform);
	return r ? r : put_blobsets(image, &digest, len, problem);
}

/* The full manifest and config among the blobs, then the thin layers. */
static int put_blobs(struct image *image)
{
	struct thin_run *run = image->run;
	struct digest digest;
	int r;

	r = uploader_put_bytes(run->uploader, image->full_text, image->full_len, &digest);
	if (!r)
		r = blob_list_add(&image->blobs, digest.bytes, image->full_len);
	if (!r)
		r = uploader_put_bytes(run->uploader, image->config, image->config_len, &digest);
	if (!r)
		r = blob_list_add(&image->blobs, digest.bytes, image->config_len);
	if (!r)
		r = uploader_put_bytes(run->uploader, BLOBSET_CONFIG, strlen(BLOBSET_CONFIG),
				       &digest);
	blob_list_sort(&image->blobs);
	for (size_t i = 0; !r && i < image->n_layers; i++) {
		struct thin_layer *layer = &image->layers[i];
		struct content content = content_move(&layer->content);

		/* Digest and size are still needed for the manifest. */
		layer->content.digest = content.digest;
		layer->content.size_bytes = content.size_bytes;
		run->thin_packed_bytes += content.size_bytes;
		r = uploader_put(run->uploader, &content);
		content_free(&content);
	}
	return r;
}

static void add_counts(struct image *image)
{
	struct thin_run *run = image->run;

	for (size_t i = 0; i < image->n_layers; i++) {
		const struct thin_layer *layer = &image->layers[i];

		run->n_layers++;
		run->full_bytes += layer->full_bytes;
		run->full_packed_bytes += image->full.entries[i].size_bytes;
		run->counts.n_stubs += layer->counts.n_stubs;
		run->counts.stub_bytes += layer->counts.stub_bytes;
		run->counts.n_whole += layer->counts.n_whole;
		run->counts.whole_bytes += layer->counts.whole_bytes;
	}
}

static int finish_image(struct image *image, json_t *platform, struct problem *problem)
{
	struct thin_run *run = image->run;
	cleanup_json json_t *own_platform = NULL;
	cleanup_free char *text = NULL;
	struct digest config;
	size_t len;
	int r;

	if (!platform) {
		own_platform = thin_platform(image->config, image->config_len);
		platform = own_platform;
	}
	text = thin_config_text(image->config, image->config_len, image->layers, image->n_layers,
				&len, problem);
	if (!text)
		return -ENOMEM;
	r = put_blobs(image);
	if (!r)
		r = uploader_put_bytes(run->uploader, text, len, &config);
	if (!r)
		r = uploader_drain(run->uploader);
	if (r) {
		failure_set(run->failure, r, NULL);
		return failure_get(run->failure, problem);
	}
	add_counts(image);
	return put_thin_manifest(image, &config, len, platform, problem);
}

static int load_image(struct image *image, const struct registry_manifest *manifest,
		      struct problem *problem)
{
	struct oci_document *full = &image->full;
	size_t n = 0;
	int r;

	r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type, full,
			       problem);
	if (r)
		return r;
	if (full->kind != OCI_KIND_MANIFEST)
		return problem_set(problem, -EBADMSG, "an index within an index is not an image");
	if (oci_is_thin(full))
		return problem_set(problem, -EINVAL,
				   "it is a thin image already; convert the full one, or make it "
				   "full again with intinode thicken");
	image->source = manifest->digest;
	image->full_text = manifest->bytes;
	image->full_len = manifest->size_bytes;
	image->config_len = (size_t)full->config.size_bytes;
	r = image_get_small_blob(image->run->src, &full->config.digest, full->config.size_bytes,
				 CONFIG_MAX, &image->config, problem);
	if (!r)
		r = oci_config_diff_ids(image->config, image->config_len, &image->diff_ids, &n,
					problem);
	if (r)
		return problem_prefix(problem, r, "config of the image");
	if (n != full->n_entries)
		return problem_set(problem, -EBADMSG,
				   "the image has %zu layers, but its config names %zu",
				   full->n_entries, n);
	for (size_t i = 0; i < n; i++)
		progress_expect(image->run->progress, full->entries[i].size_bytes);
	return image_alloc_layers(image, n);
}

int thin_image_make(struct thin_run *run, const struct registry_manifest *manifest,
		    json_t *platform, struct problem *problem)
{
	struct image image = { .run = run };
	int r;

	blob_list_init(&image.blobs);
	r = load_image(&image, manifest, problem);
	if (!r)
		r = make_layers(&image, problem);
	if (!r)
		r = finish_image(&image, platform, problem);
	image_deinit(&image);
	return r;
}

/* ---- a directory ---- */

struct dir_input {
	struct thin_run *run;
	const char *path;
	compress_sink sink;
	void *sink_context;
};

static int count_dir(void *context, const void *bytes, size_t len)
{
	struct dir_input *input = context;

	progress_add(input->run->progress, (int64_t)len);
	return input->sink(input->sink_context, bytes, len);
}

static int produce_dir(void *context, compress_sink sink, void *sink_context,
		       struct problem *problem)
{
	struct dir_input *input = context;

	input->sink = sink;
	input->sink_context = sink_context;
	return dir_source_write(input->path, count_dir, input, problem);
}

/* The full image as thicken will write it: one uncompressed layer. */
static int imagine_full(struct image *image, const char *config, size_t config_len, char **manifest,
			struct problem *problem)
{
	struct thin_layer *layer = &image->layers[0];
	struct digest digest;
	size_t len;
	int r;

	image->config = dir_source_config(config, config_len, &layer->full_diff_id,
					  &image->config_len, problem);
	if (!image->config)
		return -EINVAL;
	r = digest_compute(DIGEST_SHA256, image->config, image->config_len, &digest);
	if (r)
		return r;
	*manifest = dir_source_manifest(&digest, image->config_len, &layer->full_diff_id,
					layer->full_bytes, &len);
	if (!*manifest)
		return -ENOMEM;
	image->full_text = *manifest;
	image->full_len = len;
	r = digest_compute(DIGEST_SHA256, *manifest, len, &image->source);
	if (r)
		return r;
	return oci_document_parse(*manifest, len, OCI_MEDIA_MANIFEST, &image->full, problem);
}

int thin_image_make_dir(struct thin_run *run, const char *path, const char *config,
			size_t config_len, struct problem *problem)
{
	struct image image = { .run = run };
	struct dir_input input = { .run = run, .path = path };
	struct layer_source source = { .produce = produce_dir, .context = &input };
	cleanup_free char *manifest = NULL;
	int r;

	blob_list_init(&image.blobs);
	r = image_alloc_layers(&image, 1);
	if (!r)
		r = thin_layer_make(&run->options, &source, keep_blob, &image, &image.layers[0],
				    problem);
	if (r && !problem->text[0]) { /* it was the uploader's */
		failure_set(run->failure, r, NULL);
		r = failure_get(run->failure, problem);
	}
	if (!r)
		r = imagine_full(&image, config, config_len, &manifest, problem);
	if (!r)
		r = finish_image(&image, NULL, problem);
	image_deinit(&image);
	return r;
}
