/* SPDX-License-Identifier: Apache-2.0 */
/* Open files and directories of the fuse front end; the operations that fuse-ops.c lists. */
#pragma once

#include "client/fuse-ops.h"

/* How long the kernel may keep an answer. For ever would do; a day bounds a mistake. */
enum { OPS_KEEP_S = 24 * 60 * 60 };

/** ops_node() - the node behind an inode number of the kernel's. */
struct node *ops_node(fuse_req_t req, fuse_ino_t ino);

void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

void dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void dir_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void dir_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi);
void dir_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
