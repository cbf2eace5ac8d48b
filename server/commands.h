/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intinode-serve stat|fsck|gc: asks the server that runs on the store, or, where none does,
 * takes the store's lock and does the same itself.
 */
#pragma once

#include "lib/util.h"

/** commands_has() - is @name one of these? */
bool commands_has(const char *name);

/**
 * commands_run() - @argv[0] is the command's name.
 * Return: the exit status: 0; 1: problems were found, or it failed; 2: usage.
 */
int commands_run(int argc, char **argv) must_check;
