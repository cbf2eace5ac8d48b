/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Stubs: the small files that name a digest (FORMAT.md 1).
 *
 * The parser needs no allocation and nothing of the C library but memcmp, memcpy
 * and strlen, so that the kernel module can be built from the same text and gives
 * the same verdicts.
 */
#pragma once

#ifndef __KERNEL__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

enum {
	STUB_SIZE_MAX = 200, /* a larger file is never a stub */
	STUB_SIZE_MIN = 102, /* intinode {"digest":"sha256:<64>","size":0,"urls":[]} */
	STUB_SHA256_BYTES = 32,
};

enum stub_compression { STUB_COMPRESSION_NONE, STUB_COMPRESSION_ZSTD, STUB_COMPRESSION_GZIP };

struct stub {
	uint8_t sha256[STUB_SHA256_BYTES];
	uint64_t size_bytes; /* of the content an application reads; at most 2^63 - 1 */
	/* How the bytes are at the source; size 0 where the stub does not say. */
	bool compressed;
	enum stub_compression compression;
	uint64_t compressed_size_bytes;
	unsigned int n_urls;
	char urls[STUB_SIZE_MAX]; /* n_urls strings one behind the other, each with its NUL */
};

/**
 * stub_parse() - is this the text of a stub, and what does it say?
 * @text: the whole content of a regular file; any bytes.
 * @out: written only when the answer is true.
 * Anything that breaks one rule of FORMAT.md 1 is an ordinary file: false, never an error.
 * Context: any.
 */
bool stub_parse(const void *text, size_t len, struct stub *out);

#ifndef __KERNEL__

/**
 * stub_format() - the text of a stub, with a trailing newline.
 * URLs that do not fit into STUB_SIZE_MAX bytes or need JSON escapes are dropped, last
 * first: they are hints, and the source is then found by configuration.
 * Return: the length. The text always parses back to @stub (but for dropped URLs).
 */
size_t stub_format(const struct stub *stub, char out[static STUB_SIZE_MAX]);

/**
 * stub_set_url() - make @url the only URL of @stub.
 * Return: false, with no URL set, where it cannot fit.
 */
bool stub_set_url(struct stub *stub, const char *url);

/**
 * stub_read_at() - read a file that may be a stub.
 * @size_bytes: its size from stat; decides for almost every file without reading it.
 * Return: 1 a stub, 0 an ordinary file, or negative errno when reading failed (which must
 * not be taken for "ordinary": the stub's text would be shown as content).
 */
int stub_read_at(int dirfd, const char *path, uint64_t size_bytes, struct stub *out);

#endif
