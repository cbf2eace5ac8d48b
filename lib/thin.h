/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thinning a layer and back (FORMAT.md 3): a tar stream goes in, a tar stream comes out in
 * which files are stubs, or in which stubs are files again. The second undoes the first bit
 * for bit; an entry for which that cannot be is left whole.
 *
 * No network and no images here: where contents go to and come from is the handler's.
 */
#pragma once

#include "lib/spool.h"
#include "lib/stub.h"
#include "lib/tarstream.h"

struct thin_options {
	uint64_t inline_max; /* files up to this many bytes stay in the layer */
	/*
	 * Of these, files above this many bytes that look compressed become stubs all the
	 * same: they would not shrink in the layer. On a Debian root file system 1,100 small
	 * .gz files were two thirds of the thin layer.
	 */
	uint64_t inline_packed_max;
	const char *url;      /* hint for the stubs where it fits; NULL: none */
	const char *temp_dir; /* for spool_new() */
};

enum { THIN_INLINE_DEFAULT = 4096, THIN_INLINE_PACKED_DEFAULT = 1024 };

struct thin_counts {
	uint64_t n_stubs;
	uint64_t stub_bytes; /* content the stubs stand for, duplicates counted */
	uint64_t n_whole;    /* files above the threshold that had to stay whole */
	uint64_t whole_bytes;
};

/* Each returns 0 or a negative errno that ends the run and is passed up. */
struct thin_handler {
	/* The next bytes of the thin layer. */
	int (*output)(void *context, const void *bytes, size_t len);
	/* A content some stub names; moved out of @content by who wants it. */
	int (*blob)(void *context, struct content *content);
};

/**
 * thin_looks_packed() - are the bytes spread as evenly as those of compressed or encrypted
 * data? Integers only, so that the same file gets the same answer everywhere.
 */
bool thin_looks_packed(const void *bytes, size_t len);

struct thinner;

/** thinner_new() - @options and @handler are borrowed. Free with thinner_free(). */
int thinner_new(const struct thin_options *options, const struct thin_handler *handler,
		void *context, struct thinner **out, struct problem *problem) must_check;
void thinner_free(struct thinner *thinner);

/**
 * thinner_feed() - the next bytes of the full layer, uncompressed.
 * Return: 0; -EBADMSG with @problem (not a tar archive; an entry that would be taken for a
 * stub and cannot be made one); -errno of temporary files or of the handler.
 */
int thinner_feed(struct thinner *thinner, const void *bytes, size_t len,
		 struct problem *problem) must_check;

/** thinner_finish() - that was all. Return: as thinner_feed(). */
int thinner_finish(struct thinner *thinner, struct problem *problem) must_check;

void thinner_counts(const struct thinner *thinner, struct thin_counts *out);

/** thinner_path() - of the entry at hand, for messages. Borrowed. */
const char *thinner_path(const struct thinner *thinner);

struct thick_handler {
	int (*output)(void *context, const void *bytes, size_t len);
	/* Here follow the stub->size_bytes bytes of this content. @path: for messages. */
	int (*blob)(void *context, const struct stub *stub, const char *path);
};

struct thickener;

/** thickener_new() - @handler is borrowed. NULL = no memory. Free with thickener_free(). */
struct thickener *thickener_new(const struct thick_handler *handler, void *context) must_check;
void thickener_free(struct thickener *thickener);

/** thickener_feed(), thickener_finish() - as the thinner's. */
int thickener_feed(struct thickener *thickener, const void *bytes, size_t len,
		   struct problem *problem) must_check;
int thickener_finish(struct thickener *thickener, struct problem *problem) must_check;
