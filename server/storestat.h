/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the store, and what it takes: counted from its files. */
#pragma once

#include "server/store.h"

struct store_stat {
	uint64_t n_repositories, n_tags, n_manifests;
	uint64_t n_blobs, n_packed;
	uint64_t content_bytes;		/* of all blobs, each once */
	uint64_t stored_bytes;		/* of their files */
	uint64_t n_links, linked_bytes; /* content as often as repositories have it */
	uint64_t n_uploads, upload_bytes;
	uint64_t n_quarantined;
	uint64_t free_bytes;
};

/**
 * storestat_collect() - walks the whole store, reading no content. What changes meanwhile
 * is counted or not.
 * @stop: ends it early (-ECANCELED); may be NULL.
 * Context: a thread that may take seconds.
 * Return: 0 or -errno.
 */
int storestat_collect(const struct store *store, const atomic_bool *stop,
		      struct store_stat *out) must_check;
