/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files of the store were hashed since the start and had their digest, so that small content
 * is hashed before it is sent for the first time and not each time. Bounded: some are forgotten,
 * and hashed again. A file that was written to since, or replaced, is another one.
 *
 * Context: any thread, never blocks.
 */
#pragma once

#include "lib/digest.h"

struct verified;

/** verified_new() - NULL = no memory; the calls below take that, and then know nothing. */
struct verified *verified_new(void) must_check;
void verified_free(struct verified *verified);

/** verified_has(), verified_add() - @version: of the file, see struct blob. */
bool verified_has(const struct verified *verified, const struct digest *digest, uint64_t version);
void verified_add(struct verified *verified, const struct digest *digest, uint64_t version);
