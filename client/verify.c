/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns "intinode verify": is all there that the stubs of an image name, and is it kept? A
 * registry keeps what some manifest lists; for file contents that is the blobset, which a
 * tool that copies one image out of an index leaves behind.
 */
#include <string.h>

#include "client/blobs.h"
#include "client/commands.h"
#include "client/thinmanifest.h"
#include "client/thinref.h"
#include "client/thinscan.h"
#include "client/uploader.h"
#include "client/verifylocal.h"

enum {
	THREADS_MAX = 256,
	SHOWN_MAX = 10, /* missing files that are named, of an image */
};

const char verify_details[] =
	"Reads the layers of a thin image and checks that each content its stubs name is in the\n"
	"registry (or layout), and listed in a blobset, without which a registry may delete it.\n"
	"--repair writes the blobset again, and the index that names it under the image's tag;\n"
	"contents that are gone can only be brought back by intinode convert.\n"
	"--local looks into the cache of this host instead; REF may be the directory of a mount, "
	"too.\n"
	"\n"
	"Exit status: 0 all is there, 1 something is missing or could not be checked.\n"
	"\n"
	"Examples:\n"
	"  intinode verify docker://registry.example/app:1.0-thin\n"
	"  intinode verify --repair --json oci:layout:app-thin\n"
	"  intinode verify --local /mnt/app\n";

static struct {
	bool json, repair, quiet, local;
	const char *platform, *socket;
	unsigned int threads;
} options = { .threads = 8 };

static const struct option_row rows[] = {
	{ OPTION_FLAG, "repair", NULL, "write blobset and index again where they are missing",
	  &options.repair, 0, 0, NULL },
	{ OPTION_FLAG, "local", NULL,
	  "is all in the cache of this host, so that it would run without the network?",
	  &options.local, 0, 0, NULL },
	{ OPTION_TEXT, "socket", "PATH", "--local: of intinode-fetchd (default: $INTINODE_SOCKET)",
	  &options.socket, 0, 0, NULL },
	{ OPTION_TEXT, "platform", "OS/ARCH",
	  "of an index check this image only (default: all; --local: this machine's)",
	  &options.platform, 0, 0, NULL },
	{ OPTION_NUMBER, "threads", "N", "questions at once (default 8)", &options.threads, 1,
	  THREADS_MAX, NULL },
	{ OPTION_FLAG, "quiet", NULL, "say nothing when all is well", &options.quiet, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "print the result as JSON on standard output", &options.json,
	  0, 0, NULL },
	{ .type = OPTION_GROUP, .group = options_registry },
	{ .type = OPTION_END },
};

struct run {
	struct image_store *store;
	struct failure failure;
	uint64_t n_stubs, n_blobs, n_missing, n_unlisted, n_blobsets;
	bool repaired;
};

/* One thin image. */
struct check {
	struct run *run; /* borrowed */
	const struct thin_ref_image *image;
	struct blob_list wanted; /* what a blobset must list */
	struct blob_list listed; /* what the blobsets list */
	struct blob_list missing;
	unsigned int n_shown;
	size_t n_blobsets;
};

static void check_init(struct check *check, struct run *run, const struct thin_ref_image *image)
{
	*check = (struct check){ .run = run, .image = image };
	blob_list_init(&check->wanted);
	blob_list_init(&check->listed);
	blob_list_init(&check->missing);
}

static void check_deinit(struct check *check)
{
	blob_list_deinit(&check->wanted);
	blob_list_deinit(&check->listed);
	blob_list_deinit(&check->missing);
}

/* ---- what is wanted ---- */

static int want_stub(void *context, const struct stub *stub, const char *path)
{
	struct check *check = context;

	(void)path;
	check->run->n_stubs++;
	return blob_list_add(&check->wanted, stub->sha256, stub->size_bytes);
}

/* The full manifest is a blob among the others, and names its config. */
static int want_source(struct check *check)
{
	const struct thin_ref_image *image = check->image;
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_json json_t *json = NULL;
	cleanup_free char *bytes = NULL;
	const char *type;
	int r = blob_list_add(&check->wanted, image->source.bytes, image->source_size);

	if (r)
		return r;
	if (image_get_small_blob(check->run->store, &image->source, image->source_size,
				 MANIFEST_SIZE_MAX, &bytes, NULL) ||
	    json_parse(bytes, (size_t)image->source_size, &json, NULL))
		return 0; /* found missing below */
	type = json_get_string(json, "mediaType");
	if (oci_document_parse(bytes, (size_t)image->source_size, type ? type : OCI_MEDIA_MANIFEST,
			       &document, NULL))
		return 0;
	return blob_list_add(&check->wanted, document.config.digest.bytes,
			     document.config.size_bytes);
}

