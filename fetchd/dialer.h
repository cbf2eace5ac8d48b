/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dialer: the process of fetchd that looks names up and makes connections for the network
 * worker, which can do neither. It decides where connections may lead, and believes the worker
 * nothing (SAFETY.md, threats 1 and 2):
 *  - a host that configuration or an administrator named leads wherever its name says, except to
 *    what is no host's address, and, once it was connected to, to nothing closer than that was. The
 *    supervisor tells which hosts these are.
 *  - any other (where a redirect or a token service is) leads to public addresses; to this
 *    network's or this host's own only where a named host that may lead there was connected to
 *    before.
 *  - who was led to a named host by another gets to none that the other may not lead to.
 * The address that was checked is the one that is connected to.
 */
#pragma once

#include "lib/util.h"

enum { DIALER_SUPERVISOR_FD = 3, DIALER_WORKER_FD = 4, DIALER_NETWORK_FD = 5 };

/**
 * dialer_main() - the process itself: answers at DIALER_WORKER_FD (lib/dial.h); hears at
 * DIALER_SUPERVISOR_FD which hosts are named, a datagram "HOST[:PORT] CLASS" each, before the
 * worker hears of them, and says there in the same form where a host led when it was first
 * connected to (0: it was not yet); works in the network of DIALER_NETWORK_FD, where @elsewhere.
 * Ends when one of the first two does. Return: 0 or negative errno.
 */
int dialer_main(bool elsewhere) must_check;
