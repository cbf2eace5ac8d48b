/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the reading of packed files. Nothing in them is believed: lengths are checked against
 * the file's and against each other, and no byte of a frame leaves before the whole frame was
 * decoded and had its checksum. Memory is bounded by one frame. Any thread.
 */
#include <pthread.h>
#include <string.h>
#include <zstd.h>

#include "server/pack.h"
#include "server/pack_format.h"

enum {
	ENTRIES_AT_ONCE = 1024,
	FRAME_HEADER_MAX = 18,
	END_BYTES = 8192, /* of a file that are read at once: of small content all that there is */
};

/* The last bytes of a packed file, and where they start in it. */
struct file_end {
	int fd; /* borrowed */
	uint64_t start, file_bytes;
	unsigned char bytes[END_BYTES];
};

struct unpacker {
	int fd; /* borrowed */
	struct pack_info info;
	uint32_t index;	  /* of the frame that is read */
	uint64_t off;	  /* where it starts in the file */
	size_t pos;	  /* in its content: the next byte */
	size_t len;	  /* of its content, where frame holds it; else 0 */
	size_t frame_len; /* in the file; set with len */
	char *frame;	  /* owned; NULL: no memory is kept */
};

/* One a thread: making a decoder costs more than decoding a small blob. */
struct decoder {
	ZSTD_DCtx *context; /* owned */
	char packed[FRAME_BOUND];
};

static pthread_key_t decoder_key;
static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;

static void free_decoder(void *argument)
{
	struct decoder *decoder = argument;

	ZSTD_freeDCtx(decoder->context);
	free(decoder);
}

static void make_decoder_key(void)
{
	if (pthread_key_create(&decoder_key, free_decoder))
		abort(); /* 1,024 are possible, and this is one of a handful */
}

static struct decoder *thread_decoder(void)
{
	struct decoder *decoder;

	pthread_once(&decoder_once, make_decoder_key);
	decoder = pthread_getspecific(decoder_key);
	if (decoder)
		return decoder;
	decoder = malloc(sizeof(*decoder));
	if (!decoder)
		return NULL;
	decoder->context = ZSTD_createDCtx();
	if (!decoder->context || pthread_setspecific(decoder_key, decoder)) {
		free_decoder(decoder);
		return NULL;
	}
	return decoder;
}

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

static int read_end(int fd, uint64_t file_bytes, struct file_end *end)
{
	size_t len = file_bytes < sizeof(end->bytes) ? (size_t)file_bytes : sizeof(end->bytes);

	end->fd = fd;
	end->file_bytes = file_bytes;
	end->start = file_bytes - len;
	return read_exactly(fd, end->bytes, len, end->start);
}

/* Bytes that the file has, without a second read where they were read. */
static int get_bytes(const struct file_end *end, void *bytes, size_t len, uint64_t off)
{
	if (off < end->start)
		return read_exactly(end->fd, bytes, len, off);
	memcpy(bytes, end->bytes + (off - end->start), len);
	return 0;
}

/*
 * The table has no checksum, and only its last length says how long the content is: the last
 * frame must say the same.
 */
static int check_last_frame(const struct file_end *end, const struct pack_info *info,
			    uint64_t frame_len)
{
	char header[FRAME_HEADER_MAX];
	size_t len = frame_len < sizeof(header) ? (size_t)frame_len : sizeof(header);
	int r;

	if (frame_len > info->frames_bytes ||
	    (info->n_frames == 1) != (frame_len == info->frames_bytes))
		return -EBADMSG;
	r = get_bytes(end, header, len, info->frames_bytes - frame_len);
	if (r)
		return r;
	return ZSTD_getFrameContentSize(header, len) == info->last_bytes ? 0 : -EBADMSG;
}

static int stat_end(const struct file_end *end, struct pack_info *out)
{
	unsigned char tail[SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES], header[SEEK_HEADER_BYTES];
	uint64_t file_bytes = end->file_bytes, table;
	struct pack_info info;
	uint32_t n, last;
	int r;

	r = get_bytes(end, tail, sizeof(tail), file_bytes - sizeof(tail));
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
	r = get_bytes(end, header, sizeof(header), file_bytes - table);
	if (r)
		return r;
	if (get_le32(header) != SEEK_TABLE_MAGIC ||
	    get_le32(header + 4) != table - SEEK_HEADER_BYTES)
		return -EBADMSG;
	info = (struct pack_info){ .size_bytes = (uint64_t)(n - 1) * PACK_FRAME + last,
				   .frames_bytes = file_bytes - table,
				   .n_frames = n,
				   .last_bytes = last };
	r = check_last_frame(end, &info, get_le32(tail));
	if (!r)
		*out = info;
	return r;
}

int pack_stat(int fd, uint64_t file_bytes, struct pack_info *out)
{
	struct file_end end;
	int r;

	if (file_bytes < SEEK_HEADER_BYTES + SEEK_ENTRY_BYTES + SEEK_FOOTER_BYTES)
		return -EBADMSG;
	r = read_end(fd, file_bytes, &end);
	return r ? r : stat_end(&end, out);
}

/* What frame @index has of content. */
static uint32_t content_of(const struct pack_info *info, uint32_t index)
{
	return index + 1 == info->n_frames ? info->last_bytes : PACK_FRAME;
}

/*
 * Where frame @index starts. The whole table is looked at: a changed length in it is seen by
 * the sum, before it leads to the start of another frame.
 */
