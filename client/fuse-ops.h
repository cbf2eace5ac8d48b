/* SPDX-License-Identifier: Apache-2.0 */
/* The FUSE operations of the fuse front end, and the state they share. */
#pragma once

#include <pthread.h>

#include "client/fuse-miss.h"
#include "client/fuse-node.h"
#include "lib/cache.h"

struct fuse_frontend {
	struct node_table *nodes;
	struct cache *cache;
	struct miss_queue *misses;
	const char *cache_path; /* for messages */
	int root_fd;
	bool passthrough;		  /* the kernel has agreed to it; set once */
	pthread_mutex_t passthrough_lock; /* n_plain, n_passing, backing_id of all nodes */
	/* Called when the kernel has asked for the first time: the mount answers. */
	void (*ready)(struct fuse_frontend *frontend);
};

/* The userdata of their session is a struct fuse_frontend. */
extern const struct fuse_lowlevel_ops fuse_frontend_ops;

/** fuse_frontend_done() - miss_options.done of the queue that belongs to a struct fuse_frontend. */
void fuse_frontend_done(void *context, fuse_req_t req, struct node *node,
			const struct fuse_file_info *fi, int error);
