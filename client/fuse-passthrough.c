/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns which inodes are open in which way: n_plain, n_passing and backing_id of a node.
 * Any thread; under the front end's passthrough_lock.
 */
#include "client/fuse-passthrough.h"

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)

#include <string.h>

#include "lib/log.h"

void passthrough_init(struct fuse_frontend *frontend, struct fuse_conn_info *conn)
{
	/*
	 * The kernel refuses it to who is not root of the host, at each open; asking for it
	 * would only cost mounts over this one a level of stacking.
	 */
	if (geteuid() != 0 || !(conn->capable & FUSE_CAP_PASSTHROUGH))
		return;
	conn->want |= FUSE_CAP_PASSTHROUGH;
	/* The cache on a plain file system, so that an overlay fits on top of this mount. */
	conn->max_backing_stack_depth = FUSE_BACKING_STACKED_UNDER;
	frontend->passthrough = true;
}

bool passthrough_open(struct fuse_frontend *frontend, fuse_req_t req, struct node *node, int fd,
		      struct fuse_file_info *fi)
{
	bool passes;

	pthread_mutex_lock(&frontend->passthrough_lock);
	passes = node->n_passing > 0;
	/* An ordinary file is small: its pages cost less than two more system calls. */
	if (!passes && !node->n_plain && node->stub && frontend->passthrough) {
		if (node->backing_id <= 0)
			node->backing_id = fuse_passthrough_open(req, fd);
		passes = node->backing_id > 0;
		if (!passes) {
			log_info("fuse: reads do not pass through: the cache %s is on a file "
				 "system that the kernel does not take for that",
				 frontend->cache_path);
			frontend->passthrough = false;
		}
	}
	if (passes)
		node->n_passing++;
	else
		node->n_plain++;
	fi->backing_id = passes ? node->backing_id : 0;
	pthread_mutex_unlock(&frontend->passthrough_lock);
	fi->keep_cache = !passes;
	return passes;
}

void passthrough_release(struct fuse_frontend *frontend, fuse_req_t req, struct node *node,
			 bool passes)
{
	pthread_mutex_lock(&frontend->passthrough_lock);
	if (!passes) {
		node->n_plain--;
	} else if (!--node->n_passing && req) {
		if (fuse_passthrough_close(req, node->backing_id) < 0)
			log_debug("fuse: closing a backing file: %s", strerror(errno));
		node->backing_id = 0;
	}
	pthread_mutex_unlock(&frontend->passthrough_lock);
}

#else

void passthrough_init(struct fuse_frontend *frontend, struct fuse_conn_info *conn)
{
	(void)frontend;
	(void)conn;
}

bool passthrough_open(struct fuse_frontend *frontend, fuse_req_t req, struct node *node, int fd,
		      struct fuse_file_info *fi)
{
	(void)frontend;
	(void)req;
	(void)node;
	(void)fd;
	fi->keep_cache = 1;
	return false;
}

void passthrough_release(struct fuse_frontend *frontend, fuse_req_t req, struct node *node,
			 bool passes)
{
	(void)frontend;
	(void)req;
	(void)node;
	(void)passes;
}

#endif