static int frame_offset(int fd, const struct pack_info *info, uint32_t index, uint64_t *out)
{
	unsigned char entries[ENTRIES_AT_ONCE * SEEK_ENTRY_BYTES];
	uint64_t at = info->frames_bytes + SEEK_HEADER_BYTES, sum = 0, off = 0;
	int r;

	for (uint32_t i = 0; i < info->n_frames;) {
		uint32_t n = info->n_frames - i;

		if (n > ENTRIES_AT_ONCE)
			n = ENTRIES_AT_ONCE;
		r = read_exactly(fd, entries, (size_t)n * SEEK_ENTRY_BYTES,
				 at + (uint64_t)i * SEEK_ENTRY_BYTES);
		if (r)
			return r;
		for (uint32_t k = 0; k < n; k++, i++) {
			const unsigned char *entry = entries + (size_t)k * SEEK_ENTRY_BYTES;

			if (i == index)
				off = sum;
			sum += get_le32(entry);
			if (get_le32(entry + 4) != content_of(info, i))
				return -EBADMSG;
		}
	}
	if (sum != info->frames_bytes)
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
	r = frame_offset(fd, info, (uint32_t)(off / PACK_FRAME), &start);
	if (r)
		return r;
	unpacker = malloc(sizeof(*unpacker));
	if (!unpacker)
		return -ENOMEM;
	*unpacker = (struct unpacker){
		.fd = fd,
		.info = *info,
		.index = (uint32_t)(off / PACK_FRAME),
		.off = start,
		.pos = off % PACK_FRAME,
	};
	*out = unpacker;
	return 0;
}

void unpacker_free(struct unpacker *unpacker)
{
	if (!unpacker)
		return;
	free(unpacker->frame);
	free(unpacker);
}

void unpacker_rest(struct unpacker *unpacker)
{
	free(steal_ptr(unpacker->frame));
	unpacker->len = 0;
}

bool unpacker_seek(struct unpacker *unpacker, uint64_t off)
{
	if (off >= unpacker->info.size_bytes || off / PACK_FRAME != unpacker->index)
		return false;
	unpacker->pos = off % PACK_FRAME;
	return true;
}

/* The frame that is read, whole and with its checksum, to @to. */
static int decode_frame(struct unpacker *unpacker, char *to, size_t *frame_len)
{
	const struct pack_info *info = &unpacker->info;
	struct decoder *decoder = thread_decoder();
	uint32_t content = content_of(info, unpacker->index), packed;
	unsigned char entry[SEEK_ENTRY_BYTES];
	size_t n;
	int r;

	if (!decoder)
		return -ENOMEM;
	r = read_exactly(unpacker->fd, entry, sizeof(entry),
			 info->frames_bytes + SEEK_HEADER_BYTES +
				 (uint64_t)unpacker->index * SEEK_ENTRY_BYTES);
	if (r)
		return r;
	packed = get_le32(entry);
	if (packed > sizeof(decoder->packed) || packed > info->frames_bytes - unpacker->off)
		return -EBADMSG;
	r = read_exactly(unpacker->fd, decoder->packed, packed, unpacker->off);
	if (r)
		return r;
	n = ZSTD_decompressDCtx(decoder->context, to, content, decoder->packed, packed);
	if (ZSTD_isError(n) || n != content)
		return -EBADMSG;
	*frame_len = packed;
	return 0;
}

static void next_frame(struct unpacker *unpacker, size_t frame_len)
{
	unpacker->index++;
	unpacker->off += frame_len;
	unpacker->pos = unpacker->len = 0;
}

static int fill_frame(struct unpacker *unpacker)
{
	int r;

	if (!unpacker->frame)
		unpacker->frame = malloc(PACK_FRAME);
	if (!unpacker->frame)
		return -ENOMEM;
	r = decode_frame(unpacker, unpacker->frame, &unpacker->frame_len);
	unpacker->len = r ? 0 : content_of(&unpacker->info, unpacker->index);
	return r;
}

ssize_t unpacker_read(struct unpacker *unpacker, void *bytes, size_t len)
{
	size_t done = 0, n;
	int r = 0;

	while (!r && done < len && unpacker->index < unpacker->info.n_frames) {
		char *to = (char *)bytes + done;
		size_t content = content_of(&unpacker->info, unpacker->index);

		if (!unpacker->len && !unpacker->pos && len - done >= content) {
			r = decode_frame(unpacker, to, &n); /* all of it at once, no copy */
			if (!r) {
				next_frame(unpacker, n);
				done += content;
			}
			continue;
		}
		if (!unpacker->len)
			r = fill_frame(unpacker);
		if (r)
			break;
		n = content - unpacker->pos < len - done ? content - unpacker->pos : len - done;
		memcpy(to, unpacker->frame + unpacker->pos, n);
		done += n;
		unpacker->pos += n;
		if (unpacker->pos == content)
			next_frame(unpacker, unpacker->frame_len);
	}
	return r ? r : (ssize_t)done;
}

int unpack_all(int fd, const struct pack_info *info, void *bytes)
{
	struct decoder *decoder = thread_decoder();
	cleanup_free char *packed = NULL;
	size_t n;
	int r;

	/* Content that shrank is longer than its frames; damage could say otherwise. */
	if (info->frames_bytes > info->size_bytes)
		return -EBADMSG;
	packed = malloc(info->frames_bytes);
	if (!decoder || !packed)
		return -ENOMEM;
	r = read_exactly(fd, packed, info->frames_bytes, 0);
	if (r)
		return r;
	n = ZSTD_decompressDCtx(decoder->context, bytes, info->size_bytes, packed,
				info->frames_bytes);
	return ZSTD_isError(n) || n != info->size_bytes ? -EBADMSG : 0;
}
