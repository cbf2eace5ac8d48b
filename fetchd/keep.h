/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping file descriptors alive across a restart or a crash of fetchd.
 *
 * An overlay mount holds on to its miss layer for as long as it lives: if the last
 * descriptor of that FUSE connection is closed, every later miss fails. So each one is
 * also kept elsewhere: by the service manager (FDSTORE, where systemd started us with a
 * store), else by a holder, a process of a few hundred lines that does nothing else.
 */
#pragma once

#include "lib/util.h"

struct keeper;
struct problem;

enum { KEEP_NAME_MAX = 64, KEEP_FDS_MAX = 1024 };

/** keeper_open() - find the service manager's store, or the holder of @run_dir, or start one. */
int keeper_open(const char *run_dir, struct keeper **out, struct problem *problem) must_check;

/** keeper_close() - let go; what is kept stays kept. */
void keeper_close(struct keeper *keeper);

/** keeper_put() - keep a duplicate of @fd as @name (replaces what had that name). */
int keeper_put(struct keeper *keeper, const char *name, int fd) must_check;

/** keeper_take() - a duplicate of what is kept, which the caller closes; -ENOENT. */
int keeper_take(struct keeper *keeper, const char *name) must_check;

/** keeper_drop() - keep it no longer. */
void keeper_drop(struct keeper *keeper, const char *name);

/** keeper_notify_ready() - tell a service manager that waits for it (sd_notify(3) READY=1). */
void keeper_notify_ready(const struct keeper *keeper);

/** keeper_main() - the holder itself: serves on the listening socket @fd. Never returns. */
void keeper_main(int fd) __attribute__((noreturn));
