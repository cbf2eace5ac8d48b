/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client of the holder (fetchd/keep.c) and the holder (fetchd/keep-holder.c) say to
 * each other: messages of one letter and a text with its NUL, on a SOCK_SEQPACKET socket.
 */
#pragma once

#include "fetchd/keep.h"

enum keep_letter {
	KEEP_PUT = 'P',	  /* a name, with a descriptor; answered */
	KEEP_DROP = 'D',  /* a name */
	KEEP_LIST = 'L',  /* a number from 0; answered with the name and the descriptor */
	KEEP_GRACE = 'C', /* milliseconds: how long requests wait for the next fetchd */
	KEEP_YES = 'Y',
	KEEP_NO = 'N', /* no room; no such number */
};

enum { KEEP_MESSAGE_MAX = KEEP_NAME_MAX + 2 };
