/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the three ways to name contents. One thread. */
#include "client/contents.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "client/options.h"
#include "client/thinref.h"
#include "client/thinscan.h"
#include "lib/stubtable.h"

enum { PIN_AT_ONCE = 5000 /* in one request; a line has at most 1 MiB */ };

struct collector {
	struct contents *contents;
	struct blob_seen seen;
	size_t max;
};

static int collect(struct collector *collector, const uint8_t *sha256, uint64_t size_bytes)
{
	struct contents *contents = collector->contents;
	int r = blob_seen_add(&collector->seen, sha256);

	if (r <= 0)
		return r;
	if (contents->n == collector->max) {
		size_t max = collector->max ? 2 * collector->max : 1024;
		struct blob_ref *grown = realloc(contents->refs, max * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		contents->refs = grown;
		collector->max = max;
	}
	memcpy(contents->refs[contents->n].sha256, sha256, SHA256_BYTES);
	contents->refs[contents->n++].size_bytes = size_bytes;
	contents->bytes += size_bytes;
	return 0;
}

/* ---- a mount ---- */

static int collect_layer(struct collector *collector, const struct host *host, const char *name)
{
	struct stubtable *table = NULL;
	cleanup_close int fd = -1;
	int r;

	if (!plain_name_is_valid(name))
		return -EINVAL;
	fd = openat(host->layers_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : stubtable_open(fd, "stubs", &table);
	for (size_t i = 0; !r && i < stubtable_count(table); i++) {
		struct digest digest;
		uint64_t size_bytes;

		stubtable_get(table, i, &digest, &size_bytes);
		r = collect(collector, digest.bytes, size_bytes);
	}
	if (table)
		stubtable_close(table);
	return r;
}

/* Return: 1: it is a mount; 0: it is none; negative errno. */
static int collect_mount(struct collector *collector, struct host *host, const char *what,
			 struct problem *problem)
{
	cleanup_free char *path = realpath(what, NULL);
	cleanup_json json_t *mounts = NULL;
	int r;

	if (!path)
		return 0;
	r = host_mounts(host, &mounts, problem);
	for (size_t i = 0; !r && i < json_array_size(mounts); i++) {
		const json_t *mount = json_array_get(mounts, i);
		const json_t *layers = json_object_get(mount, "layers");
		const char *where = json_get_string(mount, "mountpoint");
		const char *source = json_get_string(mount, "source");

		if (!where || strcmp(where, path))
			continue;
		if (source && !(collector->contents->source = strdup(source)))
			return -ENOMEM;
		for (size_t k = 0; !r && k < json_array_size(layers); k++)
			r = collect_layer(collector, host,
					  json_string_value(json_array_get(layers, k)) ?: "");
		return r ? problem_set(problem, r, "%s: its layers: %s", what, strerror(-r)) : 1;
	}
	return r;
}

/* ---- a list ---- */

static int collect_line(struct collector *collector, const char *line, const char *path,
			unsigned int number, struct problem *problem)
{
	char digest_text[DIGEST_TEXT_SIZE], rest;
	struct digest digest;
	uint64_t size_bytes;

	if (*line == '#' || *line == '\n')
		return 0;
	if (sscanf(line, "%71s %" SCNu64 " %c", digest_text, &size_bytes, &rest) != 2 ||
	    digest_parse(digest_text, strlen(digest_text), &digest) ||
	    digest.algorithm != DIGEST_SHA256)
		return problem_set(problem, -EINVAL, "%s:%u: not 'sha256:HEX SIZE'", path, number);
	return collect(collector, digest.bytes, size_bytes);
}

static int collect_file(struct collector *collector, const char *path, struct problem *problem)
{
	cleanup_fclose FILE *file = fopen(path, "re");
	cleanup_free char *line = NULL;
	unsigned int number = 0;
	size_t size = 0;
	int r = 0;

	if (!file)
		return problem_set(problem, -errno, "%s: %s", path, strerror(errno));
	while (!r && getline(&line, &size, file) >= 0)
		r = collect_line(collector, line, path, ++number, problem);
	return r;
}

/* ---- a reference ---- */

static int collect_stub(void *context, const struct stub *stub, const char *path)
{
	(void)path;
	return collect(context, stub->sha256, stub->size_bytes);
}

static int collect_images(struct collector *collector, struct image_store *store,
			  const char *platform, struct problem *problem)
{
	struct thin_ref ref = { .n_images = 0 };
	int r = thin_ref_load(store, platform, &ref, problem);

	for (size_t i = 0; !r && i < ref.n_images; i++)
		r = thin_scan(store, &ref.images[i].document, collect_stub, collector, problem);
	thin_ref_free(&ref);
	return r;
}

static int collect_reference(struct collector *collector, const char *what, const char *platform,
			     struct problem *problem)
{
	cleanup_reference struct reference reference = { .host = NULL };
	struct image_store *store = NULL;
	int r = reference_parse(what, &reference, problem);

	if (!r)
		r = image_store_open(&reference, IMAGE_READ, &registry_options, &store, problem);
	if (!r)
		r = collect_images(collector, store, platform, problem);
	image_store_close(store);
	if (!r && !(collector->contents->source = reference_format(&reference)))
		r = -ENOMEM;
	return r;
}

int contents_load(struct host *host, const char *what, const char *platform, struct contents *out,
		  struct problem *problem)
{
	struct collector collector = { .contents = out };
	struct stat st;
	int r;

	*out = (struct contents){ .n = 0 };
	blob_seen_init(&collector.seen);
	r = collect_mount(&collector, host, what, problem);
	if (r > 0)
		r = 0;
	else if (!r && !stat(what, &st) && S_ISREG(st.st_mode))
		r = collect_file(&collector, what, problem);
	else if (!r && !stat(what, &st))
		r = problem_set(problem, -EINVAL,
				"%s: no image is mounted there; 'intinode status' lists mounts",
				what);
	else if (!r)
		r = collect_reference(&collector, what, platform ? platform : "", problem);
	blob_seen_deinit(&collector.seen);
	if (r)
		contents_free(out);
	return r;
}

void contents_free(struct contents *contents)
{
	free(contents->refs);
	free(contents->source);
	*contents = (struct contents){ .n = 0 };
}

/* Return: owned by the caller; NULL = no memory, or a name that JSON cannot have. */
static json_t *pin_request(const char *name, const struct contents *contents, size_t from, size_t n)
{
	json_t *list = json_array();

	for (size_t i = from; list && i < from + n; i++) {
		struct digest digest = blob_ref_digest(&contents->refs[i]);
		char text[DIGEST_TEXT_SIZE];

		json_array_append_new(list, json_string(digest_format(&digest, text)));
	}
	return json_pack("{s:s, s:s, s:o, s:b}", "op", "pin", "name", name, "digests", list, "more",
			 from + n < contents->n);
}

int contents_pin(struct host *host, const char *name, const struct contents *contents,
		 struct problem *problem)
{
	size_t i = 0;
	int r = 0;

	do {
		size_t n = contents->n - i < PIN_AT_ONCE ? contents->n - i : PIN_AT_ONCE;
		cleanup_json json_t *request = pin_request(name, contents, i, n);

		if (!request)
			return problem_set(problem, -EINVAL,
					   "'%s' cannot be a name: it must be UTF-8", name);
		r = control_call(host->control, request, NULL, problem);
		i += n;
	} while (!r && i < contents->n);
	return r;
}
