/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client puts into a request: first line the target, second Range, third
 * Accept-Encoding and conditions. Whatever comes out of a target must fit the grammars, since it
 * becomes part of file names.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/negotiate.h"
#include "server/range.h"
#include "server/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tags(const struct route *route)
{
	const char *tags[ROUTE_TAGS_MAX];
	int n = route_tags(route, tags);

	if (n > ROUTE_TAGS_MAX || (n < 0 && n != -EINVAL && n != -E2BIG))
		abort();
	for (int i = 0; i < n; i++) {
		if (!tag_is_valid(tags[i], strlen(tags[i])))
			abort();
	}
}

/* What no header asks is allowed; what is named may not both be there and be another one. */
static void check_conditions(const char *header)
{
	static const char etag[] = "\"sha256:00\"";

	if (!etag_allows_change(NULL, NULL, etag) || !etag_allows_change(NULL, header, NULL))
		abort();
	if (etag_allows_change(header, NULL, NULL))
		abort();
	if (etag_listed(header, etag, false) && !etag_listed(header, etag, true))
		abort();
	if (etag_allows_change(NULL, header, etag) == etag_listed(header, etag, true))
		abort();
}

static void check_route(char *target)
{
	static struct route route;
	enum api_error error;
	const char *why = NULL;
	int r = route_parse(target, &route, &error, &why);

	if (r) {
		if (r != -ENOENT && r != -EINVAL)
			abort();
		if (!why)
			abort();
		return;
	}
	if (route.repository[0] && !repository_is_valid(route.repository, strlen(route.repository)))
		abort();
	if (route.tag[0] && !tag_is_valid(route.tag, strlen(route.tag)))
		abort();
	if (strstr(route.repository, "..") || strstr(route.upload, "."))
		abort();
	if (route.endpoint == ENDPOINT_MANIFEST && route.has_digest == (route.tag[0] != '\0'))
		abort();
	if (route.endpoint == ENDPOINT_UPLOAD && strlen(route.upload) != UPLOAD_ID_LEN)
		abort();
	(void)route_query(&route, "digest");
	(void)route_query(&route, "ns");
	check_tags(&route);
}

static void check_range(const char *header, uint64_t size_bytes)
{
	cleanup_free struct byte_range *ranges = NULL;
	uint64_t first = 0, last = 0;
	unsigned int n = 0;

	if (range_parse(header, size_bytes, &ranges, &n) == RANGE_PART && (!n || n > RANGES_MAX))
		abort();
	for (unsigned int i = 0; i < n; i++) {
		if (ranges[i].first > ranges[i].last || ranges[i].last >= size_bytes ||
		    (i && ranges[i].first <= ranges[i - 1].last + 1))
			abort();
	}
	if (!content_range_parse(header, &first, &last) && first > last)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *line = text, *next;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	for (int i = 0; line && i < 3; i++, line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (i == 0) {
			check_route(line);
		} else if (i == 1) {
			check_range(line, 0);
			check_range(line, 1000);
			check_range(line, INT64_MAX);
		} else {
			(void)accepts_zstd(line);
			check_conditions(line);
		}
	}
	free(text);
	return 0;
}
