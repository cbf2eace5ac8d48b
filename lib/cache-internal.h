/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the cache share: lib/cache.c writes, lib/cache-seal.c keeps. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/cache.h"

struct cache {
	int root_fd;  /* owned */
	int blobs_fd; /* owned: ROOT/sha256 */
	int temp_fd;  /* owned: ROOT/tmp, only for file systems without O_TMPFILE */
	atomic_bool no_tmpfile;
	atomic_bool no_immutable;
	atomic_uint serial;
	pthread_mutex_t lock;
	struct digest *unsealed; /* owned, under lock */
	size_t n_unsealed, max_unsealed;
	atomic_bool hurry; /* see cache_hurry() */
	/* Some file is not durable, or not immutable, and not in the list: the next start must
	 * look. */
	atomic_bool lost_unsealed;
};

/** cache_remember_unsealed() - @digest is to be made durable by the next cache_seal(). */
int cache_remember_unsealed(struct cache *cache, const struct digest *digest) must_check;
