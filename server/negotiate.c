/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of Accept-Encoding and of lists of entity tags. Any thread, no allocation. */
#include "server/negotiate.h"

#include <string.h>
#include <strings.h>

bool accepts_zstd(const char *accept_encoding)
{
	const char *p = accept_encoding;

	while (p && *p) {
		size_t len, name;

		p += strspn(p, " \t,");
		len = strcspn(p, ",");
		name = strcspn(p, ";, \t");
		if (name == 4 && !strncasecmp(p, "zstd", 4)) {
			const char *q = memchr(p, '=', len);

			/* q=0, q=0., q=0.000 mean "not this" */
			return !q || q[1 + strspn(q + 1, " 0.")] >= '1';
		}
		p += len;
	}
	return false;
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
