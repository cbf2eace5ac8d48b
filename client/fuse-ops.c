/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers the kernel's questions about names, attributes and extended attributes; what is
 * open is fuse-file.c's. Any of libfuse's threads.
 *
 * The kernel is told to keep everything for as long as it likes: neither the lower tree
 * nor a blob changes. It checks permissions itself (default_permissions, ACLs).
 */
#include "client/fuse-ops.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "client/fuse-file.h"
#include "client/fuse-passthrough.h"
#include "lib/log.h"

struct node *ops_node(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);

	return ino == FUSE_ROOT_ID ? node_root(frontend->nodes) : (struct node *)(uintptr_t)ino;
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fuse_frontend *frontend = userdata;
	static const unsigned int wanted = FUSE_CAP_POSIX_ACL | FUSE_CAP_CACHE_SYMLINKS |
					   FUSE_CAP_SPLICE_WRITE | FUSE_CAP_READDIRPLUS |
					   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS |
					   FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPLICIT_INVAL_DATA;

	/* SPLICE_MOVE would take pages out of the page cache that every mount shares. */
	conn->want &= ~(unsigned int)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_MOVE);
	conn->want |= conn->capable & wanted;
	if (!(conn->capable & FUSE_CAP_POSIX_ACL))
		log_warning("fuse: this kernel does not enforce access control lists of FUSE "
			    "mounts; only mode bits are");
	passthrough_init(frontend, conn);
	frontend->ready(frontend);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);
	struct fuse_entry_param entry = { .attr_timeout = OPS_KEEP_S, .entry_timeout = OPS_KEEP_S };
	struct node *node;
	int r;

	r = node_lookup(frontend->nodes, ops_node(req, parent), name, &node, &entry.attr);
	if (r == -ENOENT) {
		/* An entry without a node: that it is absent may be kept as well. */
		memset(&entry.attr, 0, sizeof(entry.attr));
		fuse_reply_entry(req, &entry);
		return;
	}
	if (r) {
		fuse_reply_err(req, -r);
		return;
	}
	entry.ino = (uintptr_t)node;
	/* Not delivered: the kernel does not know of this lookup and will not forget it. */
	if (fuse_reply_entry(req, &entry))
		node_forget(frontend->nodes, node, 1);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);

	if (ino != FUSE_ROOT_ID)
		node_forget(frontend->nodes, ops_node(req, ino), n);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++) {
		if (forgets[i].ino != FUSE_ROOT_ID)
			node_forget(frontend->nodes, ops_node(req, forgets[i].ino),
				    forgets[i].nlookup);
	}
	fuse_reply_none(req);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);
	struct stat st;
	int r = node_stat(frontend->nodes, ops_node(req, ino), &st);

	(void)fi;
	if (r)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, OPS_KEEP_S);
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_frontend *frontend = fuse_req_userdata(req);
	const struct node *node = ops_node(req, ino);
	cleanup_close int dir_fd = node_open_parent(frontend->nodes, node);
	char target[PATH_MAX + 1];
	ssize_t n;

	if (dir_fd < 0) {
		fuse_reply_err(req, -dir_fd);
		return;
	}
	n = readlinkat(dir_fd, node->name, target, sizeof(target) - 1);
	if (n < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct fuse_frontend *frontend = fuse_req_userdata(req);
	struct statvfs st;

	(void)ino;
	if (fstatvfs(frontend->root_fd, &st))
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

/*
 * A path by which the calls for extended attributes reach @node, whatever its type: they
 * have no *at() form, and a symbolic link or a device cannot be opened for them.
 * Return: the descriptor that must stay open meanwhile, or negative errno.
 */
static int xattr_path(fuse_req_t req, const struct node *node, char path[static 64 + NAME_MAX])
{
	const struct fuse_frontend *frontend = fuse_req_userdata(req);
	int dir_fd = node_open_parent(frontend->nodes, node);

	if (dir_fd >= 0)
		snprintf(path, 64 + NAME_MAX, "/proc/self/fd/%d/%s", dir_fd, node->name);
	return dir_fd;
}

/* @value of @n bytes, or its size where the caller asked for no more, or errno. */
static void reply_xattr(fuse_req_t req, const char *value, ssize_t n, size_t size)
{
	if (n < 0)
		fuse_reply_err(req, errno);
	else if (!size)
		fuse_reply_xattr(req, (size_t)n);
	else if ((size_t)n > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, (size_t)n);
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char path[64 + NAME_MAX];
	cleanup_close int dir_fd = xattr_path(req, ops_node(req, ino), path);
	cleanup_free char *value = NULL;

	if (dir_fd < 0) {
		fuse_reply_err(req, -dir_fd);
		return;
	}
	size = size > XATTR_SIZE_MAX ? XATTR_SIZE_MAX : size;
	value = malloc(size ? size : 1);
	if (!value)
		fuse_reply_err(req, ENOMEM);
	else
		reply_xattr(req, value, lgetxattr(path, name, value, size), size);
}

/* On a disk, trusted.* shows to root only; here the file system asks on behalf of others. */
static ssize_t drop_trusted(char *names, ssize_t n)
{
	ssize_t kept = 0;

	for (ssize_t i = 0, len; i < n; i += len) {
		len = (ssize_t)strnlen(names + i, (size_t)(n - i)) + 1;
		if (i + len > n)
			break;
		if (!strncmp(names + i, "trusted.", 8))
			continue;
		memmove(names + kept, names + i, (size_t)len);
		kept += len;
	}
	return kept;
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char path[64 + NAME_MAX];
	cleanup_close int dir_fd = xattr_path(req, ops_node(req, ino), path);
	cleanup_free char *names = NULL;
	ssize_t n;

	if (dir_fd < 0) {
		fuse_reply_err(req, -dir_fd);
		return;
	}
	names = malloc(XATTR_LIST_MAX);
	if (!names) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	n = llistxattr(path, names, XATTR_LIST_MAX);
	if (n > 0 && fuse_req_ctx(req)->uid != 0)
		n = drop_trusted(names, n);
	reply_xattr(req, names, n, size);
}

const struct fuse_lowlevel_ops fuse_frontend_ops = {
	.init = ops_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.readlink = ops_readlink,
	.statfs = ops_statfs,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
	.open = file_open,
	.read = file_read,
	.lseek = file_lseek,
	.release = file_release,
	.opendir = dir_open,
	.readdir = dir_read,
	.readdirplus = dir_read_plus,
	.releasedir = dir_release,
};
