/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs of http and https, parsed by the library that connects to them (libcurl), so that
 * what is checked and what is connected to cannot differ.
 */
#pragma once

#include "lib/reference.h"

enum { URL_MAX = 8192 }; /* what servers take in a request line; signed URLs reach 2,000 */

/* Whom credentials belong to (RFC 6454). */
struct origin {
	bool https;
	unsigned int port;
	char host[HOST_MAX]; /* lower case, without port; IPv6 in brackets */
};

/** origin_parse() - of an absolute URL. Return: 0; -EINVAL (other scheme, a user, malformed). */
int origin_parse(const char *url, struct origin *out) must_check;

bool origin_equal(const struct origin *a, const struct origin *b);

/** origin_format() - "HOST" or "HOST:PORT" where the port is not the scheme's. Return: @out. */
char *origin_format(const struct origin *origin, char out[static HOST_MAX + 8]);

/**
 * url_resolve() - @location (absolute or relative) seen from @base.
 * Return: 0 with *@out, which the caller frees; -EINVAL; -ENOMEM.
 */
int url_resolve(const char *base, const char *location, char **out) must_check;

/** url_escape() - @text for use in a query. The caller frees it; NULL = no memory. */
char *url_escape(const char *text) must_check;
