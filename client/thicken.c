/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns "intinode thicken": the full image again, from what the thin one keeps of it. Its config
 * is the original's, so the image has its old id; its layers have their old diff_ids, which
 * is checked before anything gets a tag.
 */
#include <string.h>

#include "client/commands.h"
#include "client/names.h"
#include "client/thicklayer.h"
#include "client/thinmanifest.h"
#include "client/thinref.h"
#include "client/uploader.h"

enum {
	THREADS_MAX = 256,
	CONFIG_MAX = 8 * 1024 * 1024,
};

const char thicken_details[] =
	"Reads a thin image, fetches what its stubs name, and writes the full image it was made\n"
	"of. Each layer is checked: uncompressed, it has the digest it had (its diff_id). The\n"
	"config is the original one, so the image id is too. Layers are written uncompressed\n"
	"unless --compression is given: the original compressed bytes cannot be made again.\n"
	"\n"
	"Where DST has no tag, it gets the tag of SRC without '-thin'.\n"
	"\n"
	"Examples:\n"
	"  intinode thicken docker://registry.example/app:1.0-thin oci:layout:app\n"
	"  intinode thicken --compression gzip oci:layout:app-thin "
	"docker://registry.example/app:1\n";

static struct {
	bool json, quiet;
	const char *platform, *compression, *temp_dir;
	unsigned int threads, level;
} options = { .compression = "none", .threads = 8 };

static const struct option_row rows[] = {
	{ OPTION_TEXT, "platform", "OS/ARCH", "of an index restore this image only (default: all)",
	  &options.platform, 0, 0, NULL },
	{ OPTION_TEXT, "compression", "NAME", "of the layers: none (default), gzip or zstd",
	  &options.compression, 0, 0, NULL },
	{ OPTION_NUMBER, "level", "N", "compression level", &options.level, 1, 19, NULL },
	{ OPTION_NUMBER, "threads", "N", "fetches and uploads at once (default 8)",
	  &options.threads, 1, THREADS_MAX, NULL },
	{ OPTION_TEXT, "temp", "DIR", "for layers on their way (default $TMPDIR, /var/tmp)",
	  &options.temp_dir, 0, 0, NULL },
	{ OPTION_FLAG, "quiet", NULL, "no progress and no summary", &options.quiet, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "print the summary as JSON on standard output", &options.json,
	  0, 0, NULL },
	{ .type = OPTION_GROUP, .group = options_registry },
	{ .type = OPTION_END },
};

struct run {
	struct thick_run thick;
	struct image_store *dst;
	bool to_registry;
	struct uploader *uploader;
	struct failure failure;
	json_t *index;
	uint64_t full_bytes, n_layers;
	/* Of the last image made: it gets the tag where it is the only one. */
	char *text;	  /* owned */
	char *media_type; /* owned */
	size_t len;
};

static int set_compression(struct thick_run *thick)
{
	static const char *const names[] = {
		[OCI_UNCOMPRESSED] = "none",
		[OCI_GZIP] = "gzip",
		[OCI_ZSTD] = "zstd",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(options.compression, names[i]))
			continue;
		thick->compression = (enum oci_compression)i;
		thick->level = (int)options.level;
		if (thick->compression == OCI_GZIP && thick->level > 9)
			thick->level = 9;
		return 0;
	}
	return -EINVAL;
}

/* ---- one image ---- */

/* The full image as it was. */
struct original {
	char *manifest; /* owned */
	char *config;	/* owned */
	struct oci_document document;
	struct digest *diff_ids; /* owned */
	size_t n_layers;
	bool is_docker;
};

static void original_free(struct original *original)
{
	oci_document_free(&original->document);
	free(original->manifest);
	free(original->config);
	free(original->diff_ids);
}

