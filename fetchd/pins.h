/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that the cache keeps whatever happens: sets of digests, each under a name, an image's
 * reference as a rule. On disk: STATE/pins/<SHA-256 of the name>, the name and then a digest a
 * line. A pinned file need not be in the cache yet.
 *
 * Context: changes in the loop thread, pins_has() anywhere.
 */
#pragma once

#include "lib/digest.h"
#include "lib/json.h"

struct pins;
struct problem;

enum { PIN_NAME_MAX = 1024, PIN_DIGESTS_MAX = 10 * 1000 * 1000 };

/** pins_open() - read what is in @state. Return: 0 or negative errno with @problem. */
int pins_open(const char *state, struct pins **out, struct problem *problem) must_check;
void pins_close(struct pins *pins);

/** pins_set() - @digests under @name, in place of what was there. On disk when it returns. */
int pins_set(struct pins *pins, const char *name, const struct digest *digests, size_t n,
	     struct problem *problem) must_check;

/** pins_remove() - Return: 0; -ENOENT; -errno. */
int pins_remove(struct pins *pins, const char *name) must_check;

/** pins_has() - is it in any set? By policy_key(). */
bool pins_has(struct pins *pins, uint64_t key);

/** pins_describe() - [{"name", "digests": N}]. NULL = no memory. */
json_t *pins_describe(struct pins *pins) must_check;
