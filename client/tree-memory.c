/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what is remembered of a layer by name until its end, and how much that may be. */
#include "client/tree-internal.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>

#include "lib/log.h"

enum { NODE_BYTES = 96 };

/* ---- what this layer brought ---- */

int tree_compare_paths(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* An image must not take all memory by names. @bytes: the counter that another path goes to. */
static int charge(struct tree *tree, size_t *bytes, const char *path)
{
	size_t more = strlen(path) + NODE_BYTES;

	if (tree->dir_bytes + tree->own_bytes + more > TREE_MEMORY_MAX) {
		tree->full = true;
		return -E2BIG;
	}
	*bytes += more;
	return 0;
}

int tree_remember_path(struct tree *tree, const char *path)
{
	char *copy, **found;
	int r;

	if (tree->kind != TREE_STUBS || tree->n_layers < 2 ||
	    tfind(path, &tree->own_paths, tree_compare_paths))
		return 0;
	r = charge(tree, &tree->own_bytes, path);
	if (r)
		return r;
	copy = strdup(path);
	found = copy ? tsearch(copy, &tree->own_paths, tree_compare_paths) : NULL;
	if (!found || *found != copy)
		free(copy);
	return found ? 0 : -ENOMEM;
}

/* The directories that an entry is in are the layer's own, too, also where they were before. */
int tree_remember_ancestors(struct tree *tree, const char *path)
{
	cleanup_free char *prefix = strdup(path);
	int r = prefix ? 0 : -ENOMEM;

	while (!r && *prefix) {
		char *slash = strrchr(prefix, '/');

		r = tree_remember_path(tree, prefix);
		*(slash ? slash : prefix) = '\0';
	}
	return r;
}

void tree_begin_layer(struct tree *tree)
{
	tdestroy(tree->own_paths, free);
	tree->own_paths = NULL;
	tree->own_bytes = 0;
	tree->n_layers++;
}

/* ---- times of directories ---- */

static int compare_dirs(const void *a, const void *b)
{
	const struct dir_times *x = a, *y = b;

	return strcmp(x->path, y->path);
}

int tree_remember_times(struct tree *tree, const char *path, const struct timespec *mtime)
{
	struct dir_times *dir = calloc(1, sizeof(*dir) + strlen(path) + 1), **found;
	int r = 0;

	if (!dir)
		return -ENOMEM;
	memcpy(dir->path, path, strlen(path) + 1);
	found = tsearch(dir, &tree->dirs, compare_dirs);
	if (!found || *found != dir)
		free(dir);
	if (!found)
		return -ENOMEM;
	if (*found == dir) {
		tree->n_dirs++;
		r = charge(tree, &tree->dir_bytes, path);
	}
	(*found)->mtime = *mtime;
	(*found)->serial = tree->dir_serial++;
	return r;
}

struct dir_list {
	const struct dir_times **dirs;
	size_t n;
};

static void list_dir(const void *node, VISIT which, void *closure)
{
	struct dir_list *list = closure;

	if (which == postorder || which == leaf)
		list->dirs[list->n++] = *(struct dir_times *const *)node;
}

static int compare_serials(const void *a, const void *b)
{
	const struct dir_times *const *x = a, *const *y = b;

	return (*x)->serial < (*y)->serial ? -1 : (*x)->serial > (*y)->serial;
}

static int set_times(const struct tree *tree, const struct dir_times *dir)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, dir->mtime };
	cleanup_close int fd = tree_open(tree, dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	/* Gone: a later entry replaced it. */
	return fd >= 0 && futimens(fd, times) ? -errno : 0;
}

int tree_set_times(const struct tree *tree, struct problem *problem)
{
	cleanup_free const struct dir_times **dirs =
		calloc(tree->n_dirs + 1, sizeof(struct dir_times *));
	struct dir_list list = { .dirs = dirs };
	int r;

	if (!dirs)
		return -ENOMEM;
	twalk_r(tree->dirs, list_dir, &list);
	qsort(dirs, list.n, sizeof(*dirs), compare_serials);
	for (size_t i = 0; i < list.n; i++) {
		r = set_times(tree, dirs[i]);
		if (r)
			return problem_set(problem, r, "times of directory '%s': %s", dirs[i]->path,
					   strerror(-r));
	}
	return 0;
}
