/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the order in which metadata is set: owner, mode, attributes, ACLs, times. */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/xattr.h>

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

int tree_set_metadata(const struct tree_entry *entry, int dir_fd, const char *name)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, entry->st.st_mtim };
	cleanup_free char *proc = format_text("/proc/self/fd/%d/%s", dir_fd, name);
	int r;

	if (!proc)
		return -ENOMEM;
	if (fchownat(dir_fd, name, entry->st.st_uid, entry->st.st_gid, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISLNK(entry->st.st_mode) && fchmodat(dir_fd, name, entry->st.st_mode & 07777, 0))
		return -errno;
	r = set_xattrs(entry, proc);
	if (!r && entry->acl_access && !S_ISLNK(entry->st.st_mode))
		r = set_acl(proc, ACL_TYPE_ACCESS, entry->acl_access);
	if (!r && entry->acl_default && S_ISDIR(entry->st.st_mode))
		r = set_acl(proc, ACL_TYPE_DEFAULT, entry->acl_default);
	if (!r && utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r;
}
