/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing new tar archives: pax, with a ustar header wherever that is enough. The bytes
 * depend on the entries alone, not on time, machine or the version of a library, since the
 * digest of a layer is made from them.
 */
#pragma once

#include "lib/util.h"

struct tar_xattr {
	const char *name;  /* "user.mime_type" */
	const void *value; /* any bytes */
	size_t len;
};

struct tar_new_entry {
	const char *path; /* any bytes; a directory's ends in '/' */
	const char *link; /* target, types '1' and '2' */
	char type; /* '0' file, '1' hard link, '2' symlink, '3' '4' device, '5' dir, '6' fifo */
	uint32_t mode, uid, gid;
	uint64_t size_bytes;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t major, minor;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

typedef int (*tar_sink)(void *context, const void *bytes, size_t len);

/** tarwrite_header() - Return: 0, -ENOMEM, -E2BIG (xattrs over 1 MiB), what @sink said. */
int tarwrite_header(const struct tar_new_entry *entry, tar_sink sink, void *context) must_check;

/** tarwrite_padding() - after the @size_bytes of content. */
int tarwrite_padding(uint64_t size_bytes, tar_sink sink, void *context) must_check;

/** tarwrite_end() - the end mark. */
int tarwrite_end(tar_sink sink, void *context) must_check;
