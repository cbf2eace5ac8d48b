/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns "intinode convert": which images are converted, and the index that names the result.
 * The tag is the last thing written; what was uploaded before an error has no name.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/names.h"
#include "client/thinimage.h"
#include "client/thinmanifest.h"

enum {
	THREADS_MAX = 256,
	CONFIG_FILE_MAX = 4 * 1024 * 1024,
	/* On a Debian root file system 19 makes it 7 % smaller and needs four times as long. */
	ZSTD_LEVEL = 9,
	GZIP_LEVEL = 9,
};

const char convert_details[] =
	"Reads a full image and writes a thin one: every file above the inline threshold becomes\n"
	"a stub of at most 200 bytes, and its content a blob of its own. The thin image is an\n"
	"ordinary OCI image; 'intinode mount' shows it as the full one. Nothing is changed in "
	"SRC,\n"
	"and 'intinode thicken' gives it back bit for bit.\n"
	"\n"
	"Where DST has no tag, it gets the tag of SRC with '-thin' behind it.\n"
	"\n"
	"Examples:\n"
	"  intinode convert docker://registry.example/app:1.0 docker://registry.example/app\n"
	"  intinode convert --platform linux/arm64 oci:layout:app oci:layout:app-thin\n"
	"  intinode convert dir:/srv/root docker://registry.example/root:1-thin\n";

struct convert_options {
	uint64_t inline_max, inline_packed_max;
	bool urls, json, quiet;
	const char *platform, *compression, *temp_dir, *config_file;
	unsigned int threads, layers, level;
};

static struct convert_options options = {
	.inline_max = THIN_INLINE_DEFAULT,
	.inline_packed_max = THIN_INLINE_PACKED_DEFAULT,
	.urls = true,
	.compression = "zstd",
	.threads = 8,
};

static const struct option_row rows[] = {
	{ OPTION_SIZE, "inline", "BYTES", "files up to this size stay in the layer (default 4096)",
	  &options.inline_max, 0, 1024 * 1024 * 1024, NULL },
	{ OPTION_SIZE, "inline-packed", "BYTES",
	  "... unless their bytes look compressed: then up to this size (default 1024)",
	  &options.inline_packed_max, 0, 1024 * 1024 * 1024, NULL },
	{ OPTION_OFF, "no-urls", NULL, "write no hint where to fetch from into the stubs",
	  &options.urls, 0, 0, NULL },
	{ OPTION_TEXT, "platform", "OS/ARCH", "of an index convert this image only (default: all)",
	  &options.platform, 0, 0, NULL },
	{ OPTION_TEXT, "compression", "NAME",
	  "of the thin layers: zstd (default) or gzip, which Docker before 23 needs",
	  &options.compression, 0, 0, NULL },
	{ OPTION_NUMBER, "level", "N", "compression level", &options.level, 1, 19, NULL },
	{ OPTION_TEXT, "config", "FILE", "with dir: image config (JSON) to start from",
	  &options.config_file, 0, 0, NULL },
	{ OPTION_NUMBER, "threads", "N", "uploads at once (default 8)", &options.threads, 1,
	  THREADS_MAX, NULL },
	{ OPTION_NUMBER, "layers", "N", "layers at once (default: one per processor)",
	  &options.layers, 1, THREADS_MAX, NULL },
	{ OPTION_TEXT, "temp", "DIR", "for large files on their way (default $TMPDIR, /var/tmp)",
	  &options.temp_dir, 0, 0, NULL },
	{ OPTION_FLAG, "quiet", NULL, "no progress and no summary", &options.quiet, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "print the summary as JSON on standard output", &options.json,
	  0, 0, NULL },
	{ .type = OPTION_GROUP, .group = options_registry },
	{ .type = OPTION_END },
};

static int set_compression(struct thin_layer_options *out)
{
	if (!strcmp(options.compression, "zstd")) {
		out->compression = OCI_ZSTD;
		out->level = options.level ? (int)options.level : ZSTD_LEVEL;
	} else if (!strcmp(options.compression, "gzip")) {
		out->compression = OCI_GZIP;
		out->level = options.level && options.level < 10 ? (int)options.level : GZIP_LEVEL;
	} else {
		return -EINVAL;
	}
	return 0;
}

/* ---- which images ---- */

