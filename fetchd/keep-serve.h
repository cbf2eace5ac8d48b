/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The miss layers while there is no fetchd: nothing is fetched, and nobody is stuck.
 */
#pragma once

#include "lib/util.h"

/**
 * keep_serve() - serve kept /dev/fuse descriptors until fetchd is back.
 * @listen_fd: where the next fetchd connects; readable: return at once.
 * @fds: @n descriptors, at most KEEP_FDS_MAX; those whose file system is gone are closed here and
 * set to -1.
 * @until_ms: on the clock of now_ms().
 *
 * Attributes and statfs are answered at once. A lookup of a digest waits until @until_ms, or
 * until its caller is killed; then, and from then on, it is EIO. What is unanswered on
 * return, the next fetchd gets with FUSE_NOTIFY_RESEND, as this got what the last one had
 * read. Where the kernel cannot resend (before 6.9) nothing is read before @until_ms, so
 * that nothing is lost for the next fetchd.
 *
 * Return: when fetchd connects, or a descriptor was closed. Allocates nothing; one thread.
 */
void keep_serve(int listen_fd, int *fds, size_t n, int64_t until_ms);
