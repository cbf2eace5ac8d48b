/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Openers that wait for a file to be fetched: one thread for all of them, so that misses
 * never take the threads that serve hits.
 */
#pragma once

#include "client/fuse-version.h"

#include <fuse_lowlevel.h>

#include "client/fuse-node.h"

struct miss_queue;

struct miss_options {
	const char *socket;   /* borrowed; NULL: as control_connect() */
	const char *mount_id; /* borrowed; may be NULL */
	unsigned int timeout_ms, max_waiters;
	/*
	 * Answers @req, once: the blob is in the cache where @error is 0, else it is the
	 * errno (positive) for the caller. Runs in the queue's thread; must not block.
	 */
	void (*done)(void *context, fuse_req_t req, struct node *node,
		     const struct fuse_file_info *fi, int error);
	void *context; /* borrowed */
};

/** miss_queue_new() - starts the thread. Return: 0 or negative errno. */
int miss_queue_new(const struct miss_options *options, struct miss_queue **out) must_check;

/** miss_queue_free() - stops the thread; whoever waits gets EIO. NULL is fine. */
void miss_queue_free(struct miss_queue *queue);

/**
 * miss_queue_add() - @req, an open of the stub @node, waits for its blob. Any thread; does
 * not block. options->done() is called later: when it is there, cannot be had, the deadline
 * is over (EIO), or the caller is being killed (EINTR; other signals are none of our
 * business: they must not make an open fail that would succeed on a disk).
 * Return: 0; -ENFILE, -ENOMEM: the caller answers.
 */
int miss_queue_add(struct miss_queue *queue, fuse_req_t req, struct node *node,
		   const struct fuse_file_info *fi) must_check;
