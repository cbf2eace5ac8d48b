/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of one image (one platform) into its thin twin and blobset (FORMAT.md 3). */
#pragma once

#include "client/progress.h"
#include "client/thinlayer.h"
#include "client/uploader.h"
#include "lib/image.h"

/* One run of convert: what its images share. All borrowed. */
struct thin_run {
	struct thin_layer_options options;
	struct image_store *src; /* NULL for dir: */
	struct image_store *dst;
	struct uploader *uploader;
	struct failure *failure;
	struct progress *progress;
	unsigned int n_layers_at_once;
	json_t *index; /* gets the descriptors of what was made */
	/* Sums over all images, for the report. */
	struct thin_counts counts;
	uint64_t n_layers, full_bytes, full_packed_bytes, thin_packed_bytes;
};

/**
 * thin_image_make() - convert the image @manifest of run->src.
 * @platform: its platform in the source's index, or NULL: what its config says.
 * When it returns 0 everything but a tag is in run->dst.
 */
int thin_image_make(struct thin_run *run, const struct registry_manifest *manifest,
		    json_t *platform, struct problem *problem) must_check;

/**
 * thin_image_make_dir() - convert a plain directory: a full image of one layer is imagined,
 * which thicken can make real.
 * @config: JSON to base its config on, or NULL.
 */
int thin_image_make_dir(struct thin_run *run, const char *path, const char *config,
			size_t config_len, struct problem *problem) must_check;
