/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store's blobs share. */
#pragma once

#include "server/store.h"

enum {
	SHARD_PATH_SIZE = 16, /* "sha256/ab" */
	BLOB_PATH_SIZE = 16 + DIGEST_TEXT_SIZE + sizeof(STORE_PACKED_SUFFIX),
};

/** store_shard_path() - in blobs/: where a digest's files are. Return: its end. */
char *store_shard_path(const struct digest *digest, char out[static SHARD_PATH_SIZE]);

/** store_blob_path() - in blobs/: the one or the other form. */
void store_blob_path(const struct digest *digest, bool packed, char out[static BLOB_PATH_SIZE]);

/** store_open_form() - as store_open_blob(), of one form. */
int store_open_form(const struct store *store, const struct digest *digest, bool packed,
		    struct blob *out) must_check;
