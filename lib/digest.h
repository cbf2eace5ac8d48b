/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content digests: their text form and how they are computed (OCI image
 * specification, "Digests"; FORMAT.md 1).
 */
#pragma once

#include "lib/util.h"

enum digest_algorithm { DIGEST_SHA256, DIGEST_SHA512 };

enum {
	DIGEST_BYTES_MAX = 64,
	SHA256_BYTES = 32,
	SHA256_HEX_LEN = 64,
	/* "sha512:" + 128 hex digits + NUL */
	DIGEST_TEXT_SIZE = 7 + 128 + 1,
};

struct digest {
	enum digest_algorithm algorithm;
	uint8_t bytes[DIGEST_BYTES_MAX]; /* zero behind digest_size() */
};

struct hasher;

/** digest_size() - bytes of a digest: 32 or 64. */
size_t digest_size(enum digest_algorithm algorithm);

/** digest_algorithm_name() - "sha256" or "sha512". */
const char *digest_algorithm_name(enum digest_algorithm algorithm);

/**
 * digest_parse() - exactly "ALGORITHM:lower-case hex of the right length".
 * Return: 0; -ENOTSUP for a well-formed digest of an algorithm we do not have; -EINVAL.
 */
int digest_parse(const char *text, size_t len, struct digest *out) must_check;

/** digest_parse_hex() - the hex digits alone, as in the name of a cache file. */
int digest_parse_hex(enum digest_algorithm algorithm, const char *hex, size_t len,
		     struct digest *out) must_check;

/** digest_format() - "sha256:<hex>". Return: @out. */
char *digest_format(const struct digest *digest, char out[static DIGEST_TEXT_SIZE]);

/** digest_format_hex() - the hex digits alone. Return: @out. */
char *digest_format_hex(const struct digest *digest, char out[static DIGEST_TEXT_SIZE]);

bool digest_equal(const struct digest *a, const struct digest *b);

/** digest_compute() - of bytes in memory. Return: 0 or -ENOMEM. */
int digest_compute(enum digest_algorithm algorithm, const void *bytes, size_t len,
		   struct digest *out) must_check;

/** digest_compute_fd() - of a whole file, read by pread from offset 0; sets *@size_bytes. */
int digest_compute_fd(enum digest_algorithm algorithm, int fd, struct digest *out,
		      uint64_t *size_bytes) must_check;

/** hasher_new() - a running computation. Return: NULL without memory. Free with hasher_free(). */
struct hasher *hasher_new(enum digest_algorithm algorithm) must_check;
void hasher_free(struct hasher *hasher);

/** hasher_update() - pieces of 8 KiB and more are hashed at full speed. */
void hasher_update(struct hasher *hasher, const void *bytes, size_t len);

/** hasher_final() - the digest; the hasher is then ready for new content. */
void hasher_final(struct hasher *hasher, struct digest *out);

static inline void cleanup_hasherp(struct hasher **hasher)
{
	hasher_free(*hasher);
}

#define cleanup_hasher __attribute__((cleanup(cleanup_hasherp)))