static int parse_original(struct original *original, size_t len, struct problem *problem)
{
	cleanup_json json_t *json = NULL;
	const char *type;
	int r = json_parse(original->manifest, len, &json, problem);

	if (r)
		return r;
	type = json_get_string(json, "mediaType");
	original->is_docker = type && !strcmp(type, DOCKER_MEDIA_MANIFEST);
	return oci_document_parse(original->manifest, len, type ? type : OCI_MEDIA_MANIFEST,
				  &original->document, problem);
}

static int load_original(struct image_store *src, const struct thin_ref_image *image,
			 struct original *original, struct problem *problem)
{
	const struct oci_descriptor *config = &original->document.config;
	int r;

	r = image_get_small_blob(src, &image->source, image->source_size, MANIFEST_SIZE_MAX,
				 &original->manifest, problem);
	if (!r)
		r = parse_original(original, (size_t)image->source_size, problem);
	if (!r)
		r = image_get_small_blob(src, &config->digest, config->size_bytes, CONFIG_MAX,
					 &original->config, problem);
	if (!r)
		r = oci_config_diff_ids(original->config, (size_t)config->size_bytes,
					&original->diff_ids, &original->n_layers, problem);
	if (r)
		return problem_prefix(problem, r, "manifest and config of the full image");
	if (original->n_layers != image->document.n_entries ||
	    original->n_layers != original->document.n_entries)
		return problem_set(problem, -EBADMSG,
				   "the full image had %zu layers, the thin one has %zu",
				   original->n_layers, image->document.n_entries);
	return 0;
}

static const char *layer_type(const struct run *run, bool is_docker)
{
	switch (run->thick.compression) {
	case OCI_GZIP:
		return is_docker ? DOCKER_MEDIA_LAYER_GZIP : OCI_MEDIA_LAYER_GZIP;
	case OCI_ZSTD:
		return OCI_MEDIA_LAYER_ZSTD;
	default:
		return is_docker ? DOCKER_MEDIA_LAYER : OCI_MEDIA_LAYER;
	}
}

static int set_layer(const struct run *run, bool is_docker, json_t *entry,
		     const struct content *content)
{
	char text[DIGEST_TEXT_SIZE];

	return json_object_set_new(entry, "mediaType", json_string(layer_type(run, is_docker))) ||
			       json_object_set_new(
				       entry, "digest",
				       json_string(digest_format(&content->digest, text))) ||
			       json_object_set_new(entry, "size",
						   json_integer((json_int_t)content->size_bytes))
		       ? -ENOMEM
		       : 0;
}

/* The original manifest with the layers as they are now; or itself, where they are the same. */
static int make_manifest(struct run *run, const struct original *original,
			 const struct content *layers, struct problem *problem)
{
	cleanup_json json_t *json = json_deep_copy(original->document.json);
	/* Docker's types have no zstd, and other tools do not take them from OCI layouts. */
	bool is_docker = original->is_docker && run->to_registry &&
			 run->thick.compression != OCI_ZSTD;
	json_t *list = json_object_get(json, "layers"), *config = json_object_get(json, "config");
	bool same = is_docker == original->is_docker;
	int r = json ? 0 : -ENOMEM;

	for (size_t i = 0; !r && i < original->n_layers; i++) {
		same &= digest_equal(&layers[i].digest, &original->document.entries[i].digest);
		r = set_layer(run, is_docker, json_array_get(list, i), &layers[i]);
	}
	if (!r && original->is_docker && !is_docker)
		r = json_object_set_new(json, "mediaType", json_string(OCI_MEDIA_MANIFEST)) ||
				    json_object_set_new(config, "mediaType",
							json_string(OCI_MEDIA_CONFIG))
			    ? -ENOMEM
			    : 0;
	if (r)
		return problem_set(problem, r, "out of memory");
	free(run->text);
	free(run->media_type);
	run->text = same ? strdup(original->manifest) : oci_dump(json, &run->len);
	if (same && run->text)
		run->len = strlen(run->text);
	run->media_type = strdup(is_docker ? DOCKER_MEDIA_MANIFEST : OCI_MEDIA_MANIFEST);
	return run->text && run->media_type ? 0 : -ENOMEM;
}

