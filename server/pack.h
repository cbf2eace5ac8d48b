/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content at rest as zstd, in the seekable format of zstd's contrib/seekable_format: frames
 * that can be decoded one by one, each of PACK_FRAME bytes of content (the last may have
 * less), and behind them a skippable frame with the length of each. Any zstd decoder reads
 * such a file from its start; we find the frames of a range by the table.
 *
 * The window is at most one frame, far below the 8 MiB of RFC 9659. Files are our own, but
 * disks lie: whatever they hold, reading them gives the content's bytes or an error. Whether
 * these are the right bytes only a digest says.
 *
 * Context: any thread.
 */
#pragma once

#include <stdatomic.h>

#include "lib/util.h"

enum {
	PACK_FRAME = 256 * 1024,	/* bytes of content: a range decodes at most two too many */
	PACK_BLOCK = 4096,		/* what a file takes of the disk is a multiple, as a rule */
	PACK_SIZE_MIN = PACK_BLOCK + 1, /* below, nothing is saved, and a GET costs more */
	PACK_FRAMES_MAX = 64 * 1024 * 1024, /* 16 TiB of content */
};

/* What a packed file says of itself. */
struct pack_info {
	uint64_t size_bytes;   /* of the content */
	uint64_t frames_bytes; /* of the frames, in front of the table */
	uint32_t n_frames;
	uint32_t last_bytes; /* of content in the last frame */
};

/** pack_is_worth() - do @packed bytes save a tenth of what @plain ones take of the disk? */
static inline bool pack_is_worth(uint64_t packed, uint64_t plain)
{
	uint64_t blocks = (plain + PACK_BLOCK - 1) / PACK_BLOCK;

	return (packed + PACK_BLOCK - 1) / PACK_BLOCK <= blocks - (blocks + 9) / 10;
}

/** pack_is_compressed() - does content that starts with @bytes come compressed already? */
bool pack_is_compressed(const void *bytes, size_t len);

/**
 * pack_bytes() - @bytes as a packed file in memory.
 * Return: 0; -ENOTSUP where that saves less than a tenth; -ENOMEM. *@out is allocated.
 */
int pack_bytes(const void *bytes, size_t len, void **out, size_t *out_len) must_check;

/**
 * pack_fd() - the content of @in, @size_bytes long, as a packed file into @out.
 * @stop: looked at between frames; may be NULL.
 * Return: 0; -ENOTSUP where pieces of it, or all of it, save less than a tenth; -ECANCELED; -errno.
 * *@packed_bytes: the file's size. Blocks; takes long for large content.
 */
int pack_fd(int in, uint64_t size_bytes, int out, const atomic_bool *stop,
	    uint64_t *packed_bytes) must_check;

/** pack_stat() - one to three small reads. Return: 0, -EBADMSG (damaged) or -errno. */
int pack_stat(int fd, uint64_t file_bytes, struct pack_info *out) must_check;

/** A running read of packed content, from some offset on. */
struct unpacker;

/**
 * unpacker_new() - read from content byte @off on. Reads the whole table. @fd: borrowed.
 * Return: 0, -EBADMSG, -ENOMEM or -errno.
 */
int unpacker_new(int fd, const struct pack_info *info, uint64_t off,
		 struct unpacker **out) must_check;
void unpacker_free(struct unpacker *unpacker);

/**
 * unpacker_read() - the next at most @len bytes; 0 at the end of the content. All of them come
 * from frames that were decoded to their end and had their checksums.
 * Return: how many, -EBADMSG (damaged), -ENOMEM or -errno.
 */
ssize_t unpacker_read(struct unpacker *unpacker, void *bytes, size_t len) must_check;

/** unpacker_rest() - keep the place, but no memory; the frame is decoded again at the next read. */
void unpacker_rest(struct unpacker *unpacker);

/** unpacker_seek() - go on at @off, if that is in the frame of the next byte. Return: is it? */
bool unpacker_seek(struct unpacker *unpacker, uint64_t off) must_check;

/** unpack_all() - all content at once; @bytes has info->size_bytes of room. Return: 0, -errno. */
int unpack_all(int fd, const struct pack_info *info, void *bytes) must_check;

static inline void cleanup_unpackerp(struct unpacker **unpacker)
{
	unpacker_free(*unpacker);
}

#define cleanup_unpacker __attribute__((cleanup(cleanup_unpackerp)))
