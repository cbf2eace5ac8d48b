/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fuse front end: shows a stub tree (an ordinary directory in which some regular
 * files are stubs) read-only, each stub as the file it stands for (DESIGN.md, "The three
 * front ends"). Any kernel, no module, also without privileges.
 *
 * A hit is opened from the cache in this process. A miss is asked of intinode-fetchd, and
 * only the opener waits: lookup, stat, readdir and statfs never wait for the network.
 */
#pragma once

#include "lib/log.h"

enum {
	FUSE_FRONTEND_TIMEOUT_MS = 30 * 1000, /* deadline of an open that has to be fetched */
	/* Openers that wait at one time; each costs some hundred bytes. More get EIO. */
	FUSE_FRONTEND_WAITERS_MAX = 16384,
};

struct fuse_frontend_options {
	const char *lower;	  /* the stub tree; must not change while mounted */
	const char *mountpoint;	  /* an existing directory */
	const char *cache;	  /* root of the cache; must exist */
	const char *socket;	  /* of fetchd; NULL: as control_connect() */
	const char *mount_id;	  /* for fetchd and /proc/mounts; may be NULL */
	const char *log;	  /* spawn: file that gets the log afterwards; NULL: none */
	bool allow_other;	  /* other users than the one who mounts */
	unsigned int timeout_ms;  /* 0: FUSE_FRONTEND_TIMEOUT_MS */
	unsigned int max_waiters; /* 0: FUSE_FRONTEND_WAITERS_MAX */
};

/**
 * fuse_frontend_run() - mount and serve in this process until unmounted or SIGTERM.
 * @ready_fd: where fuse_frontend_spawn() listens; -1 for none. Owned from here on.
 * Signal handlers for SIGHUP, SIGINT, SIGTERM and SIGPIPE are set; threads are started; the
 * soft limit on open files is raised to the hard one.
 * Return: 0 after an unmount; negative errno with @problem when it could not be mounted.
 */
int fuse_frontend_run(const struct fuse_frontend_options *options, int ready_fd,
		      struct problem *problem) must_check;

/**
 * fuse_frontend_spawn() - fuse_frontend_run() in a process of its own: own session,
 * working directory /, standard input and output /dev/null, standard error to
 * options->log. Returns when the file system answers, or cannot be mounted.
 * Call it before the process has started threads.
 * @pid: of the server; may be NULL. The caller need not wait for it.
 * Return: 0 or negative errno with @problem.
 */
int fuse_frontend_spawn(const struct fuse_frontend_options *options, pid_t *pid,
			struct problem *problem) must_check;
