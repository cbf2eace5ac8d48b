/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns a ring of blocks between two threads. Each block is written by the producer alone,
 * then read by the consumer alone; only the counters are under the lock.
 */
#include "lib/channel.h"

#include <pthread.h>
#include <string.h>

enum {
	/* Large enough that the lock costs nothing, small enough to stay in the L2 cache. */
	BLOCK_BYTES = 128 * 1024,
	/* 2 MiB a channel: enough for one side to go on while the other waits for a disk. */
	N_BLOCKS = 16,
};

struct block {
	size_t len;
	uint8_t bytes[BLOCK_BYTES];
};

struct channel {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t n_written, n_read; /* blocks; under lock */
	bool ended;		    /* under lock */
	int producer_error;	    /* under lock */
	int consumer_error;	    /* under lock */
	bool reading;		    /* consumer only: holds a block */
	bool filling;		    /* producer only: has claimed a block */
	struct block blocks[N_BLOCKS];
};

struct channel *channel_new(void)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return NULL;
	pthread_mutex_init(&channel->lock, NULL);
	pthread_cond_init(&channel->changed, NULL);
	return channel;
}

void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	pthread_cond_destroy(&channel->changed);
	pthread_mutex_destroy(&channel->lock);
	free(channel);
}

/* Wait for a free block. The producer alone moves n_written, so the claim needs no mark. */
static int claim(struct channel *channel)
{
	int r;

	if (channel->filling)
		return 0;
	pthread_mutex_lock(&channel->lock);
	while (!channel->consumer_error && channel->n_written - channel->n_read == N_BLOCKS)
		pthread_cond_wait(&channel->changed, &channel->lock);
	r = channel->consumer_error;
	pthread_mutex_unlock(&channel->lock);
	if (r)
		return r;
	channel->blocks[channel->n_written % N_BLOCKS].len = 0;
	channel->filling = true;
	return 0;
}

static void publish(struct channel *channel)
{
	pthread_mutex_lock(&channel->lock);
	channel->n_written++;
	pthread_cond_signal(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
	channel->filling = false;
}

int channel_write(struct channel *channel, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		struct block *block;
		size_t n;
		int r = claim(channel);

		if (r)
			return r;
		block = &channel->blocks[channel->n_written % N_BLOCKS];
		n = BLOCK_BYTES - block->len;
		if (n > len)
			n = len;
		memcpy(block->bytes + block->len, p, n);
		block->len += n;
		p += n;
		len -= n;
		if (block->len == BLOCK_BYTES)
			publish(channel);
	}
	return 0;
}

void channel_end(struct channel *channel, int error)
{
	if (channel->filling && !error)
		publish(channel);
	pthread_mutex_lock(&channel->lock);
	channel->ended = true;
	channel->producer_error = error;
	pthread_cond_signal(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
}

int channel_read(struct channel *channel, const void **bytes, size_t *len)
{
	struct block *block;
	int r = 1;

	pthread_mutex_lock(&channel->lock);
	if (channel->reading) {
		channel->n_read++;
		pthread_cond_signal(&channel->changed);
	}
	channel->reading = false;
	while (!channel->ended && channel->n_read == channel->n_written)
		pthread_cond_wait(&channel->changed, &channel->lock);
	if (channel->producer_error)
		r = channel->producer_error;
	else if (channel->n_read == channel->n_written)
		r = 0;
	pthread_mutex_unlock(&channel->lock);
	if (r <= 0)
		return r;
	channel->reading = true;
	block = &channel->blocks[channel->n_read % N_BLOCKS];
	*bytes = block->bytes;
	*len = block->len;
	return 1;
}

void channel_give_up(struct channel *channel, int error)
{
	pthread_mutex_lock(&channel->lock);
	channel->consumer_error = error;
	pthread_cond_signal(&channel->changed);
	pthread_mutex_unlock(&channel->lock);
}
