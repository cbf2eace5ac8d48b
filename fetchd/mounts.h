/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered mounts and the images behind them: what stubs they have, where their blobs
 * come from, and the durable records that "intinode mount --restore" reads after a reboot.
 * Loop thread.
 */
#pragma once

#include "fetchd/source.h"
#include "lib/json.h"

struct event_base;
struct fetch_table;
struct keeper;
struct mounts;

struct mounts_options {
	struct event_base *base; /* borrowed, as all of these */
	struct fetch_table *table;
	struct keeper *keeper;
	const struct options *options;
};

/**
 * mounts_open() - read the records under STATE/mounts, and take over the miss layers that
 * are kept from an earlier fetchd. A damaged record is logged and left out.
 */
int mounts_open(const struct mounts_options *options, struct mounts **out,
		struct problem *problem) must_check;

/** mounts_close() - records and miss layers stay for the next fetchd. */
void mounts_close(struct mounts *mounts);

/**
 * mounts_register() - remember a mount durably and make its image's stubs fetchable.
 * @record: "mount" of the control protocol (lib/control.h). Registering an id again
 * replaces its record and mounts a miss layer that is missing.
 * @miss_path: the image's miss layer, borrowed; NULL for front ends that need none.
 * @is_new: set where it was mounted for this, so that an older overlay does not have it.
 * On an error everything is as it was.
 */
int mounts_register(struct mounts *mounts, const json_t *record, const char **miss_path,
		    bool *is_new, struct problem *problem) must_check;

/** mounts_unregister() - forget it; the last mount of an image takes its miss layer along. */
int mounts_unregister(struct mounts *mounts, const char *id, struct problem *problem) must_check;

/** mounts_describe() - an array of the records. NULL = no memory. */
json_t *mounts_describe(const struct mounts *mounts) must_check;

/** mounts_sources() - append the sources of the mount or image @id for @digest. Return: 0, -ENOENT.
 */
int mounts_sources(const struct mounts *mounts, const char *id, const struct digest *digest,
		   struct source_list *sources) must_check;
