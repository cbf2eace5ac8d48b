/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc knows of the program behind a FUSE request. */
#pragma once

#include "lib/util.h"

/**
 * caller_is_dying() - has the task a SIGKILL pending, or is it gone? FUSE interrupts a
 * request for every signal, and only once; this tells the one that counts. Does not allocate.
 */
bool caller_is_dying(uint64_t pid);
