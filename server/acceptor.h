/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that accepts the connections of one listening socket and gives them to a daemon
 * of libmicrohttpd that has no listening socket of its own: one that accepts itself and is
 * told to stop that (MHD_quiesce_daemon()) ends the program when two threads meet at it.
 */
#pragma once

#include <stdint.h>

#include <microhttpd.h>

#include "lib/util.h"

struct acceptor;

/**
 * acceptor_new() - accept on @listen_fd, for @daemon, which was started with MHD_USE_ITC and
 * shall have about @max connections at most: when they are all in use, or few descriptors are
 * left, new ones wait in the kernel's queue. The daemon's own limit must be out of reach.
 * @listen_fd: owned, also on failure.
 */
int acceptor_new(int listen_fd, struct MHD_Daemon *daemon, unsigned int max,
		 struct acceptor **out) must_check;

/**
 * acceptor_free() - who is in the kernel's queue is taken, then the address refuses. Before the
 * daemon is stopped. @acceptor may be NULL.
 * Return: how many the daemon was given in all; it begins with them in its own time.
 */
uint64_t acceptor_free(struct acceptor *acceptor);
