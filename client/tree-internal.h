/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the tree writer share: client/tree.c paths and entries, tree-content.c bytes,
 * tree-memory.c names and times until the end, tree-whiteout.c what layers hide, tree-lower.c
 * what lower layers show, tree-stub.c stubs and tables, tree-metadata.c owners, attributes,
 * times.
 */
#pragma once

#include "client/tree.h"

#define OVERLAY_XATTR "trusted.overlay."
#define WHITEOUT_PREFIX ".wh."

enum { TREE_HINTS_MAX = 64, TREE_MEMORY_MAX = 512 << 20 };

/* The last entry of a directory counts, and of two names of one directory the later entry. */
struct dir_times {
	struct timespec mtime;
	uint64_t serial;
	char path[];
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
	void *dirs; /* tsearch(3) of struct dir_times */
	size_t n_dirs;
	uint64_t dir_serial;
	void *own_paths; /* tsearch(3) of what the present layer brought; only above a first one */
	size_t dir_bytes, own_bytes; /* memory for both, at most TREE_MEMORY_MAX together */
	bool full;		     /* it would have been more */
	struct stubtable_builder *table;
	uint64_t n_stubs, stub_bytes;
	char *hints[TREE_HINTS_MAX];
	size_t n_hints;
};

/**
 * tree_open() - a path inside the tree, whatever links it goes through. @flags as for open(2),
 * @resolve as for openat2(2). Return: a descriptor or negative errno.
 */
int tree_open(const struct tree *tree, const char *path, uint64_t flags,
	      uint64_t resolve) must_check;

/**
 * tree_remember_path() - the present layer brought it; tree_remember_ancestors() - and the
 * directories above; tree_remember_times() - what a directory's time is to be at the end.
 * Return: 0, -ENOMEM, or -E2BIG with tree->full.
 */
int tree_remember_path(struct tree *tree, const char *path) must_check;
int tree_remember_ancestors(struct tree *tree, const char *path) must_check;
int tree_remember_times(struct tree *tree, const char *path,
			const struct timespec *mtime) must_check;

/** tree_set_times() - of all directories, after the last entry. */
int tree_set_times(const struct tree *tree, struct problem *problem) must_check;

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
