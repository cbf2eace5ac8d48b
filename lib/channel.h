/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded stream of bytes from one thread to one other: what pipe(2) is between
 * processes, with an error at each end.
 */
#pragma once

#include "lib/util.h"

struct channel;

/** channel_new() - NULL = no memory. Free with channel_free(), when both threads are done. */
struct channel *channel_new(void) must_check;
void channel_free(struct channel *channel);

/**
 * channel_write() - by the producer; waits while the channel is full.
 * Return: 0, or the error that the consumer gave up with.
 */
int channel_write(struct channel *channel, const void *bytes, size_t len) must_check;

/** channel_end() - by the producer, once: no more bytes, because of @error (0: that was all). */
void channel_end(struct channel *channel, int error);

/**
 * channel_read() - by the consumer; waits for bytes.
 * Return: 1 with a piece, borrowed until the next call; 0 at the end; the producer's error.
 */
int channel_read(struct channel *channel, const void **bytes, size_t *len) must_check;

/** channel_give_up() - by the consumer: writes fail with @error from now on. */
void channel_give_up(struct channel *channel, int error);
