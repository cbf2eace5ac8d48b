/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how entries become files. The caller's thread; blocks. */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <search.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "lib/log.h"

enum { PATH_BYTES_MAX = 64 * 1024, DEPTH_MAX = 4096 };

/* ---- paths ---- */

int tree_open(const struct tree *tree, const char *path, uint64_t flags, uint64_t resolve)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};
	long fd = syscall(SYS_openat2, tree->root_fd, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* "./a//b/" to "a/b"; "" is the root. Return: 0, -EINVAL for "..", -ENAMETOOLONG, -ENOMEM. */
static int clean_path(const char *path, char **out)
{
	char *clean, *o;
	int depth = 0;

	if (strlen(path) > PATH_BYTES_MAX)
		return -ENAMETOOLONG;
	o = clean = malloc(strlen(path) + 1);
	if (!clean)
		return -ENOMEM;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.') {
			free(clean);
			return -EINVAL;
		}
		if (len > NAME_MAX || ++depth > DEPTH_MAX) {
			free(clean);
			return -ENAMETOOLONG;
		}
		if (len && !(len == 1 && path[0] == '.')) {
			if (o != clean)
				*o++ = '/';
			memcpy(o, path, len);
			o += len;
		}
		path += len + (path[len] == '/');
	}
	*o = '\0';
	*out = clean;
	return 0;
}

/* ---- directories ---- */

/* A directory in place of a whiteout hides what is below it, as the whiteout did. */
static int make_directory(struct tree *tree, int dir_fd, const char *name)
{
	bool whiteout = false;
	struct stat st;

	if (!fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (S_ISDIR(st.st_mode))
			return tree_clear_xattrs(dir_fd, name);
		whiteout = tree->kind == TREE_TWIN && S_ISCHR(st.st_mode) &&
			   st.st_rdev == makedev(0, 0);
		if (unlinkat(dir_fd, name, 0))
			return -errno;
	}
	if (mkdirat(dir_fd, name, 0700))
		return -errno;
	return whiteout ? tree_set_opaque(dir_fd, name) : 0;
}

