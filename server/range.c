/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of byte ranges. Any thread, no allocation. */
#include "server/range.h"

#include <string.h>
#include <strings.h>

/* Digits only, no sign, no space. A number past 2^63 - 1 is cut to that: it is behind any end. */
static bool parse_number(const char **text, uint64_t *out)
{
	const char *p = *text;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		value = value > ((uint64_t)INT64_MAX - digit) / 10 ? (uint64_t)INT64_MAX
								   : value * 10 + digit;
	}
	*text = p;
	*out = value;
	return true;
}

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t");
}

enum range_kind range_parse(const char *header, uint64_t size_bytes, uint64_t *first,
			    uint64_t *last)
{
	uint64_t a = 0, b = (uint64_t)INT64_MAX;
	bool has_first;
	const char *p;

	if (!header || strncasecmp(header, "bytes=", 6))
		return RANGE_WHOLE;
	p = skip_space(header + 6);
	has_first = parse_number(&p, &a);
	if (*p++ != '-')
		return RANGE_WHOLE;
	if (!parse_number(&p, &b) && !has_first)
		return RANGE_WHOLE;
	if (*skip_space(p))
		return RANGE_WHOLE;
	if (!has_first) { /* the last b bytes */
		if (b == 0 || size_bytes == 0)
			return RANGE_UNSATISFIABLE;
		*first = b < size_bytes ? size_bytes - b : 0;
		*last = size_bytes - 1;
		return RANGE_PART;
	}
	if (a >= size_bytes || b < a)
		return RANGE_UNSATISFIABLE;
	*first = a;
	*last = b < size_bytes ? b : size_bytes - 1;
	return RANGE_PART;
}

int content_range_parse(const char *header, uint64_t *first, uint64_t *last)
{
	uint64_t a, b;
	const char *p = skip_space(header);

	if (!strncasecmp(p, "bytes ", 6) || !strncasecmp(p, "bytes=", 6))
		p = skip_space(p + 6);
	if (!parse_number(&p, &a) || *p++ != '-' || !parse_number(&p, &b))
		return -EINVAL;
	if (*p == '/')
		p += 1 + strspn(p + 1, "0123456789*");
	if (*skip_space(p) || b < a || b == (uint64_t)INT64_MAX)
		return -EINVAL;
	*first = a;
	*last = b;
	return 0;
}
