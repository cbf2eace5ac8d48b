/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts blobs that came as they are into packed form (pack.h) after they were acknowledged:
 * one thread that gives way to everything else. What it did not get to (a restart, a full
 * queue) is found again by a walk over the store.
 */
#pragma once

#include "server/store.h"

struct packer;

enum { PACKER_QUEUE_MAX = 4096 }; /* digests, some 300 KiB; past that a walk finds the rest */

/** packer_new() - start it, with a walk over the store. @store: borrowed, outlives it. */
int packer_new(struct store *store, struct packer **out) must_check;

/** packer_free() - stop; what is queued is left for the next run. Blocks until it has stopped. */
void packer_free(struct packer *packer);

/** packer_submit() - @digest has just been published. Any thread, never blocks; NULL does nothing.
 */
void packer_submit(struct packer *packer, const struct digest *digest);

/** packer_backlog() - blobs that wait or are being packed; a walk counts as one. NULL: 0. */
unsigned int packer_backlog(struct packer *packer);
