/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two files of the miss layer share: fetchd/miss.c answers, fetchd/miss-session.c
 * mounts and moves messages.
 */
#pragma once

#include "config.h"

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)

#include <fuse_lowlevel.h>

#include "fetchd/miss.h"

struct event;

enum { MISS_FAILURES = 64 };

struct failure {
	struct digest digest;
	int error; /* positive errno */
	int64_t first_ms, until_ms;
};

struct miss {
	struct miss_options options;
	char *id, *mountpoint; /* owned */
	struct fuse_session *session;
	struct event *readable;
	struct fuse_buf buffer;
	bool own_init;	/* hand out our INIT at the next read */
	bool init_done; /* the kernel has its answer to INIT */
	struct request *requests;
	struct attempt *attempts;
	unsigned int n_attempts;
	struct failure failures[MISS_FAILURES]; /* a ring: the last deadlines that passed */
	unsigned int next_failure;
};

extern const struct fuse_lowlevel_ops miss_operations;

/**
 * miss_forget_requests() - nobody waits here any more.
 * @answer: with EIO; else not at all, and the kernel asks the next fetchd.
 */
void miss_forget_requests(struct miss *miss, bool answer);