static int restore_layer(struct run *run, const struct thin_ref_image *image,
			 const struct original *original, size_t i, struct content *out,
			 struct problem *problem)
{
	char is[DIGEST_TEXT_SIZE], wanted[DIGEST_TEXT_SIZE];
	struct thick_layer layer;
	int r = thick_layer_make(&run->thick, &image->document.entries[i], &layer, problem);

	if (!r && !digest_equal(&layer.diff_id, &original->diff_ids[i]))
		r = problem_set(problem, -EBADMSG,
				"what comes of it has the digest %s, but the full image had %s; "
				"the thin layer is not the one that was made of it",
				digest_format(&layer.diff_id, is),
				digest_format(&original->diff_ids[i], wanted));
	if (r) {
		content_free(&layer.content);
		return problem_prefix(problem, r, "layer %zu of %zu (%s)", i + 1,
				      original->n_layers,
				      digest_format(&image->document.entries[i].digest, is));
	}
	run->full_bytes += layer.full_bytes;
	run->n_layers++;
	*out = layer.content;
	out->fd = -1;
	r = uploader_put(run->uploader, &layer.content);
	return r ? failure_get(&run->failure, problem) ?: r : 0;
}

static int put_image(struct run *run, const struct thin_ref_image *image,
		     const struct original *original, const struct content *layers,
		     struct problem *problem)
{
	struct digest digest;
	int r = make_manifest(run, original, layers, problem);

	if (r)
		return r;
	r = uploader_put_bytes(run->uploader, original->config,
			       (size_t)original->document.config.size_bytes, &digest);
	if (!r)
		r = uploader_drain(run->uploader);
	if (r)
		return failure_get(&run->failure, problem) ?: r;
	r = image_put_manifest(run->dst, NULL, run->media_type, run->text, run->len, problem);
	if (!r)
		r = digest_compute(DIGEST_SHA256, run->text, run->len, &digest);
	if (!r)
		r = thin_index_add(run->index, &digest, run->len, image->platform);
	return r;
}

static int restore_image(struct run *run, const struct thin_ref_image *image,
			 struct problem *problem)
{
	struct original original = { .manifest = NULL };
	cleanup_free struct content *layers = NULL;
	int r = load_original(run->thick.src, image, &original, problem);

	if (!r) {
		layers = calloc(original.n_layers + 1, sizeof(*layers));
		r = layers ? 0 : -ENOMEM;
	}
	for (size_t i = 0; !r && i < original.n_layers; i++)
		r = restore_layer(run, image, &original, i, &layers[i], problem);
	if (!r)
		r = put_image(run, image, &original, layers, problem);
	original_free(&original);
	return r;
}

/* ---- the run ---- */

static void report(const struct run *run, const struct reference *dst)
{
	cleanup_free char *name = reference_format(dst);
	int64_t ms = progress_elapsed_ms(run->thick.progress);
	struct uploader_stats stats;
	char full[16];

	uploader_stats(run->uploader, &stats);
	if (options.json) {
		cleanup_json json_t *json = json_pack(
			"{s:s,s:I,s:I,s:I,s:I,s:I}", "image", name ? name : "", "layers",
			(json_int_t)run->n_layers, "full_bytes", (json_int_t)run->full_bytes,
			"sent_blobs", (json_int_t)stats.n_sent, "sent_bytes",
			(json_int_t)stats.sent_bytes, "ms", (json_int_t)ms);

		if (json)
			json_dumpf(json, stdout, JSON_COMPACT);
		puts("");
	} else if (!options.quiet) {
		log_info("%s: %s in %llu layers, each with its original diff_id, in %lld.%01lld s",
			 name ? name : "", progress_format_bytes(run->full_bytes, full),
			 (unsigned long long)run->n_layers, (long long)(ms / 1000),
			 (long long)(ms % 1000 / 100));
	}
}

