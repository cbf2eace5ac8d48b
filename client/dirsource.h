/* SPDX-License-Identifier: Apache-2.0 */
/* A plain root directory as the only layer of an image (dir:PATH). */
#pragma once

#include "lib/digest.h"

struct problem;

/**
 * dir_source_write() - the tree under @path as one tar stream.
 * Sorted by name, so that the same tree gives the same bytes. Owners are numbers; times have
 * nanoseconds; hard links, devices, xattrs, ACLs (system.posix_acl_*) and file capabilities
 * are kept, holes are written as zeros. Left out: sockets, what is mounted inside (its mount
 * point stays), and xattrs that belong to this host (security.selinux, trusted.overlay.*).
 * Return: 0; -errno with @problem that names the file; what @sink said.
 */
int dir_source_write(const char *path, int (*sink)(void *context, const void *bytes, size_t len),
		     void *context, struct problem *problem) must_check;

/**
 * dir_source_config() - an image config for the layer @diff_id.
 * @base: JSON of one to start from, or NULL: "os" and "architecture" of this host.
 * Return: its text, which the caller frees, or NULL with @problem.
 */
char *dir_source_config(const char *base, size_t base_len, const struct digest *diff_id,
			size_t *lenp, struct problem *problem) must_check;

/** dir_source_manifest() - of the full image: one uncompressed layer. NULL = no memory. */
char *dir_source_manifest(const struct digest *config, uint64_t config_len,
			  const struct digest *diff_id, uint64_t layer_bytes,
			  size_t *lenp) must_check;
