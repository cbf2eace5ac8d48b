/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping file descriptors alive across a restart or a crash of fetchd.
 *
 * An overlay mount holds on to its miss layer for as long as it lives: if the last
 * descriptor of that FUSE connection is closed, every later miss fails. So each one is
 * also kept elsewhere: by the service manager (FDSTORE, where systemd started us with a
 * store), else by a holder, a process of a few hundred lines. While fetchd is away the holder
 * also answers what the kernel asks (fetchd/keep-serve.h).
 */
#pragma once

#include "lib/util.h"

struct event_base;
struct keeper;
struct problem;

enum { KEEP_NAME_MAX = 64, KEEP_FDS_MAX = 1024 };

struct keeper_options {
	struct event_base *base; /* borrowed: to notice the end of the holder */
	const char *run;	 /* directory, borrowed for keeper_open() */
	int64_t grace_ms;	 /* without fetchd, requests wait this long for the next one */
};

/**
 * keeper_open() - find the service manager's store, or the holder of the run directory, or
 * start one. A holder that ends later is replaced, and the new one gets all descriptors again.
 */
int keeper_open(const struct keeper_options *options, struct keeper **out,
		struct problem *problem) must_check;

/** keeper_close() - let go; what is kept stays kept. */
void keeper_close(struct keeper *keeper);

/**
 * keeper_put() - keep a duplicate of @fd as @name (replaces what had that name).
 * Return: 0; -EMFILE when there is no room for more; negative errno.
 */
int keeper_put(struct keeper *keeper, const char *name, int fd) must_check;

/** keeper_take() - a duplicate of what is kept, which the caller closes; -ENOENT. */
int keeper_take(struct keeper *keeper, const char *name) must_check;

/** keeper_drop() - keep it no longer. */
void keeper_drop(struct keeper *keeper, const char *name);

/**
 * keeper_name() - name of the kept descriptor number @i, NULL after the last. Borrowed until
 * the next put or drop; a drop moves the last one to the place of the dropped one.
 */
const char *keeper_name(const struct keeper *keeper, size_t i);

/** keeper_notify_ready() - tell a service manager that waits for it (sd_notify(3) READY=1). */
void keeper_notify_ready(const struct keeper *keeper);

/** keeper_main() - the holder itself: serves on the listening socket @fd. Never returns. */
void keeper_main(int fd) __attribute__((noreturn));
