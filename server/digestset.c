/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the set's array. One thread. */
#include "server/digestset.h"

#include <string.h>

enum { SET_MIN = 256 };

static struct digest_key key_of(const struct digest *digest)
{
	struct digest_key key;

	memcpy(&key, digest->bytes, sizeof(key));
	return key;
}

static int compare(const void *x, const void *y)
{
	const struct digest_key *p = x, *q = y;

	if (p->a != q->a)
		return p->a < q->a ? -1 : 1;
	return p->b < q->b ? -1 : p->b > q->b;
}

/* Sorted, and each of them once. */
static void settle(struct digest_set *set)
{
	size_t kept = 0;

	if (set->sorted || !set->n)
		return;
	qsort(set->keys, set->n, sizeof(*set->keys), compare);
	for (size_t i = 1; i < set->n; i++) {
		if (compare(&set->keys[kept], &set->keys[i]))
			set->keys[++kept] = set->keys[i];
	}
	set->n = kept + 1;
	set->sorted = true;
}

static int make_room(struct digest_set *set)
{
	size_t max = set->max ? set->max * 2 : SET_MIN;
	struct digest_key *keys;

	settle(set); /* what was added again and again needs no more room */
	if (set->n < set->max - set->max / 4)
		return 0;
	keys = reallocarray(set->keys, max, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	set->keys = keys;
	set->max = max;
	return 0;
}

int digest_set_add(struct digest_set *set, const struct digest *digest)
{
	int r = set->n == set->max ? make_room(set) : 0;

	if (r)
		return r;
	set->keys[set->n++] = key_of(digest);
	set->sorted = false;
	return 0;
}

int digest_set_merge(struct digest_set *set, const struct digest_set *more)
{
	for (size_t i = 0; i < more->n; i++) {
		int r = set->n == set->max ? make_room(set) : 0;

		if (r)
			return r;
		set->keys[set->n++] = more->keys[i];
		set->sorted = false;
	}
	return 0;
}

bool digest_set_has(struct digest_set *set, const struct digest *digest)
{
	struct digest_key key = key_of(digest);

	settle(set);
	return set->n && bsearch(&key, set->keys, set->n, sizeof(*set->keys), compare);
}

void digest_set_deinit(struct digest_set *set)
{
	free(set->keys);
	*set = (struct digest_set){ .keys = NULL };
}
