/* SPDX-License-Identifier: Apache-2.0 */
/* The two processes that a link to the network consists of (worker.c, dialer.c), started. */
#pragma once

#include "fetchd/options.h"

struct worker_processes {
	int sock, dialer_sock; /* to the worker and to the dialer; non-blocking */
	pid_t pid, dialer_pid;
};

/**
 * worker_spawn() - start both, and tell the worker its settings; it will say that it is ready.
 * @network_fd: see workerlink_new(). The caller owns what is in @out. Return: 0 or negative errno.
 */
int worker_spawn(const struct options *options, int network_fd,
		 struct worker_processes *out) must_check;
