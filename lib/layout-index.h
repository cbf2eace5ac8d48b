/* SPDX-License-Identifier: Apache-2.0 */
/* index.json of an OCI layout: which tag names which manifest. Parts of lib/layout.h. */
#pragma once

#include "lib/layout.h"

/** layout_path() - as the user gave it, for messages. */
const char *layout_path(const struct layout *layout);

/** layout_read_file() - "index.json" or "oci-layout", NUL-terminated. */
int layout_read_file(struct layout *layout, const char *name, char **bytes, size_t *len) must_check;

/** layout_write_file() - replace it durably. */
int layout_write_file(struct layout *layout, const char *name, const void *bytes,
		      size_t len) must_check;

/**
 * layout_index_replace() - @descriptor (which gets the tag as an annotation) instead of what
 * had @tag. The caller holds the lock.
 */
int layout_index_replace(struct layout *layout, const char *tag, json_t *descriptor,
			 struct problem *problem) must_check;
