/* SPDX-License-Identifier: Apache-2.0 */
/* Range of a GET (RFC 9110, 14) and Content-Range of an upload (OCI distribution, end-5). */
#pragma once

#include "lib/util.h"

enum {
	/* Parts of an answer; who asks for more gets the whole content. podman asks for hundreds.
	 */
	RANGES_MAX = 256,
	RANGES_ASKED_MAX = 1024, /* in the header: more than that is not read */
};

enum range_kind {
	RANGE_WHOLE,	     /* no usable range: the whole content is the answer (200) */
	RANGE_PART,	     /* 206 */
	RANGE_UNSATISFIABLE, /* 416 */
};

struct byte_range {
	uint64_t first, last; /* inclusive */
};

/**
 * range_parse() - what a Range header asks of @size_bytes of content.
 * @header: NULL, or any text. Another unit and broken syntax mean the whole content, which
 * RFC 9110 allows and every client understands; so do ranges that are too many, or that
 * together ask for all of it, and a lack of memory.
 * @out, @n: written for RANGE_PART: rising, neither overlapping nor adjacent; allocated.
 */
enum range_kind range_parse(const char *header, uint64_t size_bytes, struct byte_range **out,
			    unsigned int *n);

/**
 * content_range_parse() - "FIRST-LAST" (also "bytes FIRST-LAST/…", which some clients send).
 * Return: 0 or -EINVAL.
 */
int content_range_parse(const char *header, uint64_t *first, uint64_t *last) must_check;
