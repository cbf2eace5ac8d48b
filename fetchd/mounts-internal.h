/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two files of mounts share: fetchd/mounts.c has mounts and their records,
 * fetchd/images.c the images behind them.
 */
#pragma once

#include "fetchd/miss.h"
#include "fetchd/mounts.h"

struct stubtable;

enum {
	IMAGE_HINTS_MAX = 64,
	RECORD_MAX_BYTES = 256 * 1024,
	NAME_LEN_MAX = 60, /* of an id: also the name of a kept descriptor */
};

struct image {
	struct mounts *mounts; /* borrowed */
	char *id;
	struct stubtable **tables;
	size_t n_tables;
	char *hints[IMAGE_HINTS_MAX]; /* owned: URLs found in stubs */
	size_t n_hints;
	struct miss *miss;
	char *miss_path;
	unsigned int refs;
	struct image *next;
};

struct mount {
	char *id;
	json_t *record;
	struct image *image;
	struct source_list sources; /* named by the one who mounted it */
	struct mount *next;
};

struct mounts {
	struct mounts_options options;
	int layers_fd, records_fd;
	struct image *images;
	struct mount *list;
};

/** image_get() - the image that a record names, one reference more; loaded where it is new. */
int image_get(struct mounts *mounts, const json_t *record, struct image **out,
	      struct problem *problem) must_check;

/** image_unref() - the last one takes the miss layer along. */
void image_unref(struct image *image);

/** image_find() - by id, or NULL. Borrowed. */
struct image *image_find(const struct mounts *mounts, const char *id);

/** image_sources() - adds where a blob of this image may be. */
int image_sources(const struct image *image, const struct digest *digest,
		  struct source_list *sources) must_check;

/** image_miss_options() - for its miss layer. Borrows from @image. */
struct miss_options image_miss_options(struct image *image);
