/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers, one a host: a host that failed several times in a row is left alone for a
 * while, as long as somebody else may have what is wanted; then one fetch tries it again. What a
 * host refuses is no failure: it answered.
 *
 * Bounded: hosts that nobody asked for long are forgotten. Times are as of now_ms(). One thread.
 */
#pragma once

#include "lib/json.h"

struct breakers;

enum {
	BREAKER_FAILURES = 3, /* in a row */
	BREAKER_OPEN_MIN_MS = 2000,
	BREAKER_OPEN_MAX_MS = 60 * 1000, /* also of a Retry-After */
	BREAKER_PROBE_MS = 10 * 1000,	 /* so long nobody else tries */
	BREAKERS_MAX = 64,
};

/** breakers_new() - NULL = no memory. */
struct breakers *breakers_new(void) must_check;
void breakers_free(struct breakers *breakers);

/** breaker_is_open() - should @host be left alone now? */
bool breaker_is_open(const struct breakers *breakers, const char *host, int64_t now);

/** breaker_enter() - it is asked now; of one that is tried again, nobody else tries meanwhile. */
void breaker_enter(struct breakers *breakers, const char *host, int64_t now);

/** breaker_succeeded() - it answered. */
void breaker_succeeded(struct breakers *breakers, const char *host);

/** breaker_failed() - @retry_after_ms: what it asked for, or -1. */
void breaker_failed(struct breakers *breakers, const char *host, int64_t retry_after_ms,
		    int64_t now);

/**
 * breakers_describe() - the hosts that failed last, for status: [{"host", "failures",
 * "open_ms": how long it is left alone}]. NULL = no memory.
 */
json_t *breakers_describe(const struct breakers *breakers, int64_t now) must_check;
