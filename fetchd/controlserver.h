/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server; its protocol is in lib/control.h. Loop thread. */
#pragma once

#include "lib/util.h"

struct supervisor;
struct controlserver;
struct problem;

/** controlserver_new() - listen on the configured socket; a stale one is replaced. */
int controlserver_new(struct supervisor *supervisor, struct controlserver **out,
		      struct problem *problem) must_check;

/** controlserver_free() - closes every connection and removes the socket. */
void controlserver_free(struct controlserver *server);
