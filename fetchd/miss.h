/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Miss layers: the tiny FUSE file systems under image mounts (DESIGN.md, "overlay").
 *
 * A lookup of /sha256/<hex> there blocks until the blob is published in the cache, then
 * answers ESTALE; the kernel retries the whole open and finds the file in the cache, the
 * data layer before this one. A failure is answered EIO (or ENOSPC).
 *
 * Each image mount has a miss layer of its own. A second opener of one digest in one
 * overlay then waits on that overlay's inode, which can be interrupted, and never in
 * d_alloc_parallel() of a directory shared with other images, which cannot.
 */
#pragma once

#include "fetchd/source.h"

struct event_base;
struct fetch_table;
struct keeper;
struct miss;

struct miss_options {
	struct event_base *base; /* borrowed, as all of these */
	struct fetch_table *table;
	struct keeper *keeper;
	const char *id;		/* name of the image; also that of the kept descriptor */
	const char *mountpoint; /* made where it is missing */
	int64_t deadline_ms;	/* a caller waits no longer */
	/* Size and sources of a digest of this image. Return: 0 or -ENOENT. */
	int (*find)(void *context, const struct digest *digest, uint64_t *size_bytes,
		    struct source_list *sources);
	void *context;
};

/**
 * miss_open() - take over the layer that is kept from an earlier fetchd, or mount a new one.
 * Callers that waited when the earlier fetchd died are asked for again by the kernel
 * (Linux 6.9 and up) and go on waiting here.
 */
int miss_open(const struct miss_options *options, struct miss **out,
	      struct problem *problem) must_check;

/** miss_adopt() - only if it is kept: -ENOENT where nothing is. */
int miss_adopt(const struct miss_options *options, struct miss **out,
	       struct problem *problem) must_check;

/** miss_close() - stop serving; the layer stays mounted and kept, for the next fetchd. */
void miss_close(struct miss *miss);

/** miss_remove() - unmount it and let the kernel fail what still waits. */
void miss_remove(struct miss *miss);

/**
 * miss_sweep() - give up what no image needs: descriptors that are kept, and mounts in the
 * directory @dir_path. Nobody would ever answer there.
 */
void miss_sweep(struct keeper *keeper, const char *dir_path,
		bool (*is_used)(const void *context, const char *id), const void *context);
