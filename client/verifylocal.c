/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the look at the cache for everything that an image names. */
#include "client/verifylocal.h"

#include <string.h>

#include "client/contents.h"
#include "client/progress.h"
#include "lib/cache.h"

enum { SHOWN_MAX = 10 };

struct count {
	uint64_t missing, missing_bytes;
};

static struct count look(const struct cache *cache, const struct contents *contents)
{
	struct count count = { 0, 0 };

	for (size_t i = 0; i < contents->n; i++) {
		struct digest digest = blob_ref_digest(&contents->refs[i]);
		uint64_t size_bytes = contents->refs[i].size_bytes;
		char text[DIGEST_TEXT_SIZE];

		if (cache_has(cache, &digest, size_bytes))
			continue;
		count.missing_bytes += size_bytes;
		if (count.missing++ < SHOWN_MAX)
			log_error("missing: %s (%llu bytes)", digest_format(&digest, text),
				  (unsigned long long)size_bytes);
	}
	if (count.missing > SHOWN_MAX)
		log_error("... and more");
	return count;
}

static void report(const char *what, const struct contents *contents, struct count count,
		   const struct verify_local_options *options)
{
	char size[16];

	if (options->json) {
		cleanup_json json_t *json = json_pack("{s:b, s:I, s:I, s:I}", "ok", !count.missing,
						      "blobs", (json_int_t)contents->n, "missing",
						      (json_int_t)count.missing, "missing_bytes",
						      (json_int_t)count.missing_bytes);

		if (json)
			json_dumpf(json, stdout, JSON_COMPACT);
		puts("");
	}
	if (count.missing)
		log_error("%llu of %zu contents, %s, are not on this host; 'intinode prefetch %s' "
			  "fetches them",
			  (unsigned long long)count.missing, contents->n,
			  progress_format_bytes(count.missing_bytes, size), what);
	else if (!options->quiet && !options->json)
		log_info("%zu contents: all on this host", contents->n);
}

int verify_local(const char *what, const struct verify_local_options *options,
		 struct problem *problem)
{
	struct contents contents = { .n = 0 };
	struct cache *cache = NULL;
	struct count count = { 0, 0 };
	struct host host;
	int r = host_open(options->socket, &host, problem);

	if (r)
		return r;
	r = contents_load(&host, what, options->platform, &contents, problem);
	if (!r)
		r = cache_open_reader(host.cache, &cache, problem);
	if (!r) {
		count = look(cache, &contents);
		report(what, &contents, count, options);
	}
	cache_close(cache);
	contents_free(&contents);
	host_close(&host);
	return r ? r : count.missing > 0;
}
