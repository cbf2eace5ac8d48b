/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of a thin image: config, manifest, blobsets, index (FORMAT.md 3). */
#pragma once

#include "client/blobs.h"
#include "lib/oci.h"
#include "lib/thin.h"

struct thin_layer;

/**
 * thin_config_text() - @config with other diff_ids; all the rest, and its order, is kept.
 * Return: the text, which the caller frees, or NULL with @problem. Sets *@lenp.
 */
char *thin_config_text(const char *config, size_t config_len, const struct thin_layer *layers,
		       size_t n_layers, size_t *lenp, struct problem *problem) must_check;

/* What a thin manifest says besides its layers. */
struct thin_manifest {
	const struct oci_document *full; /* its annotations are kept */
	const struct digest *source;	 /* of the full manifest */
	uint64_t source_size;
	const struct digest *config;
	size_t config_len;
	const struct thin_layer *layers;
	size_t n_layers;
	enum oci_compression compression;
};

/** thin_manifest_text() - Return: the text, which the caller frees, or NULL (no memory). */
char *thin_manifest_text(const struct thin_manifest *thin, size_t *lenp) must_check;

/** blobset_count() - how many blobset manifests @n_blobs need; at least one. */
size_t blobset_count(size_t n_blobs);

/**
 * blobset_text() - number @part of the blobset of @subject: its share of the sorted @blobs.
 * Return: the text, which the caller frees, or NULL (no memory).
 */
char *blobset_text(const struct blob_list *blobs, size_t part, const struct digest *subject,
		   uint64_t subject_size, size_t *lenp) must_check;

/* The config of a blobset (OCI image specification, "Guidance for an Empty Descriptor"). */
#define BLOBSET_CONFIG "{}"

/** thin_index_new() - an index without entries. NULL = no memory. */
json_t *thin_index_new(void) must_check;

/** thin_index_add() - a thin manifest, with @platform (borrowed, may be NULL). */
int thin_index_add(json_t *index, const struct digest *digest, uint64_t size_bytes,
		   json_t *platform) must_check;

/** thin_index_add_blobset() - in a way that no tool takes it for an image. */
int thin_index_add_blobset(json_t *index, const struct digest *digest,
			   uint64_t size_bytes) must_check;

/** thin_platform() - {"architecture","os",…} of a config: a new object, or NULL. */
json_t *thin_platform(const char *config, size_t config_len) must_check;
