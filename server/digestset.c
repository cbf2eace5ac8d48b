/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the set's array. One thread. */
#include "server/digestset.h"

#include <string.h>

static struct digest_key key_of(const struct digest *digest)
{
	struct digest_key key;

	memcpy(&key, digest->bytes, sizeof(key));
	return key;
}

int digest_set_add(struct digest_set *set, const struct digest *digest)
{
	if (set->n == set->max) {
		size_t max = set->max ? set->max * 2 : 256;
		struct digest_key *keys = reallocarray(set->keys, max, sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		set->keys = keys;
		set->max = max;
	}
	set->keys[set->n++] = key_of(digest);
	set->sorted = false;
	return 0;
}

static int compare(const void *x, const void *y)
{
	const struct digest_key *p = x, *q = y;

	if (p->a != q->a)
		return p->a < q->a ? -1 : 1;
	return p->b < q->b ? -1 : p->b > q->b;
}

bool digest_set_has(struct digest_set *set, const struct digest *digest)
{
	struct digest_key key = key_of(digest);

	if (!set->n)
		return false;
	if (!set->sorted) {
		size_t kept = 0;

		qsort(set->keys, set->n, sizeof(*set->keys), compare);
		for (size_t i = 1; i < set->n; i++) {
			if (compare(&set->keys[kept], &set->keys[i]))
				set->keys[++kept] = set->keys[i];
		}
		set->n = kept + 1;
		set->sorted = true;
	}
	return bsearch(&key, set->keys, set->n, sizeof(*set->keys), compare);
}

void digest_set_deinit(struct digest_set *set)
{
	free(set->keys);
	*set = (struct digest_set){ .keys = NULL };
}
