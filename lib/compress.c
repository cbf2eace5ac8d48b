/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the use of zlib and zstd. One thread at a time.
 *
 * Input is gathered to pieces of one fixed size before it goes into the library, which is
 * what makes the output independent of how the caller cuts it.
 */
#include "lib/compress.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/log.h"

enum {
	INPUT_BYTES = 128 * 1024,
	OUTPUT_BYTES = 256 * 1024,
	GZIP_WINDOW_BITS = 15 + 16, /* zlib's way to ask for a gzip wrapper */
	GZIP_LEVEL_DEFAULT = 6,
	GZIP_MEM_LEVEL = 9,
	ZSTD_LEVEL_DEFAULT = 3,
};

struct compressor {
	enum oci_compression compression;
	z_stream gzip;
	bool gzip_ready;
	ZSTD_CCtx *zstd; /* owned */
	size_t input_len;
	uint8_t input[INPUT_BYTES];
	uint8_t output[OUTPUT_BYTES];
};

struct compressor *compressor_new(enum oci_compression compression, int level)
{
	struct compressor *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->compression = compression;
	if (compression == OCI_GZIP) {
		c->gzip_ready = deflateInit2(&c->gzip, level ? level : GZIP_LEVEL_DEFAULT,
					     Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEM_LEVEL,
					     Z_DEFAULT_STRATEGY) == Z_OK;
		if (c->gzip_ready)
			return c;
	} else if (compression == OCI_ZSTD) {
		c->zstd = ZSTD_createCCtx();
		if (c->zstd &&
		    !ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel,
							 level ? level : ZSTD_LEVEL_DEFAULT)) &&
		    !ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 1)))
			return c;
	} else {
		return c;
	}
	compressor_free(c);
	return NULL;
}

void compressor_free(struct compressor *c)
{
	if (!c)
		return;
	if (c->gzip_ready)
		deflateEnd(&c->gzip);
	ZSTD_freeCCtx(c->zstd);
	free(c);
}

static int run_gzip(struct compressor *c, bool last, compress_sink sink, void *context)
{
	int r, status;

	c->gzip.next_in = c->input;
	c->gzip.avail_in = (uInt)c->input_len;
	do {
		size_t len;

		c->gzip.next_out = c->output;
		c->gzip.avail_out = OUTPUT_BYTES;
		status = deflate(&c->gzip, last ? Z_FINISH : Z_NO_FLUSH);
		if (status == Z_STREAM_ERROR)
			return -EIO;
		len = OUTPUT_BYTES - c->gzip.avail_out;
		r = len ? sink(context, c->output, len) : 0;
	} while (!r && (c->gzip.avail_out == 0 || (last && status != Z_STREAM_END)));
	return r;
}

static int run_zstd(struct compressor *c, bool last, compress_sink sink, void *context)
{
	ZSTD_inBuffer in = { c->input, c->input_len, 0 };
	size_t left;
	int r;

	do {
		ZSTD_outBuffer out = { c->output, OUTPUT_BYTES, 0 };

		left = ZSTD_compressStream2(c->zstd, &out, &in,
					    last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return -EIO;
		r = out.pos ? sink(context, c->output, out.pos) : 0;
	} while (!r && (in.pos < in.size || (last && left)));
	return r;
}

static int run(struct compressor *c, bool last, compress_sink sink, void *context)
{
	int r;

	if (c->compression == OCI_GZIP)
		r = run_gzip(c, last, sink, context);
	else if (c->compression == OCI_ZSTD)
		r = run_zstd(c, last, sink, context);
	else
		r = c->input_len ? sink(context, c->input, c->input_len) : 0;
	c->input_len = 0;
	return r;
}

int compressor_feed(struct compressor *c, const void *bytes, size_t len, compress_sink sink,
		    void *context)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		size_t n = INPUT_BYTES - c->input_len;
		int r;

		if (n > len)
			n = len;
		memcpy(c->input + c->input_len, p, n);
		c->input_len += n;
		p += n;
		len -= n;
		if (c->input_len < INPUT_BYTES)
			break;
		r = run(c, false, sink, context);
		if (r)
			return r;
	}
	return 0;
}

int compressor_finish(struct compressor *c, compress_sink sink, void *context)
{
	int r = run(c, false, sink, context);

	/* The end comes alone: with input in hand zstd would take another path. */
	return r ? r : run(c, true, sink, context);
}