/* ---- what is listed ---- */

static int read_blobset(struct check *check, const struct registry_manifest *manifest)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	int r = 0;

	if (oci_document_parse(manifest->bytes, manifest->size_bytes, manifest->media_type,
			       &document, NULL))
		return 0; /* not a blobset, so what it should list is unlisted */
	if (!document.artifact_type || strcmp(document.artifact_type, INTINODE_MEDIA_BLOBSET) ||
	    !document.has_subject ||
	    !digest_equal(&document.subject.digest, &check->image->manifest.digest))
		return 0;
	check->n_blobsets++;
	for (size_t i = 0; !r && i < document.n_entries; i++)
		r = blob_list_add(&check->listed, document.entries[i].digest.bytes,
				  document.entries[i].size_bytes);
	return r;
}

/* Without an index: what the registry says refers to the image. */
static int read_referrers(struct check *check)
{
	cleanup_oci_document struct oci_document index = { .json = NULL };
	struct registry_manifest manifest = { .bytes = NULL };
	struct image_store *store = check->run->store;
	int r = 0;

	if (image_get_referrers(store, &check->image->manifest.digest, &manifest, NULL))
		return 0;
	if (oci_document_parse(manifest.bytes, manifest.size_bytes, manifest.media_type, &index,
			       NULL))
		index.n_entries = 0;
	registry_manifest_free(&manifest);
	for (size_t i = 0; !r && i < index.n_entries; i++) {
		char text[DIGEST_TEXT_SIZE];

		digest_format(&index.entries[i].digest, text);
		if (image_get_manifest(store, text, &manifest, NULL))
			continue;
		r = read_blobset(check, &manifest);
		registry_manifest_free(&manifest);
	}
	return r;
}

static int read_listed(struct check *check, const struct thin_ref *ref)
{
	int r = 0;

	for (size_t i = 0; !r && i < ref->n_blobsets; i++)
		r = read_blobset(check, &ref->blobsets[i]);
	if (!r && !check->n_blobsets)
		r = read_referrers(check);
	blob_list_sort(&check->listed);
	return r;
}

/* ---- what is there ---- */

static int begin_asking(void *context, void **state, struct problem *problem)
{
	struct check *check = context;
	struct image_store *store;
	int r = image_store_clone(check->run->store, &store, problem);

	*state = r ? NULL : store;
	return r;
}

static void end_asking(void *state)
{
	image_store_close(state);
}

/* The job is an entry of check->wanted; nothing to free. */
static int ask(void *context, void *state, void *job, struct problem *problem)
{
	struct check *check = context;
	const struct blob_ref *ref = job;
	struct digest digest = blob_ref_digest(ref);
	int r = image_has_blob(state, &digest, problem);

	if (r)
		return r < 0 ? r : 0;
	return blob_list_add(&check->missing, ref->sha256, ref->size_bytes);
}

static void drop_question(void *job)
{
	(void)job;
}

static int ask_all(struct check *check, struct problem *problem)
{
	struct pool_options pool_options = {
		.n_threads = options.threads,
		.max_jobs = 1024,
		.max_bytes = UINT64_MAX,
		.context = check,
		.failure = &check->run->failure,
		.begin = begin_asking,
		.end = end_asking,
		.run = ask,
		.drop = drop_question,
	};
	struct pool *pool;
	int r = pool_new(&pool_options, &pool);

	if (r)
		return problem_set(problem, r, "%u threads: %s", options.threads, strerror(-r));
	for (size_t i = 0; !r && i < check->wanted.n; i++)
		r = pool_submit(pool, &check->wanted.refs[i], 0);
	r = pool_drain(pool);
	pool_free(pool);
	blob_list_sort(&check->missing);
	return r ? failure_get(&check->run->failure, problem) : 0;
}