static int convert_entry(struct thin_run *run, const struct oci_descriptor *entry,
			 const json_t *json, struct problem *problem)
{
	struct registry_manifest manifest = { .bytes = NULL };
	char text[DIGEST_TEXT_SIZE];
	int r;

	digest_format(&entry->digest, text);
	r = image_get_manifest(run->src, text, &manifest, problem);
	if (!r)
		r = thin_image_make(run, &manifest, json_object_get(json, "platform"), problem);
	registry_manifest_free(&manifest);
	if (!r)
		return 0;
	return problem_prefix(problem, r, "image for %s/%s", entry->os ? entry->os : "unknown",
			      entry->architecture ? entry->architecture : "unknown");
}

/* Attestations and other artifacts come along in an index; they are no images. */
static bool is_image(const struct oci_descriptor *entry)
{
	if (entry->artifact_type)
		return false;
	if (entry->os && !strcmp(entry->os, "unknown"))
		return false;
	return !strcmp(entry->media_type, OCI_MEDIA_MANIFEST) ||
	       !strcmp(entry->media_type, DOCKER_MEDIA_MANIFEST);
}

static int convert_index(struct thin_run *run, const struct oci_document *index,
			 struct problem *problem)
{
	const json_t *manifests = json_object_get(index->json, "manifests");
	const struct oci_descriptor *chosen = NULL;
	size_t n_images = 0;
	int r = 0;

	if (options.platform) {
		r = oci_select_platform(index, options.platform, &chosen, problem);
		if (r)
			return r;
	}
	for (size_t i = 0; !r && i < index->n_entries; i++) {
		const struct oci_descriptor *entry = &index->entries[i];

		if (chosen ? entry != chosen : !is_image(entry))
			continue;
		n_images++;
		r = convert_entry(run, entry, json_array_get(manifests, i), problem);
	}
	if (!r && !n_images)
		r = problem_set(problem, -ENOENT, "the index has no image");
	return r;
}

static int convert_image(struct thin_run *run, const struct registry_manifest *manifest,
			 struct problem *problem)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	int r = oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
				   &document, problem);

	if (r)
		return r;
	if (document.kind == OCI_KIND_INDEX)
		return convert_index(run, &document, problem);
	return thin_image_make(run, manifest, NULL, problem);
}

static int convert_dir(struct thin_run *run, const char *path, struct problem *problem)
{
	cleanup_free char *config = NULL;
	size_t len = 0;
	int r;

	if (options.config_file) {
		r = read_file_at(AT_FDCWD, options.config_file, CONFIG_FILE_MAX, &config, &len);
		if (r)
			return problem_set(problem, r, "--config %s: %s", options.config_file,
					   strerror(-r));
	}
	return thin_image_make_dir(run, path, config, len, problem);
}

/* ---- the run ---- */

static void report(const struct thin_run *run, const struct reference *dst,
		   const struct digest *index)
{
	char digest[DIGEST_TEXT_SIZE], full[16], packed[16], thin[16], sent[16];
	cleanup_free char *name = reference_format(dst);
	int64_t ms = progress_elapsed_ms(run->progress);
	struct uploader_stats stats;

	digest_format(index, digest);
	uploader_stats(run->uploader, &stats);
	if (options.json) {
		cleanup_json json_t *json = json_pack(
			"{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "image",
			name ? name : "", "digest", digest, "layers", (json_int_t)run->n_layers,
			"full_bytes", (json_int_t)run->full_bytes, "full_packed_bytes",
			(json_int_t)run->full_packed_bytes, "thin_packed_bytes",
			(json_int_t)run->thin_packed_bytes, "stubs",
			(json_int_t)run->counts.n_stubs, "stub_bytes",
			(json_int_t)run->counts.stub_bytes, "whole_files",
			(json_int_t)run->counts.n_whole, "sent_blobs", (json_int_t)stats.n_sent,
			"sent_bytes", (json_int_t)stats.sent_bytes, "present_blobs",
			(json_int_t)stats.n_there, "ms", (json_int_t)ms);

		if (json)
			json_dumpf(json, stdout, JSON_COMPACT);
		puts("");
		return;
	}
	if (options.quiet)
		return;
	log_info("%s: %s of files, %s packed -> %s packed, %llu stubs; %s sent in %lld.%01lld s",
		 name ? name : "", progress_format_bytes(run->full_bytes, full),
		 progress_format_bytes(run->full_packed_bytes, packed),
		 progress_format_bytes(run->thin_packed_bytes, thin),
		 (unsigned long long)run->counts.n_stubs,
		 progress_format_bytes(stats.sent_bytes, sent), (long long)(ms / 1000),
		 (long long)(ms % 1000 / 100));
}

