/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All rows that a repository should have, collected in memory and then brought into the index by
 * many short transactions: what other repositories write goes on in between. A listing meanwhile
 * shows what is right and maybe some of what was; never less than what is right and was there.
 *
 * Context: one thread.
 */
#pragma once

#include "server/index.h"

struct index_rows;

/** index_rows_new() - of @repository, which is borrowed. NULL: no memory. */
struct index_rows *index_rows_new(const char *repository) must_check;
void index_rows_free(struct index_rows *rows);

/** index_rows_add() - arguments as those of index_put(). Return: 0 or -ENOMEM. */
int index_rows_add(struct index_rows *rows, enum index_table table, const char *name,
		   const struct digest *a, const struct digest *b, const char *value,
		   size_t len) must_check;

/**
 * index_rows_apply() - the repository has these rows and no others. Nobody else may change its rows
 * meanwhile: under its lock. Return: 0 or -errno, as index_update().
 */
int index_rows_apply(struct index *index, struct index_rows *rows) must_check;