/* A directory that only the paths of entries name. */
static int make_implied(struct tree *tree, int parent_fd, const char *name, const char *path)
{
	struct timespec mtime = { 0 };
	struct stat st;
	int r;

	if (!fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
		return 0;
	r = make_directory(tree, parent_fd, name);
	if (!r && tree->default_acls)
		r = tree_clear_xattrs(parent_fd, name);
	if (!r && fchmodat(parent_fd, name, 0755, 0))
		r = -errno;
	if (!r && tree->kind == TREE_TWIN)
		r = tree_inherit(tree, path, &mtime);
	return r ? r : tree_remember_times(tree, path, &mtime);
}

/*
 * Does the way to @path go through a symbolic link of an earlier layer? Overlayfs does not
 * follow those: a directory takes their place.
 */
static bool passes_lower_link(const struct tree *tree, const char *path)
{
	cleanup_free char *prefix = strdup(path);
	cleanup_close int direct = -1;

	if (tree->kind != TREE_STUBS || tree->n_layers < 2 || !prefix)
		return false;
	direct = tree_open(tree, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	if (direct >= 0)
		return false;
	for (char *end = prefix + strcspn(prefix, "/");; end += strcspn(end, "/")) {
		cleanup_close int fd = -1;
		bool last = !*end;
		struct stat st;

		*end = '\0';
		fd = tree_open(tree, prefix, O_PATH | O_NOFOLLOW, 0);
		if (fd >= 0 && !fstat(fd, &st) && S_ISLNK(st.st_mode) &&
		    !tfind(prefix, &tree->own_paths, tree_compare_paths))
			return true;
		if (last)
			return false;
		*end++ = '/';
	}
}

/* Opens a directory of the tree, making what is missing on the way. */
static int open_dir(struct tree *tree, const char *path, int *out)
{
	int fd = tree_open(tree, path, O_PATH | O_DIRECTORY, 0), parent_fd = -1, r;
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);

	if (fd >= 0 && passes_lower_link(tree, path)) {
		close(fd);
		fd = -ENOTDIR;
	}
	*out = fd;
	if (fd >= 0 || (fd != -ENOENT && fd != -ENOTDIR) || !*path)
		return fd < 0 ? fd : 0;
	r = parent ? open_dir(tree, parent, &parent_fd) : -ENOMEM;
	if (r)
		return r;
	r = make_implied(tree, parent_fd, slash ? slash + 1 : path, path);
	close(parent_fd);
	if (r)
		return r;
	*out = tree_open(tree, path, O_PATH | O_DIRECTORY, 0);
	return *out < 0 ? *out : 0;
}

static void forget_parent(struct tree *tree)
{
	free(steal_ptr(tree->parent_path));
	if (tree->parent_fd >= 0)
		close(steal_fd(&tree->parent_fd));
}

/* The directory that @path is in, as a borrowed descriptor, and the last component. */
static int find_parent(struct tree *tree, const char *path, int *fd, const char **name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	int r;

	if (!parent)
		return -ENOMEM;
	*name = slash ? slash + 1 : path;
	if (!tree->parent_path || strcmp(tree->parent_path, parent)) {
		forget_parent(tree);
		r = open_dir(tree, parent, &tree->parent_fd);
		if (!r)
			r = tree_remember_ancestors(tree, parent);
		if (r)
			return r;
		tree->parent_path = steal_ptr(parent);
	}
	*fd = tree->parent_fd;
	return 0;
}

/* ---- entries ---- */

static int make_regular(struct tree *tree, const struct tree_entry *entry, int dir_fd,
			const char *name)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), r;
	bool is_stub = false;
	struct stub stub;

	if (fd < 0)
		return -errno;
	r = tree_write_content(tree, entry, fd, &stub, &is_stub);
	if (!r)
		r = tree_set_metadata(tree, entry, dir_fd, name);
	if (!r && is_stub && tree->kind == TREE_TWIN)
		r = tree_make_metacopy(fd, &stub);
	return close(fd) && !r ? -errno : r;
}

static int make_hardlink(struct tree *tree, const struct tree_entry *entry, int dir_fd,
			 const char *name)
{
	cleanup_free char *target = NULL, *target_dir = NULL;
	cleanup_close int target_fd = -1;
	const char *slash;
	int r = clean_path(entry->hardlink, &target);

	if (r)
		return r;
	slash = strrchr(target, '/');
	target_dir = strndup(target, slash ? (size_t)(slash - target) : 0);
	if (!target_dir)
		return -ENOMEM;
	target_fd = tree_open(tree, target_dir, O_PATH | O_DIRECTORY, 0);
	if (target_fd < 0)
		return target_fd;
	return linkat(target_fd, slash ? slash + 1 : target, dir_fd, name, 0) ? -errno : 0;
}

static int make_node(struct tree *tree, const struct tree_entry *entry, int dir_fd,
		     const char *name)
{
	mode_t type = entry->st.st_mode & S_IFMT;

	if (entry->hardlink)
		return make_hardlink(tree, entry, dir_fd, name);
	switch (type) {
	case S_IFREG:
		return make_regular(tree, entry, dir_fd, name);
	case S_IFLNK:
		return symlinkat(entry->link_target, dir_fd, name) ? -errno : 0;
	case S_IFCHR:
		if (entry->st.st_rdev == makedev(0, 0) && tree->kind == TREE_TWIN)
			return -EINVAL; /* overlayfs would take it for a whiteout */
					/* fall through */
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return mknodat(dir_fd, name, type | 0600, entry->st.st_rdev) ? -errno : 0;
	default:
		return -EINVAL;
	}
}

