/* SPDX-License-Identifier: Apache-2.0 */
/* One thin layer becomes the full layer again: stubs are fetched ahead, written in order. */
#pragma once

#include "client/progress.h"
#include "lib/compress.h"
#include "lib/image.h"
#include "lib/pool.h"
#include "lib/spool.h"

/* What the layers of one run share. All borrowed. */
struct thick_run {
	struct image_store *src;
	struct pool *fetchers; /* from thick_fetchers_new() */
	struct failure *failure;
	struct progress *progress;
	const char *temp_dir;
	enum oci_compression compression; /* of the full layers */
	int level;
};

/** thick_fetchers_new() - threads that fetch blobs of run->src; sets run->fetchers. */
int thick_fetchers_new(struct thick_run *run, unsigned int n_threads,
		       struct problem *problem) must_check;

struct thick_layer {
	struct digest diff_id;
	uint64_t full_bytes;
	struct content content; /* the layer as it is stored */
};

/**
 * thick_layer_make() - @descriptor: of the thin layer in run->src.
 * @out is the caller's: free its content.
 * Return: 0, or negative errno with @problem that names the entry.
 * The caller compares diff_id with what the full image's config says.
 */
int thick_layer_make(struct thick_run *run, const struct oci_descriptor *descriptor,
		     struct thick_layer *out, struct problem *problem) must_check;
