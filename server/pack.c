/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the writing of packed files: probing, frames, table. Any thread; blocks for the disk. */
#include "server/pack.h"

#include <string.h>
#include <zstd.h>

#include "server/pack_format.h"

enum {
	LEVEL = 5,	/* in memory, while a client waits */
	LEVEL_FILE = 9, /* in the background; 3 on a tenth more bytes is five times as fast */
	PROBES = 4,
	PROBE_BYTES = 32 * 1024,
	TABLE_CHUNK = 512, /* entries written at a time */
};

bool pack_is_compressed(const void *bytes, size_t len)
{
	static const struct {
		const char *magic;
		size_t len;
	} magics[] = {
		{ "\x1f\x8b", 2 },
		{ "\x28\xb5\x2f\xfd", 4 },
		{ "\xfd"
		  "7zXZ",
		  5 },
		{ "BZh", 3 },
		{ "PK\x03\x04", 4 },
		{ "\x89PNG", 4 },
		{ "\xff\xd8\xff", 3 },
		{ "7z\xbc\xaf\x27\x1c", 6 },
		{ "\x04\x22\x4d\x18", 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		if (len >= magics[i].len && !memcmp(bytes, magics[i].magic, magics[i].len))
			return true;
	}
	return false;
}

static void put_le32(unsigned char *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(value >> 8 * i);
}

static void put_entry(unsigned char *p, size_t frame, size_t content)
{
	put_le32(p, (uint32_t)frame);
	put_le32(p + 4, (uint32_t)content);
}

static void put_header(unsigned char *p, uint32_t n_frames)
{
	put_le32(p, SEEK_TABLE_MAGIC);
	put_le32(p + 4, n_frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES);
}

static void put_footer(unsigned char *p, uint32_t n_frames)
{
	put_le32(p, n_frames);
	p[4] = 0; /* none in the table: the frames have their own */
	put_le32(p + 5, SEEK_FOOTER_MAGIC);
}

static uint64_t table_bytes(uint64_t n_frames)
{
	return SEEK_HEADER_BYTES + n_frames * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
}

static uint64_t frames_of(uint64_t size_bytes)
{
	return (size_bytes + PACK_FRAME - 1) / PACK_FRAME;
}

/* With a checksum in each frame: what a disk changed is an error and no content. */
static ZSTD_CCtx *make_context(int level)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();

	if (context &&
	    (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
	     ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)))) {
		ZSTD_freeCCtx(context);
		return NULL;
	}
	return context;
}

int pack_bytes(const void *bytes, size_t len, void **out, size_t *out_len)
{
	uint32_t n = (uint32_t)frames_of(len);
	size_t bound = (ZSTD_compressBound(PACK_FRAME < len ? PACK_FRAME : len) + 4) * n;
	cleanup_free unsigned char *packed = NULL;
	ZSTD_CCtx *context;
	unsigned char *entries;
	size_t used = 0;
	void *shrunk;

	if (len < PACK_SIZE_MIN || pack_is_compressed(bytes, len))
		return -ENOTSUP;
	context = make_context(LEVEL);
	packed = malloc(bound + table_bytes(n));
	if (!context || !packed) {
		ZSTD_freeCCtx(context);
		return -ENOMEM;
	}
	/* The table is written behind where the frames may end, and moved up. */
	entries = packed + bound;
	put_header(entries, n);
	for (uint32_t i = 0; i < n; i++) {
		size_t off = (size_t)i * PACK_FRAME;
		size_t part = len - off < PACK_FRAME ? len - off : PACK_FRAME;
		size_t frame = ZSTD_compress2(context, packed + used, bound - used,
					      (const char *)bytes + off, part);

		if (ZSTD_isError(frame)) {
			ZSTD_freeCCtx(context);
			return -ENOMEM;
		}
		put_entry(entries + SEEK_HEADER_BYTES + (size_t)i * SEEK_ENTRY_BYTES, frame, part);
		used += frame;
	}
	ZSTD_freeCCtx(context);
	put_footer(entries + SEEK_HEADER_BYTES + (size_t)n * SEEK_ENTRY_BYTES, n);
	if (!pack_is_worth(used + table_bytes(n), len))
		return -ENOTSUP;
	memmove(packed + used, entries, table_bytes(n));
	used += table_bytes(n);
	shrunk = realloc(packed, used);
	if (shrunk) {
		(void)steal_ptr(packed);
		packed = shrunk;
	}
	*out = steal_ptr(packed);
	*out_len = used;
	return 0;
}

