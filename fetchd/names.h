/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of host names, by the system's resolver, which blocks: so each name is looked up in a
 * thread of its own, once for all who wait. When that takes longer than NAMES_PATIENCE_MS, or
 * fails, the addresses that it had within the last hour serve (SAFETY.md, fault 29).
 *
 * Context: any thread; blocks.
 */
#pragma once

#include <netinet/in.h>

#include "lib/util.h"

enum {
	NAMES_ADDRESSES_MAX = 16, /* of one name */
	NAMES_PATIENCE_MS = 2000,
};

struct names_result {
	unsigned int n;
	struct sockaddr_storage addresses[NAMES_ADDRESSES_MAX]; /* port 0 */
	char problem[160];					/* for a person, where n is 0 */
};

/**
 * names_resolve() - @named: configuration names it: what others make us look up takes nothing from
 * those. @deadline_ms: as now_ms().
 * Return: 0; -ENOENT (the name has no address); -ETIMEDOUT; -EAGAIN (too many names at a time).
 */
int names_resolve(const char *host, bool named, int64_t deadline_ms,
		  struct names_result *out) must_check;
