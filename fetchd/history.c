/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the ring of events. Asked of rarely, so it is searched from one end to the other. */
#include "fetchd/history.h"

#include <string.h>
#include <time.h>

struct entry {
	struct digest digest;
	const char *what;	/* static; NULL: the entry is free */
	char *source, *problem; /* owned; NULL: none */
	int64_t at_ms, took_ms;
	uint64_t bytes;
};

struct history {
	size_t next; /* the oldest, and the first to go */
	struct entry entries[HISTORY_MAX];
};

struct history *history_new(void)
{
	return calloc(1, sizeof(struct history));
}

static void clear(struct entry *entry)
{
	free(entry->source);
	free(entry->problem);
	*entry = (struct entry){ .what = NULL };
}

void history_free(struct history *history)
{
	if (!history)
		return;
	for (size_t i = 0; i < HISTORY_MAX; i++)
		clear(&history->entries[i]);
	free(history);
}

static int64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static char *copy(const char *text)
{
	return text && *text ? strdup(text) : NULL;
}

void history_note(struct history *history, const struct digest *digest,
		  const struct history_event *event)
{
	struct entry *entry = &history->entries[history->next];

	history->next = (history->next + 1) % HISTORY_MAX;
	clear(entry);
	*entry = (struct entry){
		.digest = *digest,
		.what = event->what,
		.source = copy(event->source),
		.problem = copy(event->problem),
		.at_ms = wall_ms(),
		.took_ms = event->took_ms,
		.bytes = event->bytes,
	};
}

json_t *history_of(const struct history *history, const struct digest *digest)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < HISTORY_MAX; i++) {
		const struct entry *entry = &history->entries[(history->next + i) % HISTORY_MAX];

		if (!entry->what || !digest_equal(&entry->digest, digest))
			continue;
		json_array_append_new(list,
				      json_pack("{s:I, s:s, s:s, s:s, s:I, s:I}", "at_ms",
						(json_int_t)entry->at_ms, "what", entry->what,
						"source", entry->source ? entry->source : "",
						"problem", entry->problem ? entry->problem : "",
						"took_ms", (json_int_t)entry->took_ms, "bytes",
						(json_int_t)entry->bytes));
	}
	return list;
}
