/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the tree writer share: client/tree.c paths and entries, tree-content.c bytes,
 * tree-whiteout.c what layers hide, tree-lower.c what lower layers show, tree-stub.c stubs and
 * tables, tree-metadata.c owners, attributes, times.
 */
#pragma once

#include "client/tree.h"

#define OVERLAY_XATTR "trusted.overlay."
#define WHITEOUT_PREFIX ".wh."

enum { TREE_HINTS_MAX = 64 };

struct dir_times {
	char *path;
	struct timespec mtime;
};

struct tree {
	int root_fd; /* borrowed */
	enum tree_kind kind;
	unsigned int n_layers;
	int layers_fd;	     /* borrowed */
	const json_t *lower; /* borrowed: names of the twins below in layers_fd, the lowest first */
	bool have_root;	     /* some entry was the root itself */
	bool default_acls;   /* some directory may have one, which new entries would inherit */
	/* The directory of the last entry: most entries come directory by directory. */
	char *parent_path;
	int parent_fd;
	struct dir_times *dirs;
	size_t n_dirs, max_dirs;
	void *own_paths; /* tsearch(3) of what the present layer brought; only above a first one */
	struct stubtable_builder *table;
	uint64_t n_stubs, stub_bytes;
	char *hints[TREE_HINTS_MAX];
	size_t n_hints;
};

/** tree_compare_paths() - strcmp() for tsearch(3). */
int tree_compare_paths(const void *a, const void *b);

/** tree_add_whiteout() - an entry whose name begins with WHITEOUT_PREFIX. */
int tree_add_whiteout(struct tree *tree, int dir_fd, const char *path, const char *name) must_check;

/** tree_set_opaque() - the directory @name hides what is below it (overlayfs). */
int tree_set_opaque(int dir_fd, const char *name) must_check;

/** tree_clear_xattrs() - before an entry for a directory that is there brings its own. */
int tree_clear_xattrs(int dir_fd, const char *name) must_check;

/**
 * tree_inherit() - the directory @path, new and without an entry, gets the metadata of the
 * one it covers; *@mtime stays where there is none.
 */
int tree_inherit(struct tree *tree, const char *path, struct timespec *mtime) must_check;

/** tree_is_covered() - do the twins below show something at @path? Return: 1, 0, -errno. */
int tree_is_covered(const struct tree *tree, const char *path) must_check;

/** tree_write_content() - the bytes of a regular file; a stub's, in a twin, only as its size. */
int tree_write_content(struct tree *tree, const struct tree_entry *entry, int fd, struct stub *stub,
		       bool *is_stub) must_check;

/** tree_set_metadata() - owner, mode, attributes, ACLs and times of an entry that was made. */
int tree_set_metadata(struct tree *tree, const struct tree_entry *entry, int dir_fd,
		      const char *name) must_check;
