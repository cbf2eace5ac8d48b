/* SPDX-License-Identifier: Apache-2.0 */
/* What lib/layout*.c share. */
#pragma once

#include <stdatomic.h>

#include "lib/layout-archive.h"
#include "lib/layout-index.h"

struct layout {
	char *path; /* owned */
	atomic_uint n_refs;
	int dir_fd;			/* owned; -1: an archive */
	struct layout_archive *archive; /* owned; NULL: a directory */
	int stage_fd;			/* owned; -1: opened for reading */
	char stage_name[48];
	bool made_dir, made_layout; /* by this writer: undone when nothing is published */
	bool is_published;
	atomic_uint serial;
};

/** layout_new() - nothing open yet; NULL = no memory. */
struct layout *layout_new(const char *path) must_check;

/** layout_explain() - "OCI layout PATH: NAME: error". Return: @r. */
int layout_explain(const struct layout *layout, int r, const char *name, struct problem *problem);

/** layout_check_version() - of the file oci-layout. */
int layout_check_version(struct layout *layout, struct problem *problem) must_check;

/** layout_end_writing() - remove the stage, and the layout if it is new and still empty. */
void layout_end_writing(struct layout *layout);
