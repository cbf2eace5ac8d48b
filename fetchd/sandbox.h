/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of fetchd give up before they meet bytes from elsewhere (SAFETY.md 1,
 * "Sandbox"). Three layers that do not need each other: another user without capabilities in empty
 * namespaces; Landlock: no file; seccomp: only the system calls that the work needs, an unknown one
 * is ENOSYS, as on an old kernel, and one that only an intruder needs ends the process. What the
 * kernel cannot do is said in the log once, and left out.
 */
#pragma once

#include "lib/util.h"

/* Passed on by the environment, from the supervisor to the processes it starts. */
#define SANDBOX_VARIABLE "INTINODE_SANDBOX"

enum sandbox_mode {
	SANDBOX_ON,
	SANDBOX_LOG, /* system calls that the filter would refuse are logged by the kernel */
	SANDBOX_OFF,
};

/** sandbox_mode_parse() - "on", "log", "off". Return: 0 or -EINVAL. */
int sandbox_mode_parse(const char *text, enum sandbox_mode *out) must_check;
const char *sandbox_mode_name(enum sandbox_mode mode);

/**
 * sandbox_supervisor() - it uses no network, so it has none: only the dialer goes back, by *@out, a
 * descriptor of the one it came from. -1: it stays, since it is no root, or is to notify a service
 * manager there. Before any thread. Return: 0 or negative errno.
 */
int sandbox_supervisor(enum sandbox_mode mode, int *out) must_check;

/**
 * sandbox_worker() - the network worker: no files, no new sockets, no network of its own. Whatever
 * it needs of these it has opened before. One thread, the only one.
 * Return: 0 or negative errno: it must not go on.
 */
int sandbox_worker(void) must_check;

/**
 * sandbox_dialer() - @network_fd: as above; -1: it is there already. Reads what the resolver needs,
 * writes no file, starts no program. Stays in the host's network. Before its threads.
 */
int sandbox_dialer(int network_fd) must_check;
