/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of Accept-Encoding and of lists of entity tags. Any thread, no allocation. */
#include "server/negotiate.h"

#include <string.h>
#include <strings.h>

/*
 * The weight of an element "CODING;q=0.5" of @len bytes, in thousandths; what is no number is 0,
 * what is none at all 1000.
 */
static unsigned int weight_of(const char *p, size_t len)
{
	const char *end = p + len, *q = memchr(p, '=', len);
	unsigned int weight, unit = 100;

	if (!q)
		return 1000;
	for (q++; q < end && (*q == ' ' || *q == '\t'); q++)
		;
	if (q == end || *q < '0' || *q > '9')
		return 0;
	weight = *q > '0' ? 1000 : 0;
	q++;
	if (q == end || *q != '.')
		return weight;
	for (q++; q < end && *q >= '0' && *q <= '9' && unit && weight < 1000; q++) {
		weight += (unsigned int)(*q - '0') * unit;
		unit /= 10;
	}
	return weight;
}

static bool is_coding(const char *p, size_t len, const char *name)
{
	size_t n = strcspn(p, ";, \t");

	return n <= len && n == strlen(name) && !strncasecmp(p, name, n);
}

bool accepts_zstd(const char *accept_encoding)
{
	unsigned int zstd = 0, identity = 0;
	const char *p = accept_encoding;

	while (p && *p) {
		size_t len;

		p += strspn(p, " \t,");
		len = strcspn(p, ",");
		if (is_coding(p, len, "zstd"))
			zstd = weight_of(p, len);
		else if (is_coding(p, len, "identity"))
			identity = weight_of(p, len);
		p += len;
	}
	return zstd && zstd >= identity;
}

bool etag_listed(const char *header, const char *etag, bool weak)
{
	size_t etag_len = strlen(etag);
	const char *p = header;

	if (!p)
		return false;
	p += strspn(p, " \t");
	if (*p == '*')
		return !p[1 + strspn(p + 1, " \t")];
	for (;;) {
		bool is_weak;
		const char *end;

		p += strspn(p, " \t,");
		is_weak = p[0] == 'W' && p[1] == '/';
		if (is_weak)
			p += 2;
		if (*p != '"')
			return false; /* the end, or no list of entity tags */
		end = strchr(p + 1, '"');
		if (!end)
			return false;
		if ((size_t)(end + 1 - p) == etag_len && !memcmp(p, etag, etag_len) &&
		    (weak || !is_weak))
			return true;
		p = end + 1;
	}
}

bool etag_allows_change(const char *if_match, const char *if_none_match, const char *etag)
{
	if (if_match && (!etag || !etag_listed(if_match, etag, false)))
		return false;
	return !if_none_match || !etag || !etag_listed(if_none_match, etag, true);
}