static int show_missing(void *context, const struct stub *stub, const char *path)
{
	struct check *check = context;
	const struct blob_ref *ref = blob_list_find(&check->missing, stub->sha256);
	char text[DIGEST_TEXT_SIZE], shown[512];
	struct digest digest;

	if (!ref || check->n_shown > SHOWN_MAX)
		return 0;
	if (check->n_shown++ == SHOWN_MAX) {
		log_error("... and more");
		return 0;
	}
	digest = blob_ref_digest(ref);
	log_error("missing: '%s' (%s, %llu bytes)",
		  log_escape(shown, sizeof(shown), path, strlen(path)),
		  digest_format(&digest, text), (unsigned long long)ref->size_bytes);
	return 0;
}

static uint64_t count_unlisted(const struct check *check)
{
	uint64_t n = 0;

	for (size_t i = 0; i < check->wanted.n; i++)
		n += !blob_list_find(&check->listed, check->wanted.refs[i].sha256);
	return n;
}

/* ---- repair ---- */

static int put_config(struct image_store *store, struct problem *problem)
{
	struct digest digest;
	int r = digest_compute(DIGEST_SHA256, BLOBSET_CONFIG, strlen(BLOBSET_CONFIG), &digest);

	if (!r)
		r = image_has_blob(store, &digest, problem);
	if (r)
		return r < 0 ? r : 0;
	return image_put_bytes(store, &digest, BLOBSET_CONFIG, strlen(BLOBSET_CONFIG), problem);
}

/* Blobsets of one image into the registry and into @index. */
static int repair_image(struct check *check, struct image_store *store, json_t *index,
			struct problem *problem)
{
	const struct registry_manifest *manifest = &check->image->manifest;
	json_t *platform = check->image->platform;
	cleanup_json json_t *own = NULL;
	int r = put_config(store, problem);

	if (!r && !platform) {
		const struct oci_descriptor *config = &check->image->document.config;
		cleanup_free char *bytes = NULL;

		r = image_get_small_blob(check->run->store, &config->digest, config->size_bytes,
					 MANIFEST_SIZE_MAX, &bytes, problem);
		if (!r)
			own = thin_platform(bytes, (size_t)config->size_bytes);
		platform = own;
	}
	if (!r)
		r = thin_index_add(index, &manifest->digest, manifest->size_bytes, platform);
	for (size_t part = 0; !r && part < blobset_count(check->wanted.n); part++) {
		cleanup_free char *text = NULL;
		struct digest digest;
		size_t len;

		text = blobset_text(&check->wanted, part, &manifest->digest, manifest->size_bytes,
				    &len);
		r = text ? digest_compute(DIGEST_SHA256, text, len, &digest) : -ENOMEM;
		if (!r)
			r = image_put_manifest(store, NULL, OCI_MEDIA_MANIFEST, text, len, problem);
		if (!r)
			r = thin_index_add_blobset(index, &digest, len);
	}
	return r;
}

static int put_index(struct run *run, struct image_store *store, const struct reference *reference,
		     const json_t *index, struct problem *problem)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = 0;

	text = oci_dump(index, &len);
	if (!text)
		return -ENOMEM;
	if (reference->tag && !reference->has_digest)
		r = image_put_manifest(store, reference->tag, OCI_MEDIA_INDEX, text, len, problem);
	if (!r)
		r = image_store_finish(store, problem);
	run->repaired = !r;
	return r;
}

static int repair(struct run *run, struct check *checks, size_t n,
		  const struct reference *reference, struct problem *problem)
{
	cleanup_json json_t *index = thin_index_new();
	struct image_store *store = NULL;
	int r;

	if (reference->transport == REFERENCE_OCI_ARCHIVE)
		return problem_set(problem, -EINVAL,
				   "--repair cannot change an archive in place; unpack it and "
				   "name it as oci:DIR");
	if (options.platform)
		return problem_set(problem, -EINVAL,
				   "--repair writes the index of all platforms; leave --platform "
				   "away");
	r = index ? image_store_open(reference, IMAGE_WRITE, &registry_options, &store, problem)
		  : -ENOMEM;
	for (size_t i = 0; !r && i < n; i++)
		r = repair_image(&checks[i], store, index, problem);
	if (!r)
		r = put_index(run, store, reference, index, problem);
	image_store_close(store);
	return r ? problem_prefix(problem, r, "repair") : 0;
}

/* ---- the run ---- */

