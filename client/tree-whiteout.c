/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what layers hide: whiteouts and opaque directories (OCI image specification, layers). */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define WHITEOUT_META ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

/* Takes away what earlier layers put into a directory; what this layer brought stays. */
static int clear_lower(struct tree *tree, int fd, const char *path)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(fd, ".", &dir);

	while (!r && (entry = readdir(dir))) {
		cleanup_free char *child =
			format_text("%s%s%s", path, *path ? "/" : "", entry->d_name);

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!child)
			return -ENOMEM;
		if (!tfind(child, &tree->own_paths, tree_compare_paths)) {
			r = remove_tree_at(fd, entry->d_name);
			continue;
		}
		if (entry->d_type == DT_DIR) {
			cleanup_close int child_fd = openat(
				fd, entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			r = child_fd < 0 ? -errno : clear_lower(tree, child_fd, child);
		}
	}
	return r;
}

int tree_set_opaque(int dir_fd, const char *name)
{
	cleanup_free char *proc = format_text("/proc/self/fd/%d/%s", dir_fd, name);

	if (!proc)
		return -ENOMEM;
	return lsetxattr(proc, OVERLAY_XATTR "opaque", "y", 1, 0) ? -errno : 0;
}

static int add_opaque(struct tree *tree, int dir_fd, const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);

	if (!parent)
		return -ENOMEM;
	if (tree->kind == TREE_STUBS)
		return tree->n_layers > 1 ? clear_lower(tree, dir_fd, parent) : 0;
	return tree_set_opaque(dir_fd, ".");
}

/* A whiteout hides what is below this layer, never what this layer brings itself. */
static int hide_in_twin(const struct tree *tree, int dir_fd, const char *path, const char *name,
			const char *hidden)
{
	cleanup_free char *own = format_text("%.*s%s", (int)(name - path), path, hidden);
	struct stat st;
	int r = own ? tree_is_covered(tree, own) : -ENOMEM;

	if (r <= 0)
		return r;
	if (!mknodat(dir_fd, hidden, S_IFCHR, makedev(0, 0)))
		return 0;
	if (errno != EEXIST || fstatat(dir_fd, hidden, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return S_ISDIR(st.st_mode) ? tree_set_opaque(dir_fd, hidden) : 0;
}

static int hide_in_stubs(struct tree *tree, int dir_fd, const char *path, const char *name,
			 const char *hidden)
{
	cleanup_free char *own = format_text("%.*s%s", (int)(name - path), path, hidden);
	cleanup_close int fd = -1;

	if (!own)
		return -ENOMEM;
	if (!tfind(own, &tree->own_paths, tree_compare_paths))
		return remove_tree_at(dir_fd, hidden);
	fd = openat(dir_fd, hidden, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? 0 : clear_lower(tree, fd, own);
}

int tree_add_whiteout(struct tree *tree, int dir_fd, const char *path, const char *name)
{
	const char *hidden = name + strlen(WHITEOUT_PREFIX);

	if (!strcmp(name, WHITEOUT_OPAQUE))
		return add_opaque(tree, dir_fd, path);
	if (!strncmp(name, WHITEOUT_META, strlen(WHITEOUT_META)))
		return 0; /* bookkeeping of aufs */
	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return -EINVAL;
	return tree->kind == TREE_TWIN ? hide_in_twin(tree, dir_fd, path, name, hidden)
				       : hide_in_stubs(tree, dir_fd, path, name, hidden);
}
