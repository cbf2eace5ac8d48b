/* SPDX-License-Identifier: Apache-2.0 */
/* What is mounted somewhere: ours, somebody else's, or a FUSE mount whose daemon is gone. */
#pragma once

#include "lib/util.h"

/** path_is_mountpoint() - Return: 1, 0 or negative errno. Never waits for a daemon. */
int path_is_mountpoint(const char *path) must_check;

/** mountpoint_is_ours() - is the topmost mount at @path one that intinode makes? */
bool mountpoint_is_ours(const char *path) must_check;

/**
 * mountpoint_is_dead() - does the file system at @path have no daemon any more? Waits for its
 * answer at most a second or two; who does not answer so fast is alive.
 */
bool mountpoint_is_dead(const char *path) must_check;
