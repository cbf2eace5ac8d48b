/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content-Encoding: zstd for blobs (RFC 8878; window at most 8 MiB, RFC 9659). Up to
 * ZSTD_SMALL_MAX a blob is compressed whole and kept in a bounded cache; a larger one is
 * compressed while it is sent. What does not shrink by a tenth goes out as it is.
 */
#pragma once

#include "lib/digest.h"

struct MHD_Response;
struct zstd_cache;

enum {
	ZSTD_SIZE_MIN = 1024,	      /* below, headers cost more than is saved */
	ZSTD_SMALL_MAX = 1024 * 1024, /* bytes of content */
	ZSTD_STREAMS_MAX = 64, /* large ones at a time, each some 4 MiB; more go as they are */
};

/** zstd_cache_new() - @max_bytes: of compressed content that is kept. NULL = no memory. */
struct zstd_cache *zstd_cache_new(uint64_t max_bytes) must_check;
void zstd_cache_free(struct zstd_cache *cache);

/** zstd_is_accepted() - does an Accept-Encoding header (or NULL) list zstd with q > 0? */
bool zstd_is_accepted(const char *accept_encoding);

/**
 * zstd_respond() - a response with the content of @fd, compressed.
 * @fd: taken over on success only.
 * @bytes: of the response, UINT64_MAX where it is not known before it is sent.
 * Return: 0; -ENOTSUP when sending it as it is is better; -errno. Any thread.
 */
int zstd_respond(struct zstd_cache *cache, int fd, uint64_t size_bytes, const struct digest *digest,
		 struct MHD_Response **out, uint64_t *bytes) must_check;
