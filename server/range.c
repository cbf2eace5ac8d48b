/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of byte ranges. Any thread. */
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

enum spec { SPEC_BROKEN, SPEC_GOOD, SPEC_UNSATISFIABLE };

/* One "FIRST-LAST", "FIRST-" or "-LENGTH"; *@text then stands behind it. */
static enum spec parse_spec(const char **text, uint64_t size_bytes, struct byte_range *out)
{
	uint64_t a = 0, b = (uint64_t)INT64_MAX;
	const char *p = skip_space(*text);
	bool has_first = parse_number(&p, &a);

	if (*p++ != '-')
		return SPEC_BROKEN;
	if (!parse_number(&p, &b) && !has_first)
		return SPEC_BROKEN;
	*text = skip_space(p);
	if (**text && **text != ',')
		return SPEC_BROKEN;
	if (!has_first) { /* the last b bytes */
		if (b == 0 || size_bytes == 0)
			return SPEC_UNSATISFIABLE;
		out->first = b < size_bytes ? size_bytes - b : 0;
		out->last = size_bytes - 1;
		return SPEC_GOOD;
	}
	if (a >= size_bytes || b < a)
		return SPEC_UNSATISFIABLE;
	out->first = a;
	out->last = b < size_bytes ? b : size_bytes - 1;
	return SPEC_GOOD;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct byte_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* In order, and what touches is one. Return: how many are left. */
static unsigned int merge(struct byte_range *ranges, unsigned int n)
{
	unsigned int kept = 0;

	qsort(ranges, n, sizeof(*ranges), compare_ranges);
	for (unsigned int i = 1; i < n; i++) {
		if (ranges[i].first > ranges[kept].last + 1)
			ranges[++kept] = ranges[i];
		else if (ranges[i].last > ranges[kept].last)
			ranges[kept].last = ranges[i].last;
	}
	return kept + 1;
}

static enum range_kind parse_specs(const char *p, uint64_t size_bytes, struct byte_range *ranges,
				   unsigned int *n)
{
	unsigned int good = 0, asked = 0;

	do {
		enum spec spec = parse_spec(&p, size_bytes, &ranges[good]);

		if (spec == SPEC_BROKEN)
			return RANGE_WHOLE;
		asked++;
		good += spec == SPEC_GOOD;
	} while (*p++ == ',');
	if (!good)
		return RANGE_UNSATISFIABLE;
	good = merge(ranges, good);
	if (good > RANGES_MAX)
		return RANGE_WHOLE;
	/* All of it in several ranges is meant as all; bytes=0- is an offer of parts. */
	if (asked > 1 && good == 1 && ranges[0].first == 0 && ranges[0].last == size_bytes - 1)
		return RANGE_WHOLE;
	*n = good;
	return RANGE_PART;
}

enum range_kind range_parse(const char *header, uint64_t size_bytes, struct byte_range **out,
			    unsigned int *n)
{
	cleanup_free struct byte_range *ranges = NULL;
	unsigned int asked = 1;
	enum range_kind kind;

	if (!header || strncasecmp(header, "bytes=", 6))
		return RANGE_WHOLE;
	header += 6;
	for (const char *p = header; *p; p++)
		asked += *p == ',';
	ranges = asked > RANGES_ASKED_MAX ? NULL : calloc(asked, sizeof(*ranges));
	if (!ranges)
		return RANGE_WHOLE;
	kind = parse_specs(header, size_bytes, ranges, n);
	if (kind == RANGE_PART)
		*out = steal_ptr(ranges);
	return kind;
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
