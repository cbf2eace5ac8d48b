/* SPDX-License-Identifier: Apache-2.0 */
/* Range of a GET (RFC 9110, 14) and Content-Range of an upload (OCI distribution, end-5). */
#pragma once

#include "lib/util.h"

enum range_kind {
	RANGE_WHOLE,	     /* no usable range: the whole content is the answer (200) */
	RANGE_PART,	     /* 206 */
	RANGE_UNSATISFIABLE, /* 416 */
};

/**
 * range_parse() - what a Range header asks of @size_bytes of content.
 * @header: NULL, or any text. Another unit, broken syntax and several ranges mean the
 * whole content, which RFC 9110 allows and every client understands.
 * @first, @last: inclusive; written for RANGE_PART.
 */
enum range_kind range_parse(const char *header, uint64_t size_bytes, uint64_t *first,
			    uint64_t *last);

/**
 * content_range_parse() - "FIRST-LAST" (also "bytes FIRST-LAST/…", which some clients send).
 * Return: 0 or -EINVAL.
 */
int content_range_parse(const char *header, uint64_t *first, uint64_t *last) must_check;
