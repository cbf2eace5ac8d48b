/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Front ends: what turns a prepared image into a directory in which stubs are files
 * (DESIGN.md, "The three front ends"). One table entry each; the commands know no other
 * difference between them than what stands in it.
 */
#pragma once

#include "client/host.h"
#include "client/mountpoint.h"

/* A prepared image: everything is local, nothing is mounted yet. Strings are borrowed. */
struct image_mount {
	const struct host *host;
	const char *id;		 /* of the image */
	const char *path;	 /* where it is to be mounted: RUN/images/ID */
	json_t *layers;		 /* names under STATE/layers, the topmost last */
	const char *lower;	 /* the directory a user named, or NULL for an image by reference */
	const char *miss;	 /* overlay: the miss layer */
	unsigned int timeout_ms; /* 0: fetchd's deadline */
};

struct frontend {
	const char *name;
	const char *summary;
	bool twins; /* needs twins of layers; else one merged stub tree */
	/* Can it be used on this host, now? Return: 0, or -errno with the reason. */
	int (*describe)(struct problem *why_not);
	/* Mount the image read-only at image->path, an empty directory. */
	int (*mount)(const struct image_mount *image, struct problem *problem);
	/* Unmount it again; -EBUSY when in use. */
	int (*umount)(const char *path);
};

extern const struct frontend frontend_overlay, frontend_fuse;

/**
 * frontend_choose() - by name; "auto" takes the first that describe() says can be used.
 * Return: 0 or negative errno with @problem (for auto: the reason of each).
 */
int frontend_choose(const char *name, const struct frontend **out,
		    struct problem *problem) must_check;

/** frontend_overlay_writable() - an ordinary overlay on the image, with whole files above. */
int frontend_overlay_writable(const char *image_path, const char *upper, const char *work,
			      const char *mountpoint, struct problem *problem) must_check;
