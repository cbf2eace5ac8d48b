/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents that something names, in the order in which it does, each once: a directory where an
 * image is mounted, a reference of a thin image, or a file with a line "sha256:HEX SIZE" for each.
 */
#pragma once

#include "client/blobs.h"
#include "client/host.h"

struct contents {
	struct blob_ref *refs; /* owned */
	size_t n;
	uint64_t bytes;
	char *source; /* owned: a reference that they can be fetched from; NULL: none is known */
};

/**
 * contents_load() - @platform: of an index only this one; NULL: that of this host.
 * Return: 0; -EINVAL (nothing of these); -errno; with @problem. Free with contents_free().
 */
int contents_load(struct host *host, const char *what, const char *platform, struct contents *out,
		  struct problem *problem) must_check;
void contents_free(struct contents *contents);

/** contents_pin() - fetchd is to keep them, under @name, in place of what had it. */
int contents_pin(struct host *host, const char *name, const struct contents *contents,
		 struct problem *problem) must_check;
