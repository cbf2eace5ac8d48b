/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the entries of layers into a directory, safely: every path is resolved inside the
 * tree (openat2 RESOLVE_IN_ROOT), nothing outside is ever touched, whatever an image says.
 *
 * TREE_TWIN: one layer in overlayfs form. A stub becomes an empty file of the real size with
 *   trusted.overlay.metacopy and .redirect; whiteouts become 0/0 devices; an opaque
 *   directory gets trusted.overlay.opaque.
 * TREE_STUBS: layers one over the other in one tree; stubs stay the text they are, whiteouts
 *   take away what earlier layers brought.
 *
 * trusted.overlay.* attributes of an image's own are dropped: an image must not steer
 * overlayfs. One tree belongs to one thread.
 */
#pragma once

#include <sys/stat.h>

#include "lib/json.h"
#include "lib/stub.h"
#include "lib/stubtable.h"

struct problem;
struct tree;

enum tree_kind { TREE_TWIN, TREE_STUBS };

struct tree_xattr {
	const char *name;
	const void *value;
	size_t size;
};

/* What is common to all kinds of entries. Strings are borrowed for the call. */
struct tree_entry {
	const char *path;	 /* relative; leading "/" and "./" are fine, ".." is refused */
	struct stat st;		 /* st_mode with type, st_uid, st_gid, st_rdev, st_size, st_mtim */
	const char *link_target; /* of a symbolic link */
	const char *hardlink;	 /* path of an earlier entry, or NULL */
	const struct tree_xattr *xattrs;
	size_t n_xattrs;
	const char *acl_access, *acl_default; /* text form, or NULL */
	/*
	 * Content of a regular file: called until it gives 0. *@bytes at *@off are the next
	 * piece (offsets only rise; what is left out is a hole). Return: 1, 0, -errno.
	 */
	int (*read)(void *context, const void **bytes, size_t *len, off_t *off);
	void *context;
};

/**
 * tree_new() - write below the directory @root_fd (borrowed).
 * Return: NULL without memory. Free with tree_free().
 */
struct tree *tree_new(int root_fd, enum tree_kind kind) must_check;
void tree_free(struct tree *tree);

/**
 * tree_set_lower() - the twins below a TREE_TWIN: an array of names in @layers_fd, the lowest
 * first. Directories that the layer brings without an entry of their own get owner, mode,
 * attributes and time from there. Both are borrowed.
 */
void tree_set_lower(struct tree *tree, int layers_fd, const json_t *lower);

/** tree_copy_metadata() - owner, mode, attributes and time of one entry to another, both existing.
 */
int tree_copy_metadata(int from_fd, const char *from_name, int to_fd, const char *to_name,
		       const struct stat *st) must_check;

/** tree_begin_layer() - what comes now is one layer, above the earlier ones. */
void tree_begin_layer(struct tree *tree);

/**
 * tree_add() - one entry. A later entry replaces an earlier one with its name.
 * Return: 0, or negative errno with @problem that names the entry.
 */
int tree_add(struct tree *tree, const struct tree_entry *entry, struct problem *problem) must_check;

/** tree_finish() - after the last entry: times of directories. */
int tree_finish(struct tree *tree, struct problem *problem) must_check;

/** tree_write_tables() - the files "stubs" and "urls" about what was added, into @dirfd. */
int tree_write_tables(struct tree *tree, int dirfd) must_check;

/** tree_note_stub() - count a stub that is not written here (a twin's original). */
int tree_note_stub(struct tree *tree, const struct stub *stub) must_check;

/**
 * tree_make_metacopy() - @fd, an empty file whose metadata is set otherwise, becomes the twin
 * of @stub. Last of all: so its attributes are listed in the order that the image gave them.
 * Its size has to be set before (a file's capabilities go when its size changes).
 */
int tree_make_metacopy(int fd, const struct stub *stub) must_check;

/** tree_stub_count(), tree_stub_bytes() - stubs added so far, and the content they stand for. */
uint64_t tree_stub_count(const struct tree *tree);
uint64_t tree_stub_bytes(const struct tree *tree);
