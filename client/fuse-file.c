/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens files: an ordinary one from the lower tree, a stub's from the cache, or, when it is
 * not there, later, when the miss queue has it. The file handle is the descriptor.
 *
 * Any of libfuse's threads; fuse_frontend_done() in the miss queue's.
 */
#include "client/fuse-file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "client/fuse-passthrough.h"
#include "lib/log.h"

static void stub_digest(const struct stub *stub, struct digest *out)
{
	*out = (struct digest){ .algorithm = DIGEST_SHA256 };
	memcpy(out->bytes, stub->sha256, sizeof(stub->sha256));
}

/* The file handle: the descriptor, and whether reads pass it by. */
static const uint64_t passes_flag = UINT64_C(1) << 32;

static int fd_of(const struct fuse_file_info *fi)
{
	return (int)(uint32_t)fi->fh;
}

/* Takes @fd. The kernel keeps the pages over a close: what is behind them cannot change. */
static void reply_open(struct fuse_frontend *frontend, fuse_req_t req, struct node *node,
		       const struct fuse_file_info *asked, int fd)
{
	struct fuse_file_info fi = *asked;
	bool passes = passthrough_open(frontend, req, node, fd, &fi);

	fi.fh = (uint64_t)fd | (passes ? passes_flag : 0);
	if (!fuse_reply_open(req, &fi))
		return;
	/* Not delivered (the caller is gone): there will be no release. */
	passthrough_release(frontend, NULL, node, passes);
	close(fd);
}

/* Return: a descriptor of the whole blob; -ENOENT also where what is there is not it. */
static int open_blob(const struct fuse_frontend *frontend, const struct stub *stub)
{
	struct digest digest;
	struct stat st;
	int fd, r = 0;

	stub_digest(stub, &digest);
	fd = cache_open_blob(frontend->cache, &digest);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		r = -errno;
	else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != stub->size_bytes)
		r = -ENOENT;
	if (r)
		close(fd);
	return r ? r : fd;
}

void fuse_frontend_done(void *context, fuse_req_t req, struct node *node,
			const struct fuse_file_info *fi, int error)
{
	struct fuse_frontend *frontend = context;
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int fd;

	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	fd = open_blob(frontend, node->stub);
	if (fd >= 0) {
		reply_open(frontend, req, node, fi, fd);
		return;
	}
	stub_digest(node->stub, &digest);
	log_warning("intinode-fetchd has fetched %s, %" PRIu64 " bytes, but in %s it cannot be "
		    "opened (%s); do both use the same cache directory?",
		    digest_format(&digest, text), node->stub->size_bytes, frontend->cache_path,
		    strerror(-fd));
	fuse_reply_err(req, EIO);
}

static void open_stub(fuse_req_t req, struct node *node, const struct fuse_file_info *fi)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);
	int fd = open_blob(frontend, node->stub), r;

	if (fd >= 0) {
		reply_open(frontend, req, node, fi, fd);
		return;
	}
	if (fd != -ENOENT) {
		log_warning("a file in the cache %s cannot be opened: %s", frontend->cache_path,
			    strerror(-fd));
		fuse_reply_err(req, fd == -EMFILE || fd == -ENFILE ? -fd : EIO);
		return;
	}
	r = miss_queue_add(frontend->misses, req, node, fi);
	if (r == -ENFILE)
		log_warning("too many programs wait for files to be fetched; an open fails");
	if (r)
		fuse_reply_err(req, r == -ENFILE ? EIO : -r);
}

void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);
	struct node *node = ops_node(req, ino);
	int fd;

	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (node->stub) {
		open_stub(req, node, fi);
		return;
	}
	fd = node_open(frontend->nodes, node, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		fuse_reply_err(req, -fd);
	else
		reply_open(frontend, req, node, fi, fd);
}

void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);

	(void)ino;
	buffer.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	buffer.buf[0].fd = fd_of(fi);
	buffer.buf[0].pos = off;
	fuse_reply_data(req, &buffer, 0);
}

void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	off_t r = lseek(fd_of(fi), off, whence);

	(void)ino;
	if (r < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, r);
}

void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	passthrough_release(fuse_req_userdata(req), req, ops_node(req, ino), fi->fh & passes_flag);
	close(fd_of(fi));
	fuse_reply_err(req, 0);
}
