/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inodes the kernel knows of, and how each is reached in the lower tree.
 *
 * A node holds no descriptor (a kernel remembers more inodes than a process may open
 * files): it is its parent and its name, and is opened by its path when it is needed. Hard
 * links are one node, found by (device, inode), so that they are one inode above as well.
 */
#pragma once

#include <sys/stat.h>

#include "lib/stub.h"
#include "lib/util.h"

struct node_table;

/* But for what is marked, all is fixed from birth, and a node outlives its children: readable
 * without the lock by who holds a lookup of it, as every request does. */
struct node {
	struct node *next;   /* in its bucket; under lock */
	struct node *parent; /* NULL for the root; holds one of its n_children */
	dev_t dev;
	ino_t ino;
	uint64_t n_lookups;  /* what the kernel holds; under lock */
	uint64_t n_children; /* under lock */
	/* How it is open just now; under fuse-passthrough.c's lock. */
	uint32_t n_plain, n_passing;
	int backing_id;
	struct stub *stub; /* owned; NULL for an ordinary file */
	char name[];	   /* "." for the root */
};

/** node_table_new() - with the root, for the tree at @root_fd (borrowed). NULL: no memory. */
struct node_table *node_table_new(int root_fd) must_check;
void node_table_free(struct node_table *table);

struct node *node_root(struct node_table *table);

/**
 * node_lookup() - the node of @name in @parent, with one more lookup.
 * @st: what lstat says of it; for a stub, what an application sees is written here.
 * Reads the file where it could be a stub; that failing fails the lookup.
 * Return: 0 or negative errno. Give back with node_forget().
 */
int node_lookup(struct node_table *table, struct node *parent, const char *name, struct node **out,
		struct stat *st) must_check;

/**
 * node_lookup_at() - the same, where @dir_fd is the open directory of @parent already.
 */
int node_lookup_at(struct node_table *table, struct node *parent, int dir_fd, const char *name,
		   struct node **out, struct stat *st) must_check;

/** node_forget() - @n lookups less; without any, the node goes, and so may its parents. */
void node_forget(struct node_table *table, struct node *node, uint64_t n);

/** node_stat() - as an application sees it. */
int node_stat(struct node_table *table, struct node *node, struct stat *st) must_check;

/**
 * node_open_parent() - O_PATH descriptor of the directory in which node->name is; of the
 * root, the root itself. Symbolic links, ".." and mount points on the way are refused.
 * Return: the descriptor or negative errno.
 */
int node_open_parent(const struct node_table *table, const struct node *node) must_check;

/** node_open() - the lower file or directory itself, O_RDONLY. @flags: O_DIRECTORY or 0. */
int node_open(const struct node_table *table, const struct node *node, int flags) must_check;

/** node_path() - for messages: the path below the root. The caller frees it; NULL: no memory. */
char *node_path(const struct node *node) must_check;
