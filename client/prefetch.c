/* SPDX-License-Identifier: Apache-2.0 */
/* Owns "intinode prefetch": contents asked of fetchd in batches, ahead of being opened. */
#include <string.h>

#include "client/commands.h"
#include "client/contents.h"
#include "client/options.h"
#include "client/progress.h"

enum {
	BATCH_FILES = 500, /* in one request: so often there is progress to show */
	BATCH_BYTES = 64 * 1024 * 1024,
};

const char prefetch_details[] =
	"Fetches the contents that an image's stubs name, so that later nothing waits for them, "
	"or\n"
	"nothing needs the network. WHAT is a thin image, the directory where one is mounted, or a "
	"file\n"
	"with a line 'sha256:HEX SIZE' for each content. What is in the cache already costs "
	"nothing, so\n"
	"that a run that was broken off goes on where it was. Programs that wait for files go "
	"first.\n"
	"--pin keeps them in the cache afterwards; 'intinode cache unpin' ends that.\n"
	"\n"
	"Exit status: 0 all is there, 1 something could not be fetched.\n"
	"\n"
	"Examples:\n"
	"  intinode prefetch docker://registry.example/app:1.0-thin\n"
	"  intinode prefetch --pin /mnt/app\n"
	"  intinode prefetch --source docker://registry.example/app list.txt\n";

static struct {
	const char *socket, *source, *platform;
	bool pin, quiet, json;
} options;

static const struct option_row rows[] = {
	{ OPTION_TEXT, "source", "REF", "fetch from there (default: where the image is)",
	  &options.source, 0, 0, NULL },
	{ OPTION_FLAG, "pin", NULL, "keep them in the cache, under the name WHAT", &options.pin, 0,
	  0, NULL },
	{ OPTION_TEXT, "platform", "OS/ARCH", "of an index (default: this machine's)",
	  &options.platform, 0, 0, NULL },
	{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
	  &options.socket, 0, 0, NULL },
	{ OPTION_FLAG, "quiet", NULL, "say nothing when all is well", &options.quiet, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "print the result as JSON on standard output", &options.json,
	  0, 0, NULL },
	{ .type = OPTION_GROUP, .group = options_registry },
	{ .type = OPTION_END },
};

struct totals {
	uint64_t fetched, cached, failed, bytes;
	char problem[PROBLEM_MAX];
};

/* Return: owned by the caller; NULL = no memory, or a source that JSON cannot have. */
static json_t *batch_request(const struct contents *contents, size_t from, size_t n)
{
	const char *source = options.source ? options.source : contents->source;
	json_t *list = json_array();

	for (size_t i = from; list && i < from + n; i++) {
		struct digest digest = blob_ref_digest(&contents->refs[i]);
		char text[DIGEST_TEXT_SIZE];

		json_array_append_new(list, json_pack("[s, I]", digest_format(&digest, text),
						      (json_int_t)contents->refs[i].size_bytes));
	}
	return json_pack("{s:s, s:o, s:s*}", "op", "prefetch", "blobs", list, "source", source);
}

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static size_t batch_size(const struct contents *contents, size_t from, uint64_t *bytes)
{
	size_t n = 0;

	*bytes = 0;
	while (from + n < contents->n && n < BATCH_FILES && (!n || *bytes < BATCH_BYTES))
		*bytes += contents->refs[from + n++].size_bytes;
	return n;
}

static int fetch_batch(struct host *host, const struct contents *contents, size_t from, size_t n,
		       struct totals *totals, struct problem *problem)
{
	cleanup_json json_t *request = batch_request(contents, from, n), *reply = NULL;
	int r;

	if (!request)
		return problem_set(problem, -EINVAL, "the source must be UTF-8");
	r = control_call(host->control, request, &reply, problem);
	if (r)
		return r;
	totals->fetched += number(reply, "fetched");
	totals->cached += number(reply, "cached");
	totals->failed += number(reply, "failed");
	totals->bytes += number(reply, "bytes");
	if (number(reply, "failed"))
		snprintf(totals->problem, sizeof(totals->problem), "%s",
			 json_get_string(reply, "problem") ?: "");
	return 0;
}

static int fetch_all(struct host *host, const struct contents *contents, struct totals *totals,
		     struct problem *problem)
{
	cleanup_progress struct progress *progress =
		progress_new("fetching", options.quiet || options.json);
	uint64_t bytes;
	int r = progress ? 0 : -ENOMEM;

	if (progress)
		progress_expect(progress, contents->bytes);
	for (size_t i = 0, n; !r && i < contents->n; i += n) {
		n = batch_size(contents, i, &bytes);
		r = fetch_batch(host, contents, i, n, totals, problem);
		progress_add(progress, (int64_t)bytes);
	}
	return r;
}

static void report(const struct totals *totals)
{
	char size[16];

	if (options.json) {
		cleanup_json json_t *json = json_pack(
			"{s:b, s:I, s:I, s:I, s:I}", "ok", !totals->failed, "fetched",
			(json_int_t)totals->fetched, "cached", (json_int_t)totals->cached, "failed",
			(json_int_t)totals->failed, "bytes", (json_int_t)totals->bytes);

		if (json)
			json_dumpf(json, stdout, JSON_COMPACT);
		puts("");
	}
	if (totals->failed)
		log_error("%llu contents could not be fetched: %s; run this again to go on",
			  (unsigned long long)totals->failed, totals->problem);
	else if (!options.quiet && !options.json)
		log_info("%llu contents fetched, %s; %llu were there",
			 (unsigned long long)totals->fetched,
			 progress_format_bytes(totals->bytes, size),
			 (unsigned long long)totals->cached);
}

/* Return: 0 all is there, 1 not, -errno. */
static int prefetch(struct host *host, const char *what, struct problem *problem)
{
	struct totals totals = { .fetched = 0 };
	struct contents contents;
	int r = contents_load(host, what, options.platform, &contents, problem);

	if (r)
		return r;
	/* Before they come: they are not to go again meanwhile. */
	if (options.pin)
		r = contents_pin(host, what, &contents, problem);
	if (!r)
		r = fetch_all(host, &contents, &totals, problem);
	contents_free(&contents);
	if (r)
		return r;
	report(&totals);
	return totals.failed ? 1 : 0;
}

int command_prefetch(const struct command *command, int argc, char **argv)
{
	struct problem problem = { "" };
	struct host host;
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 1, 1, &operands, &n);

	if (r >= 0)
		return r;
	r = host_open(options.socket, &host, &problem);
	if (r)
		return options_fail(r, &problem);
	r = prefetch(&host, operands[0], &problem);
	host_close(&host);
	return r < 0 ? options_fail(r, &problem) : r ? EXIT_FAILED : EXIT_OK;
}
