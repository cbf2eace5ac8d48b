/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip and zstd of layers, as streams of pieces. "None" is a copy, so that callers have one
 * path. The compressed bytes depend on the content, the algorithm and the level only:
 * never on the size of the pieces, the time or the number of threads.
 */
#pragma once

#include "lib/oci.h"

enum {
	/* What fetchd and serve decode too (RFC 9659 allows 8 MiB; layers of others use more). */
	COMPRESS_ZSTD_WINDOW_LOG_MAX = 27,
};

/* Return: 0, or a negative errno that ends the stream and is passed up. */
typedef int (*compress_sink)(void *context, const void *bytes, size_t len);

struct compressor;
struct decompressor;

/** compressor_new() - @level 0: our default for the algorithm. NULL = no memory. */
struct compressor *compressor_new(enum oci_compression compression, int level) must_check;
void compressor_free(struct compressor *compressor);

/** compressor_feed() - Return: 0, what @sink said, or -EIO (a bug in the library). */
int compressor_feed(struct compressor *compressor, const void *bytes, size_t len,
		    compress_sink sink, void *context) must_check;

/** compressor_finish() - write what is held back and the end of the stream. */
int compressor_finish(struct compressor *compressor, compress_sink sink, void *context) must_check;

/** decompressor_new() - NULL = no memory. Free with decompressor_free(). */
struct decompressor *decompressor_new(enum oci_compression compression) must_check;
void decompressor_free(struct decompressor *decompressor);

/**
 * decompressor_feed() - untrusted input is fine; concatenated members are one stream.
 * Return: 0; -EBADMSG with @problem; what @sink said.
 */
int decompressor_feed(struct decompressor *decompressor, const void *bytes, size_t len,
		      compress_sink sink, void *context, struct problem *problem) must_check;

/** decompressor_finish() - Return: 0, or -EBADMSG where the stream is cut off. */
int decompressor_finish(struct decompressor *decompressor, struct problem *problem) must_check;

static inline void cleanup_compressorp(struct compressor **compressor)
{
	compressor_free(*compressor);
}

static inline void cleanup_decompressorp(struct decompressor **decompressor)
{
	decompressor_free(*decompressor);
}

#define cleanup_compressor __attribute__((cleanup(cleanup_compressorp)))
#define cleanup_decompressor __attribute__((cleanup(cleanup_decompressorp)))
