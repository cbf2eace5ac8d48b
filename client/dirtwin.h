/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The twin of a directory that contains stubs: its directories, and for each stub an empty
 * file in overlayfs form. Laid over the directory it hides the stubs and nothing else.
 */
#pragma once

#include "client/tree.h"
#include "lib/digest.h"

/**
 * dirtwin_fingerprint() - a digest over names, inode numbers and change times of everything
 * below @dirfd: while it is the same, no file was made, removed or changed.
 */
int dirtwin_fingerprint(int dirfd, struct digest *out, struct problem *problem) must_check;

/**
 * dirtwin_make() - write the twin of @dirfd into the empty directory @twinfd.
 * @tree: gets to know the stubs (tree_note_stub()). A file that cannot be read fails it.
 */
int dirtwin_make(int dirfd, int twinfd, struct tree *tree, struct problem *problem) must_check;
