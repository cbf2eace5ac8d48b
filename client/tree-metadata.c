/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the order in which metadata is set: owner, mode, attributes, ACLs, times. */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/xattr.h>

enum { LIST_BYTES_MAX = 64 * 1024, VALUE_BYTES_MAX = 64 * 1024 };

static int set_acl(const char *proc, acl_type_t type, const char *text)
{
	acl_t acl = acl_from_text(text);
	int r;

	if (!acl)
		return -EINVAL;
	r = acl_set_file(proc, type, acl) ? -errno : 0;
	acl_free(acl);
	return r;
}

/* @proc: a path that lsetxattr() and lchown() take for the entry itself. */
static int set_xattrs(const struct tree_entry *entry, const char *proc)
{
	for (size_t i = 0; i < entry->n_xattrs; i++) {
		const struct tree_xattr *xattr = &entry->xattrs[i];

		if (!strncmp(xattr->name, OVERLAY_XATTR, strlen(OVERLAY_XATTR)))
			continue;
		if (lsetxattr(proc, xattr->name, xattr->value, xattr->size, 0))
			return -errno;
	}
	return 0;
}

int tree_clear_xattrs(int dir_fd, const char *name)
{
	cleanup_free char *proc = format_text("/proc/self/fd/%d/%s", dir_fd, name);
	cleanup_free char *names = malloc(LIST_BYTES_MAX);
	ssize_t len;

	if (!proc || !names)
		return -ENOMEM;
	len = llistxattr(proc, names, LIST_BYTES_MAX);
	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *p = names; p < names + len; p += strlen(p) + 1) {
		if (!strncmp(p, OVERLAY_XATTR, strlen(OVERLAY_XATTR)) ||
		    !strcmp(p, "security.selinux"))
			continue;
		if (lremovexattr(proc, p) && errno != ENODATA)
			return -errno;
	}
	return 0;
}

int tree_set_metadata(struct tree *tree, const struct tree_entry *entry, int dir_fd,
		      const char *name)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, entry->st.st_mtim };
	cleanup_free char *proc = format_text("/proc/self/fd/%d/%s", dir_fd, name);
	int r;

	if (!proc)
		return -ENOMEM;
	if (fchownat(dir_fd, name, entry->st.st_uid, entry->st.st_gid, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (tree->default_acls && !S_ISLNK(entry->st.st_mode)) {
		r = tree_clear_xattrs(dir_fd, name);
		if (r)
			return r;
	}
	if (!S_ISLNK(entry->st.st_mode) && fchmodat(dir_fd, name, entry->st.st_mode & 07777, 0))
		return -errno;
	r = set_xattrs(entry, proc);
	if (!r && entry->acl_access && !S_ISLNK(entry->st.st_mode))
		r = set_acl(proc, ACL_TYPE_ACCESS, entry->acl_access);
	/* Given as an ACL or as the attribute of that name. */
	if (S_ISDIR(entry->st.st_mode) && (entry->acl_default || entry->n_xattrs))
		tree->default_acls = true;
	if (!r && entry->acl_default && S_ISDIR(entry->st.st_mode))
		r = set_acl(proc, ACL_TYPE_DEFAULT, entry->acl_default);
	if (!r && utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r;
}

/* ---- from one tree to another ---- */

/* @from, @to: paths below /proc/self/fd that name the entry itself. */
static int copy_xattrs(const char *from, const char *to)
{
	cleanup_free char *names = malloc(LIST_BYTES_MAX);
	cleanup_free char *value = malloc(VALUE_BYTES_MAX);
	ssize_t len, size;

	if (!names || !value)
		return -ENOMEM;
	len = llistxattr(from, names, LIST_BYTES_MAX);
	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (!strncmp(name, OVERLAY_XATTR, strlen(OVERLAY_XATTR)))
			continue;
		size = lgetxattr(from, name, value, VALUE_BYTES_MAX);
		if (size < 0 || lsetxattr(to, name, value, (size_t)size, 0))
			return -errno;
	}
	return 0;
}

int tree_copy_metadata(int from_fd, const char *from_name, int to_fd, const char *to_name,
		       const struct stat *st)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
	cleanup_free char *from = format_text("/proc/self/fd/%d/%s", from_fd, from_name);
	cleanup_free char *to = format_text("/proc/self/fd/%d/%s", to_fd, to_name);
	int r;

	if (!from || !to)
		return -ENOMEM;
	if (fchownat(to_fd, to_name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) ||
	    fchmodat(to_fd, to_name, st->st_mode & 07777, 0))
		return -errno;
	r = copy_xattrs(from, to);
	if (!r && utimensat(to_fd, to_name, times, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r;
}
