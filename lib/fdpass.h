/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with at most one file descriptor over a SOCK_SEQPACKET socket (unix(7)). */
#pragma once

#include "lib/util.h"

/**
 * fdpass_send() - one message; @fd -1: none. The caller keeps its own descriptor.
 * Return: 0 or negative errno (-EAGAIN on a full non-blocking socket).
 */
int fdpass_send(int sock, const void *bytes, size_t len, int fd) must_check;

/**
 * fdpass_receive() - one message; *@fd is -1 where none came, else owned by the caller.
 * Return: its length; 0 when the other side closed; -EMSGSIZE (dropped); negative errno.
 */
ssize_t fdpass_receive(int sock, void *bytes, size_t size, int *fd) must_check;
