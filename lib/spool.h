/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content on its way from one place to another: hashed while it is collected, small in
 * memory, large in an unnamed temporary file.
 */
#pragma once

#include "lib/digest.h"

struct problem;

enum {
	/*
	 * Most files of an image are smaller; a temporary file would cost more than the
	 * memory of a bounded queue of them.
	 */
	SPOOL_MEMORY_MAX = 256 * 1024,
};

/* Zeroed but for .fd = -1 is empty. */
struct content {
	struct digest digest;
	uint64_t size_bytes;
	char *bytes; /* owned; NULL where fd has it */
	int fd;	     /* owned; -1 where bytes has it; any file offset */
};

#define CONTENT_EMPTY ((struct content){ .fd = -1 })

void content_free(struct content *content);

/** content_move() - give it away: @content is empty afterwards. */
struct content content_move(struct content *content) must_check;

/** content_read() - up to @len bytes at @off. Return: bytes, 0 at the end, or -errno. */
ssize_t content_read(const struct content *content, uint64_t off, void *bytes,
		     size_t len) must_check;

/** content_copy() - all of it, in order, into @sink. Return: 0, -errno, what the sink says. */
int content_copy(const struct content *content,
		 int (*sink)(void *context, const void *bytes, size_t len),
		 void *context) must_check;

struct spool;

/**
 * spool_new() - @temp_dir: for the large ones; NULL: $TMPDIR, else /var/tmp, which is on a
 * disk, unlike /tmp on many systems.
 * Return: 0, or negative errno with @problem.
 */
int spool_new(const char *temp_dir, struct spool **out, struct problem *problem) must_check;
void spool_free(struct spool *spool);

/** spool_begin() - content of @size_bytes follows; drops what was begun before. */
int spool_begin(struct spool *spool, uint64_t size_bytes, struct problem *problem) must_check;

/** spool_write() - Return: 0; -EFBIG past the promised size; -errno with @problem (ENOSPC). */
int spool_write(struct spool *spool, const void *bytes, size_t len,
		struct problem *problem) must_check;

/** spool_end() - Return: 0; -EBADMSG when bytes are missing. @out is the caller's. */
int spool_end(struct spool *spool, struct content *out) must_check;

/** spool_temp_file() - an unnamed file in the spool's directory. Return: fd or -errno. */
int spool_temp_file(const struct spool *spool, struct problem *problem) must_check;

static inline void cleanup_spoolp(struct spool **spool)
{
	spool_free(*spool);
}

#define cleanup_spool __attribute__((cleanup(cleanup_spoolp)))
#define cleanup_content __attribute__((cleanup(content_free)))
