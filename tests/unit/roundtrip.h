/* SPDX-License-Identifier: Apache-2.0 */
/* A layer thinned and thickened in memory; for the unit test and the fuzz target of lib/thin. */
#pragma once

#include "lib/log.h"
#include "lib/thin.h"

struct bytes {
	uint8_t *p; /* owned */
	size_t len, max;
};

/** bytes_add() - aborts without memory. */
void bytes_add(struct bytes *bytes, const void *p, size_t len);
void bytes_free(struct bytes *bytes);

struct roundtrip {
	struct bytes thin, thick;
	struct content *blobs; /* owned */
	size_t n_blobs;
	struct thin_counts counts;
	struct problem problem;
};

/**
 * roundtrip_run() - thin @tar, fed in pieces of @piece bytes, and make it full again.
 * Return: 0, or what the thinner said; then only problem is set. Free in any case.
 */
int roundtrip_run(struct roundtrip *trip, const struct thin_options *options, const void *tar,
		  size_t len, size_t piece);
void roundtrip_free(struct roundtrip *trip);
