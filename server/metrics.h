/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program counts, as Prometheus text. Requests are counted here, by relaxed atomic
 * additions; everything else is read when somebody asks, by functions that its owners
 * register before the first request.
 */
#pragma once

#include "server/request.h"

enum { METRICS_TABLES_MAX = 16 };

enum metric_type { METRIC_GAUGE, METRIC_COUNTER };

/* One line, and one head for successive lines of the same name. */
struct metric {
	const char *name, *help; /* name: without "intinode_"; a counter's ends in _total */
	enum metric_type type;
	const char *labels; /* "a=\"b\"" or NULL */
	uint64_t (*read)(void *context);
};

/**
 * metrics_register() - @n lines, read with @context. Before the first request; the table
 * and the context stay. More than METRICS_TABLES_MAX tables are a bug.
 */
void metrics_register(const struct metric *metrics, size_t n, void *context);

struct metrics_request {
	enum endpoint endpoint;
	bool is_routed;
	enum method method; /* 0: unknown */
	unsigned int status;
	uint64_t duration_us;
	uint64_t received, sent; /* bytes of bodies */
};

/** metrics_count_request() - one more is done. Any thread, never blocks. */
void metrics_count_request(const struct metrics_request *request);

/** metrics_render() - everything as text, version 0.0.4. Return: allocated, or NULL. */
char *metrics_render(size_t *len);
