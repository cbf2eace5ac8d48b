/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that accepts the connections of one listening socket and gives them, in turn, to
 * daemons of libmicrohttpd that have no listening socket of their own: ones that accept
 * themselves and are told to stop that (MHD_quiesce_daemon()) end the program when two threads
 * meet at it.
 */
#pragma once

#include <stdint.h>

#include <microhttpd.h>

#include "lib/util.h"

struct acceptor;
struct connections;

/**
 * acceptor_new() - accept on @listen_fd, for @daemons, which were started with MHD_USE_ITC and tell
 * @connections what begins and ends. When there are @max, or few descriptors are left, new ones
 * wait in the kernel's queue. The limits of the daemons must be out of reach.
 * @listen_fd: owned, also on failure. All else is borrowed.
 */
int acceptor_new(int listen_fd, struct connections *connections, struct MHD_Daemon *const *daemons,
		 unsigned int n_daemons, unsigned int max, struct acceptor **out) must_check;

/**
 * acceptor_free() - who is in the kernel's queue is taken, then the address refuses. Before the
 * daemons are stopped. @acceptor may be NULL.
 * Return: how many the daemons were given in all; they begin with them in their own time.
 */
uint64_t acceptor_free(struct acceptor *acceptor);
