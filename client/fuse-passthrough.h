/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens whose reads the kernel takes straight from the file below (FUSE passthrough): no
 * process in the way, and one copy in memory for all mounts. Needs libfuse 3.17, Linux 6.9
 * and root; without, nothing here does anything and every open is a plain one.
 */
#pragma once

#include "client/fuse-ops.h"

/** passthrough_init() - asks the kernel for it. Before any open. */
void passthrough_init(struct fuse_frontend *frontend, struct fuse_conn_info *conn);

/**
 * passthrough_open() - decide how @node is opened, and complete @fi for the reply.
 * @fd: the file below; stays the caller's, for as long as the file is open.
 * The kernel takes all opens of one inode that exist at a time the same way only.
 * Return: whether reads pass through. Undo with passthrough_release(), with that answer; its
 * @req is NULL where a reply could not be delivered (libfuse needs a request to give a
 * backing file back): it is then kept for the next open, or until the unmount.
 */
bool passthrough_open(struct fuse_frontend *frontend, fuse_req_t req, struct node *node, int fd,
		      struct fuse_file_info *fi);
void passthrough_release(struct fuse_frontend *frontend, fuse_req_t req, struct node *node,
			 bool passes);