static int add_root(struct tree *tree, const struct tree_entry *entry)
{
	int r;

	if (!S_ISDIR(entry->st.st_mode))
		return -EINVAL;
	tree->have_root = true;
	r = tree_clear_xattrs(tree->root_fd, ".");
	if (!r)
		r = tree_set_metadata(tree, entry, tree->root_fd, ".");
	return r ? r : tree_remember_times(tree, "", &entry->st.st_mtim);
}

static int add(struct tree *tree, const struct tree_entry *entry, const char *path)
{
	const char *name;
	int dir_fd, r;

	if (!*path)
		return add_root(tree, entry);
	r = find_parent(tree, path, &dir_fd, &name);
	if (r)
		return r;
	if (!strncmp(name, WHITEOUT_PREFIX, strlen(WHITEOUT_PREFIX)))
		return tree_add_whiteout(tree, dir_fd, path, name);
	r = tree_remember_path(tree, path);
	if (r)
		return r;
	if (S_ISDIR(entry->st.st_mode) && !entry->hardlink) {
		r = make_directory(tree, dir_fd, name);
		if (!r)
			r = tree_remember_times(tree, path, &entry->st.st_mtim);
	} else {
		r = make_node(tree, entry, dir_fd, name);
		if (r == -EEXIST) {
			r = remove_tree_at(dir_fd, name);
			if (!r)
				r = make_node(tree, entry, dir_fd, name);
		}
	}
	/* Regular files have theirs already, before their last attributes. */
	if (r || entry->hardlink || S_ISREG(entry->st.st_mode))
		return r;
	return tree_set_metadata(tree, entry, dir_fd, name);
}

int tree_add(struct tree *tree, const struct tree_entry *entry, struct problem *problem)
{
	cleanup_free char *path = NULL;
	char shown[512];
	int r = clean_path(entry->path, &path);

	if (!r && entry->st.st_size < 0)
		r = -EBADMSG;
	if (!r)
		r = add(tree, entry, path);
	if (!r)
		return 0;
	log_escape(shown, sizeof(shown), entry->path, strlen(entry->path));
	if (entry->st.st_size < 0)
		return problem_set(problem, r, "entry '%s': its size is negative", shown);
	if (tree->full)
		return problem_set(problem, r,
				   "entry '%s' is refused: the names of directories so far take "
				   "%d MiB of memory",
				   shown, TREE_MEMORY_MAX >> 20);
	if (r == -EINVAL)
		return problem_set(problem, r,
				   "entry '%s' is refused: its path or type cannot be represented",
				   shown);
	return problem_set(problem, r, "entry '%s': %s", shown, strerror(-r));
}

/* Layers rarely have an entry for the root. */
static int finish_root(struct tree *tree)
{
	struct timespec mtime = { 0 };
	int r = 0;

	if (tree->have_root || !tree->n_layers)
		return 0;
	if (fchmod(tree->root_fd, 0755))
		return -errno;
	if (tree->kind == TREE_TWIN)
		r = tree_inherit(tree, ".", &mtime);
	return r ? r : tree_remember_times(tree, "", &mtime);
}

int tree_finish(struct tree *tree, struct problem *problem)
{
	int r = finish_root(tree);

	if (r)
		return problem_set(problem, r, "root directory: %s", strerror(-r));
	forget_parent(tree);
	return tree_set_times(tree, problem);
}

void tree_set_lower(struct tree *tree, int layers_fd, const json_t *lower)
{
	tree->layers_fd = layers_fd;
	tree->lower = lower;
}

struct tree *tree_new(int root_fd, enum tree_kind kind)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return NULL;
	tree->root_fd = root_fd;
	tree->kind = kind;
	tree->parent_fd = -1;
	tree->table = stubtable_builder_new();
	if (!tree->table) {
		tree_free(tree);
		return NULL;
	}
	return tree;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	forget_parent(tree);
	for (size_t i = 0; i < tree->n_hints; i++)
		free(tree->hints[i]);
	tdestroy(tree->own_paths, free);
	tdestroy(tree->dirs, free);
	stubtable_builder_free(tree->table);
	free(tree);
}