struct decompressor {
	enum oci_compression compression;
	z_stream gzip;
	bool gzip_ready;
	ZSTD_DCtx *zstd; /* owned */
	bool complete;	 /* at the end of a member or frame */
	uint8_t output[OUTPUT_BYTES];
};

struct decompressor *decompressor_new(enum oci_compression compression)
{
	struct decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->compression = compression;
	if (compression == OCI_GZIP) {
		d->gzip_ready = inflateInit2(&d->gzip, GZIP_WINDOW_BITS) == Z_OK;
		if (d->gzip_ready)
			return d;
	} else if (compression == OCI_ZSTD) {
		d->zstd = ZSTD_createDCtx();
		if (d->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax,
								    COMPRESS_ZSTD_WINDOW_LOG_MAX)))
			return d;
	} else {
		d->complete = true;
		return d;
	}
	decompressor_free(d);
	return NULL;
}

void decompressor_free(struct decompressor *d)
{
	if (!d)
		return;
	if (d->gzip_ready)
		inflateEnd(&d->gzip);
	ZSTD_freeDCtx(d->zstd);
	free(d);
}

static int inflate_piece(struct decompressor *d, const uint8_t *bytes, uInt len, compress_sink sink,
			 void *context, struct problem *problem)
{
	int r = 0, status;

	d->gzip.next_in = (Bytef *)(uintptr_t)bytes;
	d->gzip.avail_in = len;
	do {
		size_t n;

		if (d->complete) {
			if (d->gzip.avail_in == 0)
				return 0;
			inflateReset(&d->gzip);
			d->complete = false;
		}
		d->gzip.next_out = d->output;
		d->gzip.avail_out = OUTPUT_BYTES;
		status = inflate(&d->gzip, Z_NO_FLUSH);
		if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
			return problem_set(problem, status == Z_MEM_ERROR ? -ENOMEM : -EBADMSG,
					   "not valid gzip: %s",
					   d->gzip.msg ? d->gzip.msg : "damaged");
		d->complete = status == Z_STREAM_END;
		n = OUTPUT_BYTES - d->gzip.avail_out;
		r = n ? sink(context, d->output, n) : 0;
	} while (!r && (d->gzip.avail_in > 0 || d->gzip.avail_out == 0));
	return r;
}

static int feed_gzip(struct decompressor *d, const uint8_t *bytes, size_t len, compress_sink sink,
		     void *context, struct problem *problem)
{
	enum { PIECE_MAX = 1 << 30 };
	int r = 0;

	while (!r && len > 0) {
		uInt n = len > PIECE_MAX ? PIECE_MAX : (uInt)len;

		r = inflate_piece(d, bytes, n, sink, context, problem);
		bytes += n;
		len -= n;
	}
	return r;
}

static int feed_zstd(struct decompressor *d, const uint8_t *bytes, size_t len, compress_sink sink,
		     void *context, struct problem *problem)
{
	ZSTD_inBuffer in = { bytes, len, 0 };
	bool full = false;
	int r = 0;

	while (!r && (in.pos < in.size || full)) {
		ZSTD_outBuffer out = { d->output, OUTPUT_BYTES, 0 };
		size_t status = ZSTD_decompressStream(d->zstd, &out, &in);

		if (ZSTD_isError(status))
			return problem_set(problem, -EBADMSG, "not valid zstd: %s",
					   ZSTD_getErrorName(status));
		/* Asked again at a frame's end it would wait for the next frame's header. */
		full = out.pos == out.size && status != 0;
		d->complete = status == 0;
		r = out.pos ? sink(context, d->output, out.pos) : 0;
	}
	return r;
}

int decompressor_feed(struct decompressor *d, const void *bytes, size_t len, compress_sink sink,
		      void *context, struct problem *problem)
{
	if (len == 0)
		return 0;
	if (d->compression == OCI_GZIP)
		return feed_gzip(d, bytes, len, sink, context, problem);
	if (d->compression == OCI_ZSTD)
		return feed_zstd(d, bytes, len, sink, context, problem);
	return sink(context, bytes, len);
}

int decompressor_finish(struct decompressor *d, struct problem *problem)
{
	if (d->complete)
		return 0;
	return problem_set(problem, -EBADMSG, "the compressed stream is cut off");
}
