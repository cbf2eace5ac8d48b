/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket, and addresses as text. */
#pragma once

#include <sys/socket.h>

#include "lib/util.h"

struct problem;

enum { ADDRESS_TEXT_SIZE = 64 };

/**
 * listen_open() - bind and listen on "HOST:PORT", ":PORT" or "[V6]:PORT".
 * @actual: the address with the port that was chosen.
 * Return: descriptor, or negative errno with @problem.
 */
int listen_open(const char *text, char actual[static ADDRESS_TEXT_SIZE],
		struct problem *problem) must_check;

/** listen_check() - is @text of that form? Return: 0; -EINVAL with @problem; -ENOMEM. */
int listen_check(const char *text, struct problem *problem) must_check;

/** address_format() - "1.2.3.4:5" or "[::1]:5". Return: @out. */
char *address_format(const struct sockaddr *address, char out[static ADDRESS_TEXT_SIZE]);
