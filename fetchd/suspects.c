/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table: a few entries that are searched from the first to the last, empty as a rule. */
#include "fetchd/suspects.h"

#include <string.h>

struct suspect {
	struct digest digest;
	unsigned int deaths; /* 0: the entry is free */
	int64_t last_ms;     /* of the last death */
};

struct suspects {
	size_t n; /* entries behind are free */
	struct suspect entries[SUSPECTS_MAX];
};

struct suspects *suspects_new(void)
{
	return calloc(1, sizeof(struct suspects));
}

void suspects_free(struct suspects *suspects)
{
	free(suspects);
}

/* After this it begins anew. */
static bool is_over(const struct suspect *suspect, int64_t now)
{
	return now - suspect->last_ms >= SUSPECT_QUARANTINE_MS;
}

static struct suspect *find(struct suspects *suspects, const struct digest *digest)
{
	for (size_t i = 0; i < suspects->n; i++) {
		struct suspect *suspect = &suspects->entries[i];

		if (suspect->deaths && digest_equal(&suspect->digest, digest))
			return suspect;
	}
	return NULL;
}

static const struct suspect *find_now(const struct suspects *suspects, const struct digest *digest,
				      int64_t now)
{
	for (size_t i = 0; i < suspects->n; i++) {
		const struct suspect *suspect = &suspects->entries[i];

		if (suspect->deaths && digest_equal(&suspect->digest, digest))
			return is_over(suspect, now) ? NULL : suspect;
	}
	return NULL;
}

/* A free entry, or that of the oldest suspect. */
static struct suspect *make_room(struct suspects *suspects)
{
	struct suspect *oldest = &suspects->entries[0];

	for (size_t i = 0; i < suspects->n; i++) {
		struct suspect *suspect = &suspects->entries[i];

		if (!suspect->deaths)
			return suspect;
		if (suspect->last_ms < oldest->last_ms)
			oldest = suspect;
	}
	return suspects->n < SUSPECTS_MAX ? &suspects->entries[suspects->n++] : oldest;
}

unsigned int suspects_note_death(struct suspects *suspects, const struct digest *digest,
				 int64_t now)
{
	struct suspect *suspect = find(suspects, digest);

	if (!suspect) {
		suspect = make_room(suspects);
		*suspect = (struct suspect){ .digest = *digest };
	} else if (is_over(suspect, now)) {
		suspect->deaths = 0;
	}
	suspect->last_ms = now;
	return ++suspect->deaths;
}

void suspects_clear(struct suspects *suspects, const struct digest *digest)
{
	struct suspect *suspect = find(suspects, digest);

	if (suspect)
		suspect->deaths = 0;
	while (suspects->n && !suspects->entries[suspects->n - 1].deaths)
		suspects->n--;
}

bool suspects_is_apart(const struct suspects *suspects, const struct digest *digest, int64_t now)
{
	const struct suspect *suspect = find_now(suspects, digest, now);

	return suspect && suspect->deaths >= SUSPECT_APART;
}

int64_t suspects_quarantine_ms(const struct suspects *suspects, const struct digest *digest,
			       int64_t now)
{
	const struct suspect *suspect = find_now(suspects, digest, now);

	if (!suspect || suspect->deaths < SUSPECT_QUARANTINED)
		return 0;
	return suspect->last_ms + SUSPECT_QUARANTINE_MS - now;
}

json_t *suspects_describe(const struct suspects *suspects, int64_t now)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < suspects->n; i++) {
		const struct suspect *suspect = &suspects->entries[i];
		char text[DIGEST_TEXT_SIZE];

		if (!suspect->deaths || is_over(suspect, now))
			continue;
		json_array_append_new(
			list, json_pack("{s:s, s:i, s:I}", "digest",
					digest_format(&suspect->digest, text), "deaths",
					(int)suspect->deaths, "quarantine_ms",
					(json_int_t)suspects_quarantine_ms(suspects,
									   &suspect->digest, now)));
	}
	return list;
}
