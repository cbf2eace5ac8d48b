/* SPDX-License-Identifier: Apache-2.0 */
/* What SRC and DST mean together: default tags, and what must not be overwritten. */
#pragma once

#include "lib/reference.h"

/**
 * names_default_tag() - give @dst a tag where the user gave none: that of @src with @suffix
 * added, or with it removed where @suffix begins with '!' ("!-thin").
 * @text: what the user typed for @dst.
 * Return: 0; -EINVAL with @problem (@dst has a digest; no tag can be made up).
 */
int names_default_tag(const char *text, struct reference *dst, const struct reference *src,
		      const char *suffix, struct problem *problem) must_check;

/** names_check_distinct() - refuse to write over the source. Return: 0 or -EINVAL. */
int names_check_distinct(const struct reference *src, const struct reference *dst,
			 struct problem *problem) must_check;
