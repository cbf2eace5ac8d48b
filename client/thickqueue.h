/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pieces of a full layer in their order: bytes that are there, and contents that several
 * threads fetch in any order. Bounded in number and in bytes.
 */
#pragma once

#include "lib/pool.h"
#include "lib/spool.h"

enum {
	SEGMENTS_MAX = 256, /* with SPOOL_MEMORY_MAX each: 64 MiB */
	/* Contents in the temporary directory that wait for their turn. */
	SEGMENT_BYTES_MAX = 1024 * 1024 * 1024,
};

struct thick_queue;

struct segment {
	struct segment *next;
	struct thick_queue *queue;
	char *raw; /* owned; NULL: a content */
	size_t raw_len;
	/* A content: */
	struct digest digest;
	uint64_t size_bytes;
	char *path;		/* owned: of the entry, for messages */
	struct content content; /* under lock until ready */
	bool ready;		/* under lock */
	int error;		/* under lock */
};

struct thick_queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct segment *first, **last; /* under lock */
	size_t n;		       /* under lock */
	uint64_t bytes;		       /* under lock */
	bool ended;		       /* under lock */
	int error;		       /* under lock: of either side */
	struct failure failure;
};

void thick_queue_init(struct thick_queue *queue);

/** thick_queue_deinit() - frees what is left in it; no thread looks at it any more. */
void thick_queue_deinit(struct thick_queue *queue);

/** segment_new() - NULL = no memory. Free with segment_free() while no queue has it. */
struct segment *segment_new(struct thick_queue *queue) must_check;
void segment_free(struct segment *segment);

/** segment_settle() - its content is there, or will not be because of @error. Any thread. */
void segment_settle(struct segment *segment, int error);

/**
 * thick_queue_push() - takes @segment over, also on failure; waits while the queue is full.
 * Return: 0 or the error that somebody failed with.
 */
int thick_queue_push(struct thick_queue *queue, struct segment *segment) must_check;

/** thick_queue_end() - nothing more is pushed. */
void thick_queue_end(struct thick_queue *queue);

/**
 * thick_queue_next() - the next segment in order, when its content is there.
 * Return: 1 with @out, which is the caller's; 0 at the end; -errno.
 */
int thick_queue_next(struct thick_queue *queue, struct segment **out) must_check;

/** thick_queue_fail() - both sides get @error from now on. The first one's words are kept. */
void thick_queue_fail(struct thick_queue *queue, int error, const struct problem *problem);
