/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table: only hosts that failed are in it. */
#include "fetchd/breaker.h"

#include <string.h>

struct breaker {
	char *host; /* owned; NULL: the entry is free */
	unsigned int failures;
	int64_t last_ms;  /* of the last failure */
	int64_t until_ms; /* left alone */
	bool probing;	  /* and one tries it */
};

struct breakers {
	struct breaker entries[BREAKERS_MAX];
};

struct breakers *breakers_new(void)
{
	return calloc(1, sizeof(struct breakers));
}

void breakers_free(struct breakers *breakers)
{
	if (!breakers)
		return;
	for (size_t i = 0; i < BREAKERS_MAX; i++)
		free(breakers->entries[i].host);
	free(breakers);
}

static size_t find(const struct breakers *breakers, const char *host)
{
	size_t i = 0;

	while (i < BREAKERS_MAX &&
	       (!breakers->entries[i].host || strcmp(breakers->entries[i].host, host)))
		i++;
	return i;
}

/* A free entry, or that of the host whose failure is longest ago. */
static struct breaker *make_room(struct breakers *breakers)
{
	struct breaker *oldest = &breakers->entries[0];

	for (size_t i = 0; i < BREAKERS_MAX; i++) {
		struct breaker *breaker = &breakers->entries[i];

		if (!breaker->host)
			return breaker;
		if (breaker->last_ms < oldest->last_ms)
			oldest = breaker;
	}
	return oldest;
}

bool breaker_is_open(const struct breakers *breakers, const char *host, int64_t now)
{
	size_t i = find(breakers, host);

	return i < BREAKERS_MAX && breakers->entries[i].until_ms > now;
}

void breaker_enter(struct breakers *breakers, const char *host, int64_t now)
{
	size_t i = find(breakers, host);

	if (i < BREAKERS_MAX && breakers->entries[i].failures >= BREAKER_FAILURES &&
	    breakers->entries[i].until_ms <= now) {
		breakers->entries[i].until_ms = now + BREAKER_PROBE_MS;
		breakers->entries[i].probing = true;
	}
}

void breaker_succeeded(struct breakers *breakers, const char *host)
{
	size_t i = find(breakers, host);

	if (i == BREAKERS_MAX)
		return;
	free(breakers->entries[i].host);
	breakers->entries[i] = (struct breaker){ .host = NULL };
}

void breaker_failed(struct breakers *breakers, const char *host, int64_t retry_after_ms,
		    int64_t now)
{
	size_t i = find(breakers, host);
	int64_t wait_ms = retry_after_ms > 0 ? retry_after_ms : 0;
	struct breaker *breaker;

	if (i == BREAKERS_MAX) {
		char *copy = strdup(host);

		if (!copy)
			return;
		breaker = make_room(breakers);
		free(breaker->host);
		*breaker = (struct breaker){ .host = copy };
	} else {
		breaker = &breakers->entries[i];
	}
	breaker->last_ms = now;
	/* Of many that failed together the first few count: one blip is no long silence. */
	if (breaker->until_ms <= now || breaker->probing || breaker->failures < BREAKER_FAILURES)
		breaker->failures++;
	else if (wait_ms < BREAKER_OPEN_MIN_MS)
		return;
	if (breaker->probing)
		breaker->until_ms = now;
	breaker->probing = false;
	if (breaker->failures >= BREAKER_FAILURES && wait_ms < BREAKER_OPEN_MIN_MS) {
		unsigned int doubled = breaker->failures - BREAKER_FAILURES;

		wait_ms = (int64_t)BREAKER_OPEN_MIN_MS << (doubled < 8 ? doubled : 8);
	}
	if (wait_ms > BREAKER_OPEN_MAX_MS)
		wait_ms = BREAKER_OPEN_MAX_MS;
	if (now + wait_ms > breaker->until_ms)
		breaker->until_ms = now + wait_ms;
}

json_t *breakers_describe(const struct breakers *breakers, int64_t now)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < BREAKERS_MAX; i++) {
		const struct breaker *breaker = &breakers->entries[i];
		int64_t left_ms = breaker->until_ms - now;

		if (breaker->host)
			json_array_append_new(
				list, json_pack("{s:s, s:i, s:I}", "host", breaker->host,
						"failures", (int)breaker->failures, "open_ms",
						(json_int_t)(left_ms > 0 ? left_ms : 0)));
	}
	return list;
}
