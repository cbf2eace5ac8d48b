/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the reading of packed files. Nothing in them is believed: lengths are checked against
 * the file's and against each other, a frame's content against the table, and memory is
 * bounded by one frame. Any thread.
 */
#include <pthread.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "server/pack.h"
#include "server/pack_format.h"

enum { INPUT_BYTES = 64 * 1024, ENTRIES_AT_ONCE = 1024, WINDOW_LOG_MAX = 23 };

struct unpacker {
	int fd;		    /* owned */
	ZSTD_DCtx *context; /* owned */
	uint64_t off, end;  /* in the file: next byte to read, end of the frames */
	uint64_t skip;	    /* bytes of content before the first that is wanted */
	uint64_t left;	    /* bytes of content to come, without those */
	size_t in_pos, in_len;
	char input[INPUT_BYTES];
};

static uint32_t get_le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int read_exactly(int fd, void *bytes, size_t len, uint64_t off)
{
	ssize_t n = pread_full(fd, bytes, len, off);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EBADMSG;
}

int pack_stat(int fd, uint64_t file_bytes, struct pack_info *out)
{
	unsigned char tail[SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES], header[SEEK_HEADER_BYTES];
	uint64_t table;
	uint32_t n, last;
	int r;

	if (file_bytes < SEEK_HEADER_BYTES + sizeof(tail))
		return -EBADMSG;
	r = read_exactly(fd, tail, sizeof(tail), file_bytes - sizeof(tail));
	if (r)
		return r;
	n = get_le32(tail + SEEK_ENTRY_BYTES);
	last = get_le32(tail + 4);
	if (get_le32(tail + SEEK_ENTRY_BYTES + 5) != SEEK_FOOTER_MAGIC ||
	    tail[SEEK_ENTRY_BYTES + 4] != 0 || n == 0 || n > PACK_FRAMES_MAX || last == 0 ||
	    last > PACK_FRAME)
		return -EBADMSG;
	table = SEEK_HEADER_BYTES + (uint64_t)n * SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES;
	if (table >= file_bytes)
		return -EBADMSG;
	r = read_exactly(fd, header, sizeof(header), file_bytes - table);
	if (r)
		return r;
	if (get_le32(header) != SEEK_TABLE_MAGIC ||
	    get_le32(header + 4) != table - SEEK_HEADER_BYTES)
		return -EBADMSG;
	out->n_frames = n;
	out->frames_bytes = file_bytes - table;
	out->size_bytes = (uint64_t)(n - 1) * PACK_FRAME + last;
	return 0;
}

int pack_frame_offset(int fd, const struct pack_info *info, uint32_t index, uint64_t *out)
{
	unsigned char entries[ENTRIES_AT_ONCE * SEEK_ENTRY_BYTES];
	uint64_t at = info->frames_bytes + SEEK_HEADER_BYTES, off = 0;
	int r;

	for (uint32_t i = 0; i < index;) {
		uint32_t n = index - i < ENTRIES_AT_ONCE ? index - i : ENTRIES_AT_ONCE;

		r = read_exactly(fd, entries, (size_t)n * SEEK_ENTRY_BYTES,
				 at + (uint64_t)i * SEEK_ENTRY_BYTES);
		if (r)
			return r;
		for (uint32_t k = 0; k < n; k++) {
			off += get_le32(entries + (size_t)k * SEEK_ENTRY_BYTES);
			/* All but the last frame are full: ranges are found by that. */
			if (get_le32(entries + (size_t)k * SEEK_ENTRY_BYTES + 4) != PACK_FRAME)
				return -EBADMSG;
		}
		i += n;
	}
	if (off >= info->frames_bytes)
		return -EBADMSG;
	*out = off;
	return 0;
}

int unpacker_new(int fd, const struct pack_info *info, uint64_t off, struct unpacker **out)
{
	struct unpacker *unpacker;
	uint64_t start;
	int r;

	if (off >= info->size_bytes)
		return -EINVAL;
	r = pack_frame_offset(fd, info, (uint32_t)(off / PACK_FRAME), &start);
	if (r)
		return r;
	unpacker = malloc(sizeof(*unpacker));
	if (!unpacker)
		return -ENOMEM;
	*unpacker = (struct unpacker){
		.fd = -1, /* the caller's until nothing can fail */
		.context = ZSTD_createDCtx(),
		.off = start,
		.end = info->frames_bytes,
		.skip = off % PACK_FRAME,
		.left = info->size_bytes - off,
	};
	if (!unpacker->context ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(unpacker->context, ZSTD_d_windowLogMax,
						WINDOW_LOG_MAX))) {
		unpacker_free(unpacker);
		return -ENOMEM;
	}
	unpacker->fd = fd;
	*out = unpacker;
	return 0;
}

