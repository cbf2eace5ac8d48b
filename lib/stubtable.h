/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stub tables: which digests a layer's stubs name, and their sizes. Written when a layer
 * is unpacked, mapped by fetchd, which thus knows the stubs of every registered mount at 40
 * bytes of page cache each.
 *
 * File: the 8 bytes "itbl0001", then records sorted by digest, each 32 bytes of SHA-256 and
 * the size as 8 bytes little-endian.
 */
#pragma once

#include "lib/digest.h"

struct stubtable;
struct stubtable_builder;

/** stubtable_builder_new() - an empty table in memory. NULL without memory. One thread. */
struct stubtable_builder *stubtable_builder_new(void) must_check;
void stubtable_builder_free(struct stubtable_builder *builder);

/** stubtable_add() - SHA-256 only; the same digest may come many times. Return: 0 or -ENOMEM. */
int stubtable_add(struct stubtable_builder *builder, const struct digest *digest,
		  uint64_t size_bytes) must_check;

/** stubtable_write() - sorted and unique, durably, as @name in @dirfd. */
int stubtable_write(struct stubtable_builder *builder, int dirfd, const char *name) must_check;

/** stubtable_open() - map a table. Return: 0, -EBADMSG for a damaged file, or -errno. */
int stubtable_open(int dirfd, const char *name, struct stubtable **out) must_check;
void stubtable_close(struct stubtable *table);

/** stubtable_find() - Return: 0 and the size, or -ENOENT. Any thread. */
int stubtable_find(const struct stubtable *table, const struct digest *digest,
		   uint64_t *size_bytes) must_check;

/** stubtable_count(), stubtable_get() - walk the table in order of digest. */
size_t stubtable_count(const struct stubtable *table);
void stubtable_get(const struct stubtable *table, size_t i, struct digest *digest,
		   uint64_t *size_bytes);
