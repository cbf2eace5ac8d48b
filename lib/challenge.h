/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WWW-Authenticate header (RFC 9110, 11.6.1; OCI distribution and docker token
 * specifications for the parameters).
 */
#pragma once

#include "lib/util.h"

enum {
	CHALLENGES_MAX = 4, /* of one answer; more are ignored */
	CHALLENGE_HEADER_MAX = 8192,
};

enum challenge_scheme { CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };

/* A missing parameter is "". */
struct challenge {
	enum challenge_scheme scheme;
	char realm[1024], service[256], scope[2048], error[64];
};

/**
 * challenge_parse() - the challenges of one header value (several headers: joined by ", ").
 * Untrusted input is fine. Values that are not of the grammar but clear, as a URL without
 * quotes, are taken.
 * @out: array of CHALLENGES_MAX.
 * Return: number of challenges; -EBADMSG where the text is malformed, a parameter comes
 * twice or is too long.
 */
int challenge_parse(const char *text, size_t len,
		    struct challenge out[static CHALLENGES_MAX]) must_check;
