/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a long command is: one line on standard error where that is a terminal, redrawn a
 * few times a second; nothing in a pipe.
 */
#pragma once

#include "lib/util.h"

struct progress;

/**
 * progress_new() - @what: "converting". @quiet: show nothing, count only.
 * Return: NULL without memory. Free with progress_free().
 */
struct progress *progress_new(const char *what, bool quiet) must_check;

/** progress_expect() - @bytes more are to be done, so there is an estimate of the end. */
void progress_expect(struct progress *progress, uint64_t bytes);

/** progress_add() - done. Any thread; may be negative when a part is done again. */
void progress_add(struct progress *progress, int64_t bytes);

/** progress_done() - bytes so far. */
uint64_t progress_done(const struct progress *progress);

/** progress_elapsed_ms() - since progress_new(). */
int64_t progress_elapsed_ms(const struct progress *progress);

/** progress_free() - wipes the line. NULL is fine. */
void progress_free(struct progress *progress);

/** progress_format_bytes() - "12.3 MB". Return: @out. */
char *progress_format_bytes(uint64_t bytes, char out[static 16]);

static inline void cleanup_progressp(struct progress **progress)
{
	progress_free(*progress);
}

#define cleanup_progress __attribute__((cleanup(cleanup_progressp)))
