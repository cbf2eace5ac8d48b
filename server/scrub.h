/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every blob is hashed now and then, slowly: a disk that changed one is found before somebody
 * pulls it. What is not what its name says goes to the quarantine (fsck.h), so that it is
 * answered as missing and clients push it again.
 *
 * STORE/scrub says when the last walk ended and how far this one has come: neither begins anew
 * at each start.
 */
#pragma once

#include "server/store.h"

struct scrub;

/**
 * scrub_new() - a thread that walks over all blobs every @interval_s, reading at most @rate bytes
 * a second. A store that was never looked at is due one interval from now.
 * @store: borrowed, outlives it. Return: 0 or -errno.
 */
int scrub_new(struct store *store, uint64_t interval_s, uint64_t rate,
	      struct scrub **out) must_check;

/** scrub_free() - stops, within moments, and remembers where. */
void scrub_free(struct scrub *scrub);

/** scrub_blobs(), scrub_bad() - how many were checked, and not good, since the start. NULL: 0. */
uint64_t scrub_blobs(const struct scrub *scrub);
uint64_t scrub_bad(const struct scrub *scrub);
