/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the raw request target to an endpoint with checked names. Everything a client can
 * put into a path passes here and nowhere else: what comes out fits the grammars of
 * lib/reference.h and lib/digest.h, so that it may become part of a file name.
 */
#pragma once

#include "lib/digest.h"
#include "lib/reference.h"
#include "server/errors.h"

enum endpoint {
	ENDPOINT_BASE,	    /* /v2/ */
	ENDPOINT_CATALOG,   /* /v2/_catalog */
	ENDPOINT_BLOB,	    /* /v2/NAME/blobs/DIGEST */
	ENDPOINT_UPLOADS,   /* /v2/NAME/blobs/uploads/ */
	ENDPOINT_UPLOAD,    /* /v2/NAME/blobs/uploads/ID */
	ENDPOINT_MANIFEST,  /* /v2/NAME/manifests/REFERENCE */
	ENDPOINT_TAGS,	    /* /v2/NAME/tags/list */
	ENDPOINT_REFERRERS, /* /v2/NAME/referrers/DIGEST */
	/* The server itself; none of them names anything stored. */
	ENDPOINT_METRICS, /* /metrics */
	ENDPOINT_HEALTH,  /* /healthz */
	ENDPOINT_READY,	  /* /readyz */
};

enum {
	UPLOAD_ID_LEN = 32,   /* 128 random bits in hex */
	ROUTE_QUERY_MAX = 80, /* parameters; the specification has six, one of them many times */
	ROUTE_TAGS_MAX = 64,  /* of them; the specification wants ten at least */
};

struct route {
	enum endpoint endpoint;
	char repository[REPOSITORY_MAX + 1];
	bool has_digest; /* BLOB, REFERRERS: always; MANIFEST: else tag */
	struct digest digest;
	char tag[TAG_MAX + 1];
	char upload[UPLOAD_ID_LEN + 1];
	/* Decoded; borrowed from the text given to route_parse(). */
	unsigned int n_query;
	struct {
		const char *key, *value;
	} query[ROUTE_QUERY_MAX];
};

/**
 * route_parse() - read @target, which is changed in the course (escapes are decoded in place)
 * and must outlive @out.
 * Escapes that hide a slash, a dot, a percent sign or a control character are refused.
 * Return: 0; -ENOENT no such endpoint; -EINVAL with @error (NAME_INVALID, DIGEST_INVALID,
 * MANIFEST_INVALID, BLOB_UPLOAD_UNKNOWN) and @why, a constant text.
 */
int route_parse(char *target, struct route *out, enum api_error *error,
		const char **why) must_check;

/** route_is_monitor() - is it about the server itself, and not about what is stored? */
bool route_is_monitor(const struct route *route);

/**
 * route_tags() - the values of all tag parameters; each is a valid tag.
 * Return: how many; -EINVAL when one is no tag; -E2BIG when they are more than ROUTE_TAGS_MAX.
 */
int route_tags(const struct route *route, const char *tags[static ROUTE_TAGS_MAX]) must_check;

/** route_query() - value of a parameter ("" where it has none), or NULL. */
const char *route_query(const struct route *route, const char *key);
