/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacked layers under STATE/layers, made once and kept: each a directory NAME with "tree",
 * "stubs" and "urls". A name is there only when everything in it is, also after a power cut.
 */
#pragma once

#include "client/host.h"
#include "lib/image.h"

/** typedef layers_progress - bytes received since the last call. */
typedef void (*layers_progress)(void *context, int64_t bytes);

/**
 * layers_chain() - what a twin is known by: its layer and all layers below, since it
 * repeats metadata of those. @below: the chain below, NULL for the first layer.
 */
int layers_chain(const struct digest *below, const struct digest *layer,
		 struct digest *out) must_check;

/**
 * layers_have_twin() - is the twin of this chain here already? Then @name is set.
 * layers_make_twin() - unpack @layer of @store as a twin above the twins @lower, an array of
 * names, the lowest first. *@name is owned by the caller.
 */
bool layers_have_twin(struct host *host, const struct digest *chain, char **name);
int layers_make_twin(struct host *host, struct image_store *store,
		     const struct oci_descriptor *layer, const struct digest *chain,
		     const json_t *lower, layers_progress progress, void *context, char **name,
		     struct problem *problem) must_check;

/** layers_make_merged() - all layers of an image, one over the other, as a stub tree. */
int layers_make_merged(struct host *host, struct image_store *store, const struct digest *manifest,
		       const struct oci_document *document, layers_progress progress, void *context,
		       char **name, struct problem *problem) must_check;

/**
 * layers_make_dir_twin() - the twin of a directory that contains stubs. It is used again
 * as long as no file of the directory has changed (names, inodes and change times).
 */
int layers_make_dir_twin(struct host *host, const char *path, char **name,
			 struct problem *problem) must_check;