static int put_tag(struct run *run, const struct thin_ref *ref, const char *tag,
		   struct problem *problem)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	if (ref->n_images == 1) {
		r = image_put_manifest(run->dst, tag, run->media_type, run->text, run->len,
				       problem);
		return r ? r : image_store_finish(run->dst, problem);
	}
	text = oci_dump(run->index, &len);
	if (!text)
		return -ENOMEM;
	r = image_put_manifest(run->dst, tag, OCI_MEDIA_INDEX, text, len, problem);
	return r ? r : image_store_finish(run->dst, problem);
}

static void expect_bytes(const struct run *run, const struct thin_ref *ref)
{
	for (size_t i = 0; i < ref->n_images; i++) {
		const char *bytes = json_get_string(ref->images[i].document.annotations,
						    INTINODE_ANNOTATION_BYTES);

		if (bytes)
			progress_expect(run->thick.progress, strtoull(bytes, NULL, 10));
	}
}

static int restore_all(struct run *run, const struct thin_ref *ref, const struct reference *dst,
		       struct problem *problem)
{
	int r = image_store_open(dst, IMAGE_WRITE, &registry_options, &run->dst, problem);

	run->to_registry = dst->transport == REFERENCE_DOCKER;
	if (!r && !options.temp_dir && !getenv("TMPDIR"))
		run->thick.temp_dir = image_temp_dir(run->dst);
	if (!r)
		r = thick_fetchers_new(&run->thick, options.threads, problem);
	if (!r)
		r = uploader_new(run->dst, options.threads, &run->failure, &run->uploader, problem);
	expect_bytes(run, ref);
	for (size_t i = 0; !r && i < ref->n_images; i++)
		r = restore_image(run, &ref->images[i], problem);
	if (!r)
		r = put_tag(run, ref, dst->tag, problem);
	if (!r)
		report(run, dst);
	uploader_free(run->uploader);
	pool_free(run->thick.fetchers);
	image_store_close(run->dst);
	return r;
}

static int thicken(struct run *run, const char *src_text, const char *dst_text,
		   struct problem *problem)
{
	cleanup_reference struct reference src = { .host = NULL }, dst = { .host = NULL };
	struct thin_ref ref = { .n_images = 0 };
	int r = reference_parse(src_text, &src, problem);

	if (!r)
		r = reference_parse(dst_text, &dst, problem);
	if (!r)
		r = names_default_tag(dst_text, &dst, &src, "!-thin", problem);
	if (!r)
		r = names_check_distinct(&src, &dst, problem);
	if (!r)
		r = image_store_open(&src, IMAGE_READ, &registry_options, &run->thick.src, problem);
	if (!r)
		r = thin_ref_load(run->thick.src, options.platform, &ref, problem);
	if (!r)
		r = restore_all(run, &ref, &dst, problem);
	thin_ref_free(&ref);
	image_store_close(run->thick.src);
	return r;
}

int command_thicken(const struct command *command, int argc, char **argv)
{
	struct problem problem = { .text = "" };
	struct run run = { .text = NULL };
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 2, 2, &operands, &n);

	if (r >= 0)
		return r;
	if (set_compression(&run.thick)) {
		log_error("--compression is none, gzip or zstd");
		return EXIT_USAGE;
	}
	failure_init(&run.failure);
	run.thick.failure = &run.failure;
	run.thick.temp_dir = options.temp_dir;
	run.thick.progress = progress_new("restoring", options.quiet);
	run.index = thin_index_new();
	r = run.index && run.thick.progress ? thicken(&run, operands[0], operands[1], &problem)
					    : -ENOMEM;
	progress_free(run.thick.progress);
	json_decref(run.index);
	free(run.text);
	free(run.media_type);
	return r ? options_fail(r, &problem) : EXIT_OK;
}
