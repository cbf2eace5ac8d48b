/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics for Prometheus, by HTTP on RUN/metrics.sock, which anybody may connect to: they are
 * numbers, no names. Try it: curl --unix-socket /run/intinode/metrics.sock http://fetchd/metrics
 * Loop thread.
 */
#pragma once

#include "fetchd/supervisor.h"

struct metricsserver;

/** metricsserver_new() - @supervisor: borrowed. Return: 0 or negative errno with @problem. */
int metricsserver_new(struct supervisor *supervisor, struct metricsserver **out,
		      struct problem *problem) must_check;
void metricsserver_free(struct metricsserver *server);
