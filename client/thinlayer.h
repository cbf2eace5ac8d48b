/* SPDX-License-Identifier: Apache-2.0 */
/* One full layer becomes one thin layer: a pipeline of three threads (FORMAT.md 3). */
#pragma once

#include "lib/compress.h"
#include "lib/pool.h"
#include "lib/thin.h"

struct thin_layer_options {
	struct thin_options thin;
	enum oci_compression compression; /* of the thin layer */
	int level;			  /* 0: default */
};

/* Where the uncompressed tar comes from; called in a thread of its own. */
struct layer_source {
	int (*produce)(void *context, compress_sink sink, void *sink_context,
		       struct problem *problem);
	void *context;
};

/* Gets each content a stub names; may move it out. Called in the caller's thread. */
typedef int (*thin_layer_blob)(void *context, struct content *content);

struct thin_layer {
	struct digest full_diff_id, diff_id; /* of the uncompressed tar, before and after */
	uint64_t full_bytes;
	struct content content; /* the compressed thin layer */
	struct thin_counts counts;
};

/**
 * thin_layer_make() - @out is the caller's: free its content.
 * Return: 0, or the first error of the three threads with its @problem.
 * The caller compares full_diff_id with what the image's config says.
 */
int thin_layer_make(const struct thin_layer_options *options, const struct layer_source *source,
		    thin_layer_blob blob, void *context, struct thin_layer *out,
		    struct problem *problem) must_check;
