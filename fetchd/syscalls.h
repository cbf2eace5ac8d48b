/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that the processes of fetchd may make, as seccomp filters (seccomp(2)).
 * Context: before any other thread; holds for the rest of the process.
 */
#pragma once

#include "lib/util.h"

/**
 * syscalls_only_worker() - those that moving bytes between sockets and pipes takes. Others fail
 * with ENOSYS or EPERM; one that nothing but an intruder would try ends the process.
 * @log: they are logged by the kernel, and done.
 * Return: 0 or negative errno.
 */
int syscalls_only_worker(bool log) must_check;

/** syscalls_no_intruder() - all but those that end the process above. */
int syscalls_no_intruder(bool log) must_check;
