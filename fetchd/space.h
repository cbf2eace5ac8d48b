/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room that the cache takes: counted, bounded, and made where it is missing.
 *
 * Bounds are a size (none by default) and what stays free of the file system. From 95 % of the size
 * on, or near the free space that is to stay, files go, those of the least value first (policy.h),
 * down to 90 %: in the background, beside all fetches. Who fetches when a bound is reached waits
 * for that. Spared are files that somebody has open, that are pinned, and, as long as others will
 * do, that have pages in the kernel's cache.
 *
 * What is in the cache is found by a walk over its directory after the start. Another walk, now and
 * then, looks for pages in the kernel's cache: with overlayfs nobody tells what is used.
 *
 * Loop thread.
 */
#pragma once

#include "fetchd/policy.h"
#include "lib/cache.h"
#include "lib/json.h"

struct event_base;
struct offload;
struct pins;
struct space;

/* Borrowed for the life of what is made of it. */
struct space_options {
	struct event_base *base;
	struct cache *cache;
	struct offload *offload;
	struct pins *pins;
	const char *run;	 /* directory: what overlays are made of, see overlays.h */
	uint64_t max_bytes;	 /* UINT64_MAX: none */
	uint64_t min_free_bytes; /* of the cache's file system */
};

/** space_new() - starts the first walk. Return: 0 or negative errno. */
int space_new(const struct space_options *options, struct space **out) must_check;
/** space_free() - after the jobs of the offload threads have ended. */
void space_free(struct space *space);

/** space_note_fetched() - a file was published. @used: somebody waited for it. */
void space_note_fetched(struct space *space, const struct digest *digest, uint64_t size_bytes,
			bool used);

/**
 * space_ask() - is there room for @size_bytes more? Return: 0: it is promised, until
 * space_release(); -EAGAIN: not yet, it is being made, ask again; -ENOSPC: and none can be made.
 */
int space_ask(struct space *space, uint64_t size_bytes) must_check;

/** space_reserved() - of what was promised the file system has taken so much already. */
void space_reserved(struct space *space, uint64_t size_bytes);

/** space_release() - what was promised is in the cache, or not wanted; @reserved: as above. */
void space_release(struct space *space, uint64_t size_bytes, bool reserved);

/** space_is_full() - the file system said so. Return: as space_ask(), but never 0. */
int space_is_full(struct space *space, uint64_t size_bytes) must_check;

/** space_stop() - rounds end early, and no done() is called any more. */
void space_stop(struct space *space);

/**
 * space_shrink() - evict @bytes, as far as possible; UINT64_MAX: all. @done: when that has ended,
 * with how many files and bytes are gone. Return: 0; -EBUSY: a round is under way.
 */
int space_shrink(struct space *space, uint64_t bytes,
		 void (*done)(void *context, uint64_t files, uint64_t bytes),
		 void *context) must_check;

/**
 * space_discard() - a file that is damaged goes out of the way, to be fetched again, and mounts
 * forget it. @done: when that is so, with 0 or negative errno. Return: 0 or -ENOMEM.
 */
int space_discard(struct space *space, const struct digest *digest,
		  void (*done)(void *context, int error), void *context) must_check;

/** space_discard_now() - the same, from any thread. Blocks. */
int space_discard_now(struct space *space, const struct digest *digest) must_check;

/** space_is_in_memory() - has the kernel pages of a file? false where it does not tell. Any thread.
 */
bool space_is_in_memory(struct space *space, int fd);

/**
 * space_describe() - for status: {"files", "bytes", "max_bytes", "free_bytes", "min_free_bytes",
 * "evicted_files", "evicted_bytes", "walking": bool}. "max_bytes" is null where there is no
 * bound. NULL = no memory.
 */
json_t *space_describe(const struct space *space) must_check;
