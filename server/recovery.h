/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings back what a failing or full disk took away, without a restart: an index that is
 * behind, damaged or not open; a store that went read-only. One thread.
 */
#pragma once

#include "server/index.h"
#include "server/store.h"

struct recovery;

/** recovery_new() - start. @state: of the index as it was opened; both are borrowed. */
int recovery_new(struct store *store, struct index *index, enum index_state state,
		 struct recovery **out) must_check;

/**
 * recovery_free() - stop; waits for the thread. NULL does nothing.
 * Return: was the index brought in step with all files?
 */
bool recovery_free(struct recovery *recovery);
