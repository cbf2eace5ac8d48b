/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STORE/control: how intinode-serve gc|fsck|stat talk to the running server. A stream socket of
 * mode 0600, for root and the user the server runs as. One request (admin_request.h) on
 * a connection, one line; the answer is the lines of admin_run.h, and as the last one
 *
 *     {"ok":true,"report":{…}}    or    {"ok":false,"error":"EIO","problem":"text"}
 *
 * as lib/control.h has it. Closing the connection ends the work. Try it:
 *     echo '{"op":"stat"}' | socat -t 60 - UNIX-CONNECT:STORE/control
 */
#pragma once

#include "server/request.h"

struct admin;

enum {
	ADMIN_CONNECTIONS_MAX = 4,   /* each has a thread */
	ADMIN_REQUEST_MS = 5 * 1000, /* for the whole request to come */
	ADMIN_ANSWER_MS = 30 * 1000, /* for a line of the answer to go */
};

#define ADMIN_SOCKET "control"

/**
 * admin_start() - listen and serve until admin_stop(). A socket that a crash left is replaced: the
 * store's lock says that nobody listens there. On a disk that is full or read-only the server goes
 * on without one: a warning, and *@out stays NULL.
 * @services: borrowed, outlives it.
 * Return: 0 or negative errno with @problem.
 */
int admin_start(struct services *services, struct admin **out, struct problem *problem) must_check;

/** admin_stop() - ends what runs, early. Blocks until its threads are gone. */
void admin_stop(struct admin *admin);