static int check_image(struct check *check, const struct thin_ref *ref, struct problem *problem)
{
	struct run *run = check->run;
	int r = thin_scan(run->store, &check->image->document, want_stub, check, problem);

	if (!r)
		r = want_source(check);
	blob_list_sort(&check->wanted);
	if (!r)
		r = read_listed(check, ref);
	if (!r)
		r = ask_all(check, problem);
	if (r)
		return r;
	run->n_blobs += check->wanted.n;
	run->n_missing += check->missing.n;
	run->n_unlisted += count_unlisted(check);
	run->n_blobsets += check->n_blobsets;
	if (check->missing.n)
		return thin_scan(run->store, &check->image->document, show_missing, check, problem);
	return 0;
}

static void report(const struct run *run, bool ok)
{
	if (options.json) {
		cleanup_json json_t *json = json_pack(
			"{s:b,s:I,s:I,s:I,s:I,s:I,s:b}", "ok", ok, "stubs",
			(json_int_t)run->n_stubs, "blobs", (json_int_t)run->n_blobs, "missing",
			(json_int_t)run->n_missing, "unlisted", (json_int_t)run->n_unlisted,
			"blobsets", (json_int_t)run->n_blobsets, "repaired", run->repaired);

		if (json)
			json_dumpf(json, stdout, JSON_COMPACT);
		puts("");
	}
	if (run->n_missing)
		log_error("%llu of %llu contents are missing; intinode convert puts them there "
			  "again, from the full image",
			  (unsigned long long)run->n_missing, (unsigned long long)run->n_blobs);
	if (run->repaired)
		log_info("the blobset was written again");
	else if (run->n_unlisted)
		log_error("%llu contents are in no blobset, so a registry may delete them; "
			  "--repair writes it again",
			  (unsigned long long)run->n_unlisted);
	if (ok && !options.quiet && !options.json)
		log_info("%llu stubs, %llu contents: all there", (unsigned long long)run->n_stubs,
			 (unsigned long long)run->n_blobs);
}

static int verify_ref(struct run *run, const struct thin_ref *ref,
		      const struct reference *reference, struct problem *problem)
{
	struct check *checks = calloc(ref->n_images, sizeof(*checks));
	int r = 0;
	bool ok;

	if (!checks)
		return -ENOMEM;
	for (size_t i = 0; i < ref->n_images; i++)
		check_init(&checks[i], run, &ref->images[i]);
	for (size_t i = 0; !r && i < ref->n_images; i++)
		r = check_image(&checks[i], ref, problem);
	if (!r && options.repair && run->n_unlisted)
		r = repair(run, checks, ref->n_images, reference, problem);
	for (size_t i = 0; i < ref->n_images; i++)
		check_deinit(&checks[i]);
	free(checks);
	if (r)
		return r;
	ok = !run->n_missing && (!run->n_unlisted || run->repaired);
	report(run, ok);
	return ok ? 0 : 1;
}

/* Return: 0 all is there, 1 not, -errno. */
static int verify(struct run *run, const char *text, struct problem *problem)
{
	cleanup_reference struct reference reference = { .host = NULL };
	struct thin_ref ref = { .n_images = 0 };
	int r = reference_parse(text, &reference, problem);

	if (!r)
		r = image_store_open(&reference, IMAGE_READ, &registry_options, &run->store,
				     problem);
	if (!r)
		r = thin_ref_load(run->store, options.platform, &ref, problem);
	if (!r)
		r = verify_ref(run, &ref, &reference, problem);
	thin_ref_free(&ref);
	image_store_close(run->store);
	return r;
}

int command_verify(const struct command *command, int argc, char **argv)
{
	struct problem problem = { .text = "" };
	struct run run = { .store = NULL };
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 1, 1, &operands, &n);

	if (r >= 0)
		return r;
	failure_init(&run.failure);
	if (options.local && options.repair)
		r = problem_set(&problem, -EINVAL,
				"--repair is for registries; 'intinode prefetch' fetches");
	else if (options.local)
		r = verify_local(operands[0],
				 &(struct verify_local_options){ options.socket, options.platform,
								 options.json, options.quiet },
				 &problem);
	else
		r = verify(&run, operands[0], &problem);
	return r < 0 ? options_fail(r, &problem) : r ? EXIT_FAILED : EXIT_OK;
}
