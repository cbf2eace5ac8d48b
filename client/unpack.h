/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking a layer (tar, plain or compressed) into a tree; reading is libarchive's. */
#pragma once

#include "client/tree.h"
#include "lib/image.h"

/**
 * unpack_layer() - fetch the layer @layer of @store and add its entries to @tree, in one
 * pass: nothing is written but the tree. Digest and size are checked at the end, so what
 * was written counts only when this returns 0.
 * @progress: bytes of the layer received since its last call; may be NULL.
 * Blocks; uses a thread of its own for the transfer. setlocale(LC_CTYPE) must have chosen a
 * UTF-8 locale, for names in pax headers.
 */
int unpack_layer(struct image_store *store, const struct oci_descriptor *layer, struct tree *tree,
		 void (*progress)(void *context, int64_t bytes), void *context,
		 struct problem *problem) must_check;