/* A few pieces, quickly: is it worth a try? */
static int probe(int fd, uint64_t size_bytes)
{
	size_t bound = ZSTD_compressBound(PROBE_BYTES);
	cleanup_free char *plain = malloc(PROBE_BYTES + bound);
	uint64_t total = 0, packed = 0;

	if (!plain)
		return -ENOMEM;
	for (uint64_t i = 0; i < PROBES; i++) {
		uint64_t off = size_bytes <= (uint64_t)PROBES * PROBE_BYTES
				       ? i * PROBE_BYTES
				       : i * ((size_bytes - PROBE_BYTES) / (PROBES - 1));
		ssize_t n = pread_full(fd, plain, PROBE_BYTES, off);
		size_t frame;

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		if (i == 0 && pack_is_compressed(plain, (size_t)n))
			return -ENOTSUP;
		frame = ZSTD_compress(plain + PROBE_BYTES, bound, plain, (size_t)n, 1);
		if (ZSTD_isError(frame))
			return -ENOMEM;
		total += (uint64_t)n;
		packed += frame;
	}
	return packed <= total - total / 10 ? 0 : -ENOTSUP; /* of a sample, not of blocks */
}

struct writer {
	ZSTD_CCtx *context; /* owned */
	char *plain;	    /* owned: PACK_FRAME bytes, and room for its frame */
	uint32_t *frames;   /* owned: length of each */
	uint32_t n;
	uint64_t used;
};

static void writer_deinit(struct writer *writer)
{
	ZSTD_freeCCtx(writer->context);
	free(writer->plain);
	free(writer->frames);
}

static int write_frame(struct writer *writer, int in, uint64_t off, size_t part, int out)
{
	size_t bound = FRAME_BOUND, frame;
	ssize_t n = pread_full(in, writer->plain, part, off);
	int r;

	if (n < 0 || (size_t)n != part)
		return n < 0 ? (int)n : -EIO;
	frame = ZSTD_compress2(writer->context, writer->plain + PACK_FRAME, bound, writer->plain,
			       part);
	if (ZSTD_isError(frame))
		return -ENOMEM;
	r = write_all(out, writer->plain + PACK_FRAME, frame);
	if (r)
		return r;
	writer->frames[writer->n++] = (uint32_t)frame;
	writer->used += frame;
	return 0;
}

static int write_table(const struct writer *writer, uint64_t size_bytes, int out)
{
	unsigned char bytes[TABLE_CHUNK * SEEK_ENTRY_BYTES];
	uint32_t done = 0;
	int r;

	put_header(bytes, writer->n);
	r = write_all(out, bytes, SEEK_HEADER_BYTES);
	while (!r && done < writer->n) {
		uint32_t i;

		for (i = 0; i < TABLE_CHUNK && done < writer->n; i++, done++) {
			uint64_t left = size_bytes - (uint64_t)done * PACK_FRAME;

			put_entry(bytes + (size_t)i * SEEK_ENTRY_BYTES, writer->frames[done],
				  left < PACK_FRAME ? (size_t)left : PACK_FRAME);
		}
		r = write_all(out, bytes, (size_t)i * SEEK_ENTRY_BYTES);
	}
	put_footer(bytes, writer->n);
	return r ? r : write_all(out, bytes, SEEK_FOOTER_BYTES);
}

int pack_fd(int in, uint64_t size_bytes, int out, const atomic_bool *stop, uint64_t *packed_bytes)
{
	uint64_t n = frames_of(size_bytes);
	struct writer writer = { .context = NULL };
	int r;

	if (size_bytes < PACK_SIZE_MIN || n > PACK_FRAMES_MAX)
		return -ENOTSUP;
	r = probe(in, size_bytes);
	if (r)
		return r;
	writer.context = make_context(LEVEL_FILE);
	writer.plain = malloc(PACK_FRAME + FRAME_BOUND);
	writer.frames = calloc(n, sizeof(*writer.frames));
	if (!writer.context || !writer.plain || !writer.frames)
		r = -ENOMEM;
	for (uint64_t off = 0; !r && off < size_bytes; off += PACK_FRAME) {
		uint64_t left = size_bytes - off;

		if (stop && *stop)
			r = -ECANCELED;
		else
			r = write_frame(&writer, in, off,
					left < PACK_FRAME ? (size_t)left : PACK_FRAME, out);
		/* What is hopeless by now is not brought to its end. */
		if (!r && writer.used > size_bytes)
			r = -ENOTSUP;
	}
	if (!r && !pack_is_worth(writer.used + table_bytes(n), size_bytes))
		r = -ENOTSUP;
	if (!r)
		r = write_table(&writer, size_bytes, out);
	*packed_bytes = writer.used + table_bytes(n);
	writer_deinit(&writer);
	return r;
}