static int put_index(struct thin_run *run, const struct reference *dst, struct digest *digest,
		     struct problem *problem)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	text = oci_dump(run->index, &len);
	if (!text)
		return -ENOMEM;
	r = digest_compute(DIGEST_SHA256, text, len, digest);
	if (!r)
		r = image_put_manifest(run->dst, dst->tag, OCI_MEDIA_INDEX, text, len, problem);
	return r ? r : image_store_finish(run->dst, problem);
}

static int run_convert(struct thin_run *run, const struct reference *src,
		       const struct reference *dst, const struct registry_manifest *manifest,
		       struct problem *problem)
{
	struct digest index;
	int r;

	run->index = thin_index_new();
	if (!run->index)
		return -ENOMEM;
	r = uploader_new(run->dst, options.threads, run->failure, &run->uploader, problem);
	if (!r)
		r = run->src ? convert_image(run, manifest, problem)
			     : convert_dir(run, src->path, problem);
	if (!r)
		r = put_index(run, dst, &index, problem);
	if (!r)
		report(run, dst, &index);
	uploader_free(run->uploader);
	json_decref(run->index);
	return r;
}

/* DST is opened when SRC is known to be there: a typing error leaves nothing behind. */
static int with_stores(struct thin_run *run, const struct reference *src,
		       const struct reference *dst, struct problem *problem)
{
	struct registry_manifest manifest = { .bytes = NULL };
	int r = 0;

	if (src->transport == REFERENCE_DIR) {
		if (access(src->path, R_OK | X_OK))
			r = problem_set(problem, -errno, "dir:%s: %s", src->path, strerror(errno));
	} else {
		r = image_store_open(src, IMAGE_READ, &registry_options, &run->src, problem);
		if (!r)
			r = image_get_manifest(run->src, NULL, &manifest, problem);
	}
	if (!r)
		r = image_store_open(dst, IMAGE_WRITE, &registry_options, &run->dst, problem);
	if (!r && !options.temp_dir && !getenv("TMPDIR"))
		run->options.thin.temp_dir = image_temp_dir(run->dst);
	if (!r)
		r = run_convert(run, src, dst, &manifest, problem);
	image_store_close(run->dst);
	image_store_close(run->src);
	registry_manifest_free(&manifest);
	return r;
}

static int convert(const char *src_text, const char *dst_text, struct thin_run *run,
		   struct problem *problem)
{
	cleanup_reference struct reference src = { .host = NULL }, dst = { .host = NULL };
	cleanup_free char *url = NULL;
	int r = reference_parse(src_text, &src, problem);

	if (!r)
		r = reference_parse(dst_text, &dst, problem);
	if (!r)
		r = names_default_tag(dst_text, &dst, &src, "-thin", problem);
	if (!r)
		r = names_check_distinct(&src, &dst, problem);
	if (r)
		return r;
	if (options.urls && dst.transport == REFERENCE_DOCKER) {
		url = format_text("oci://%s/%s", dst.host, dst.repository);
		run->options.thin.url = url;
	}
	return with_stores(run, &src, &dst, problem);
}

int command_convert(const struct command *command, int argc, char **argv)
{
	struct thin_run run = { .index = NULL };
	struct problem problem = { .text = "" };
	struct failure failure;
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 2, 2, &operands, &n);

	if (r >= 0)
		return r;
	if (set_compression(&run.options)) {
		log_error("--compression is zstd or gzip");
		return EXIT_USAGE;
	}
	failure_init(&failure);
	run.failure = &failure;
	run.options.thin.inline_max = options.inline_max;
	run.options.thin.inline_packed_max = options.inline_packed_max;
	run.options.thin.temp_dir = options.temp_dir;
	run.n_layers_at_once = options.layers ? options.layers
					      : (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	run.progress = progress_new("converting", options.quiet);
	if (!run.progress)
		return options_fail(-ENOMEM, NULL);
	r = convert(operands[0], operands[1], &run, &problem);
	progress_free(run.progress);
	return r ? options_fail(r, &problem) : EXIT_OK;
}
