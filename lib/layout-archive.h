/* SPDX-License-Identifier: Apache-2.0 */
/* A tar file whose members are read in place; see lib/layout.h. */
#pragma once

#include "lib/layout.h"

struct layout_archive;

/** layout_archive_open() - one pass over the headers; nothing else is read. */
int layout_archive_open(const char *path, struct layout_archive **out,
			struct problem *problem) must_check;
void layout_archive_close(struct layout_archive *archive);

/** layout_archive_open_member() - by its name, without "./". Return: 0, -ENOENT, -errno. */
int layout_archive_open_member(const struct layout_archive *archive, const char *name,
			       struct layout_blob *out) must_check;

/** layout_archive_read() - a whole member, NUL-terminated. -EFBIG over @max_bytes. */
int layout_archive_read(const struct layout_archive *archive, const char *name, size_t max_bytes,
			char **bytes, size_t *len) must_check;