void unpacker_free(struct unpacker *unpacker)
{
	if (!unpacker)
		return;
	ZSTD_freeDCtx(unpacker->context);
	if (unpacker->fd >= 0)
		close(unpacker->fd);
	free(unpacker);
}

static int fill_input(struct unpacker *unpacker)
{
	uint64_t left = unpacker->end - unpacker->off;
	size_t want = left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
	int r = want ? read_exactly(unpacker->fd, unpacker->input, want, unpacker->off) : -EBADMSG;

	if (r)
		return r;
	unpacker->in_pos = 0;
	unpacker->in_len = want;
	unpacker->off += want;
	return 0;
}

/* At least one byte of content into @out, unless the frames end too early. */
static int decode_some(struct unpacker *unpacker, ZSTD_outBuffer *out)
{
	size_t before = out->pos;

	while (out->pos == before) {
		ZSTD_inBuffer in;
		size_t left;
		int r;

		if (unpacker->in_pos == unpacker->in_len) {
			r = fill_input(unpacker);
			if (r)
				return r;
		}
		in = (ZSTD_inBuffer){ unpacker->input, unpacker->in_len, unpacker->in_pos };
		left = ZSTD_decompressStream(unpacker->context, out, &in);
		if (ZSTD_isError(left))
			return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM
										       : -EBADMSG;
		unpacker->in_pos = in.pos;
	}
	return 0;
}

static int skip_content(struct unpacker *unpacker)
{
	char dropped[16 * 1024];

	while (unpacker->skip > 0) {
		size_t want = unpacker->skip < sizeof(dropped) ? (size_t)unpacker->skip
							       : sizeof(dropped);
		ZSTD_outBuffer out = { .dst = dropped, .size = want };
		int r = decode_some(unpacker, &out);

		if (r)
			return r;
		unpacker->skip -= out.pos;
	}
	return 0;
}

ssize_t unpacker_read(struct unpacker *unpacker, void *bytes, size_t len)
{
	ZSTD_outBuffer out = { bytes, unpacker->left < len ? (size_t)unpacker->left : len, 0 };
	int r = skip_content(unpacker);

	while (!r && out.pos < out.size)
		r = decode_some(unpacker, &out);
	if (r)
		return r;
	unpacker->left -= out.pos;
	return (ssize_t)out.pos;
}

/* One decoder a thread: making one costs more than decoding a small blob. */
static pthread_key_t decoder_key;
static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;

static void free_decoder(void *context)
{
	ZSTD_freeDCtx(context);
}

static void make_decoder_key(void)
{
	if (pthread_key_create(&decoder_key, free_decoder))
		abort(); /* 1,024 are possible, and this is one of a handful */
}

static ZSTD_DCtx *thread_decoder(void)
{
	ZSTD_DCtx *context;

	pthread_once(&decoder_once, make_decoder_key);
	context = pthread_getspecific(decoder_key);
	if (!context) {
		context = ZSTD_createDCtx();
		if (context && pthread_setspecific(decoder_key, context))
			free_decoder(steal_ptr(context));
	}
	return context;
}

int unpack_all(int fd, const struct pack_info *info, void *bytes)
{
	ZSTD_DCtx *context = thread_decoder();
	cleanup_free char *packed = NULL;
	size_t n;
	int r;

	/* Content that shrank is longer than its frames; damage could say otherwise. */
	if (info->frames_bytes > info->size_bytes)
		return -EBADMSG;
	packed = malloc(info->frames_bytes);
	if (!context || !packed)
		return -ENOMEM;
	r = read_exactly(fd, packed, info->frames_bytes, 0);
	if (r)
		return r;
	n = ZSTD_decompressDCtx(context, bytes, info->size_bytes, packed, info->frames_bytes);
	return ZSTD_isError(n) || n != info->size_bytes ? -EBADMSG : 0;
}
