/* SPDX-License-Identifier: Apache-2.0 */
/* What a reference to a thin image names: its thin manifests and their blobsets. */
#pragma once

#include "lib/image.h"

struct thin_ref_image {
	struct registry_manifest manifest; /* owned */
	struct oci_document document;	   /* owned */
	struct digest source;		   /* of the full manifest, which is a blob here */
	uint64_t source_size;
	json_t *platform; /* owned; NULL where no index says */
};

struct thin_ref {
	bool is_index;
	struct thin_ref_image *images; /* owned */
	size_t n_images;
	struct registry_manifest *blobsets; /* owned: those the index names */
	size_t n_blobsets;
};

/**
 * thin_ref_load() - what @store's reference names.
 * @platform: of an index only this image ("os/arch"; "": this machine's), or NULL: all.
 * A blobset that the index names but that is gone is not an error: it is not in the list.
 * Return: 0; -EINVAL where the image is not thin; -errno with @problem.
 */
int thin_ref_load(struct image_store *store, const char *platform, struct thin_ref *out,
		  struct problem *problem) must_check;
void thin_ref_free(struct thin_ref *ref);
