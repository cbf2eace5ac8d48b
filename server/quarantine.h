/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STORE/quarantine: where damaged files go, so that they are answered as missing and come
 * again with the next push. Nothing is ever deleted there; that is for a person to do.
 */
#pragma once

#include "server/store.h"

/**
 * quarantine_move() - @name of @dirfd goes to STORE/quarantine/TIME-NUMBER-@label, durably.
 * Whoever has it open reads on. Return: 0, -ENOENT (it is gone already) or -errno.
 */
int quarantine_move(struct store *store, int dirfd, const char *name, const char *label) must_check;

/** quarantine_copy() - the same, but it has its old name, too, until something takes its place. */
int quarantine_copy(struct store *store, int dirfd, const char *name, const char *label) must_check;

/** quarantine_count() - how many things lie there. */
uint64_t quarantine_count(const struct store *store);
