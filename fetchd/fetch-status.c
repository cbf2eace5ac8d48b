/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing: what is under way, and what went wrong lately, for who asks. Loop thread. */
#include "fetchd/fetch-internal.h"

void fetch_totals(const struct fetch_table *table, struct fetch_totals *out)
{
	*out = table->totals;
}

json_t *fetch_history(const struct fetch_table *table, const struct digest *digest)
{
	return history_of(table->history, digest);
}

json_t *fetch_hosts(const struct fetch_table *table)
{
	return breakers_describe(table->breakers, now_ms());
}

json_t *fetch_suspects(const struct fetch_table *table)
{
	return suspects_describe(table->suspects, now_ms());
}

pid_t fetch_apart_pid(const struct fetch_table *table)
{
	return table->apart ? workerlink_pid(table->apart) : -1;
}

json_t *fetch_describe(const struct fetch_table *table)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < N_BUCKETS; i++) {
		for (struct fetch *fetch = table->buckets[i]; fetch;
		     fetch = fetch->next_in_bucket) {
			char text[DIGEST_TEXT_SIZE], where[512] = "";
			json_int_t n_waiters = 0;

			for (struct fetch_waiter *w = fetch->waiters; w; w = w->next)
				n_waiters++;
			if (fetch->source < fetch->sources.n)
				source_describe(&fetch->sources.entries[fetch->source], where,
						sizeof(where));
			json_array_append_new(
				list,
				json_pack("{s:s, s:I, s:I, s:I, s:s, s:s}", "digest",
					  digest_format(&fetch->digest, text), "size",
					  (json_int_t)fetch->size_bytes, "waiters", n_waiters,
					  "since_ms", (json_int_t)(now_ms() - fetch->started_ms),
					  "source", where, "problem", fetch->problem));
		}
	}
	return list;
}
