/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was looked at since the start and was as it should be, so that it is not looked at each
 * time: files of the store that have their digest, links that repositories have. Bounded: some are
 * forgotten, and looked at again. A file that was written to since, or replaced, is another one.
 *
 * Context: any thread, never blocks.
 */
#pragma once

#include "lib/digest.h"

struct verified;

enum verified_kind {
	VERIFIED_FILE, /* version: of the file, see struct blob */
	VERIFIED_LINK, /* version: of the repository's link */
	VERIFIED_KINDS
};

/** verified_new() - NULL = no memory; the calls below take that, and then know nothing. */
struct verified *verified_new(void) must_check;
void verified_free(struct verified *verified);

/** verified_has(), verified_add() - @version: clients must not be able to choose it. */
bool verified_has(const struct verified *verified, enum verified_kind kind,
		  const struct digest *digest, uint64_t version);
void verified_add(struct verified *verified, enum verified_kind kind, const struct digest *digest,
		  uint64_t version);
