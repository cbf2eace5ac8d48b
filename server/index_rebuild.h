/* SPDX-License-Identifier: Apache-2.0 */
/* Brings the index in step with the store's files, from any state, while requests go on. */
#pragma once

#include <stdatomic.h>

#include "server/index.h"
#include "server/store.h"

/**
 * index_rebuild() - repository by repository, under its lock: drop its rows, read its files,
 * write its rows. Rows of repositories that are gone are dropped too.
 * @stop: may be NULL; set by another thread to end early (-ECANCELED).
 * Context: a thread of its own; blocks for the disk.
 */
int index_rebuild(struct index *index, struct store *store, const atomic_bool *stop) must_check;

/**
 * index_create_repository() - on disk and in the index, where it is new: it is listed from its
 * first blob or manifest on, and stays so. Takes its lock. Return: 0 or -errno.
 */
int index_create_repository(struct index *index, struct store *store,
			    const char *repository) must_check;
