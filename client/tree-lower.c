/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the look into the twins below, for directories that a layer names only within the
 * paths of its entries: overlayfs shows the metadata of the uppermost directory, so it has
 * to repeat what is below. And for whiteouts: overlayfs lists one that hides nothing.
 */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static bool is_opaque(int fd, const char *path)
{
	cleanup_free char *proc = format_text("/proc/self/fd/%d/%s", fd, path);
	char value = 0;

	return proc && lgetxattr(proc, OVERLAY_XATTR "opaque", &value, 1) == 1 && value == 'y';
}

/*
 * Looks for @path in one twin. @hides: what is further below does not show through.
 * Return: 1 it is there, 0 it is not, -errno.
 */
static int look_in(int fd, const char *path, struct stat *st, bool *hides)
{
	cleanup_free char *prefix = strdup(path);
	char *end = prefix;

	if (!prefix)
		return -ENOMEM;
	for (;;) {
		bool last;

		end += strcspn(end, "/");
		last = !*end;
		*end = '\0';
		if (fstatat(fd, prefix, st, AT_SYMLINK_NOFOLLOW))
			return errno == ENOENT ? 0 : -errno;
		if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0)) {
			*hides = true;
			return 0;
		}
		if (!S_ISDIR(st->st_mode) || is_opaque(fd, prefix))
			*hides = true;
		if (last)
			return 1;
		if (!S_ISDIR(st->st_mode))
			return 0;
		*end++ = '/';
	}
}

static int open_twin(const struct tree *tree, size_t i)
{
	cleanup_free char *path =
		format_text("%s/tree", json_string_value(json_array_get(tree->lower, i)));
	int fd = path ? openat(tree->layers_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd < 0 ? -errno : fd;
}

/* Return: 1 with the twin's descriptor in @out (owned by the caller), 0, -errno. */
static int find(const struct tree *tree, const char *path, int *out, struct stat *st)
{
	bool hides = false;
	int r = look_in(tree->root_fd, path, st, &hides);

	for (size_t i = json_array_size(tree->lower); r >= 0 && !hides && i-- > 0;) {
		cleanup_close int fd = open_twin(tree, i);

		r = fd < 0 ? fd : look_in(fd, path, st, &hides);
		if (r > 0) {
			*out = steal_fd(&fd);
			return 1;
		}
	}
	return r < 0 ? r : 0;
}

int tree_inherit(struct tree *tree, const char *path, struct timespec *mtime)
{
	cleanup_close int fd = -1;
	struct stat st;
	int r = find(tree, path, &fd, &st);

	if (r <= 0 || !S_ISDIR(st.st_mode))
		return r < 0 ? r : 0;
	*mtime = st.st_mtim;
	tree->default_acls = true;
	return tree_copy_metadata(fd, path, tree->root_fd, path, &st);
}

int tree_is_covered(const struct tree *tree, const char *path)
{
	cleanup_close int fd = -1;
	struct stat st;

	return find(tree, path, &fd, &st);
}
