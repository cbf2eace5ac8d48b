/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OCI image layout (OCI image specification, "Image Layout"): a directory, or a tar of
 * one that is read in place. lib/image.h is what programs use.
 *
 * What is written stays under a private name in the layout until layout_publish(): then it is
 * synced, moved to blobs/, and index.json is replaced last. So a name in blobs/ is always a
 * complete blob and a tag always has what it names, also after a power cut.
 */
#pragma once

#include "lib/oci.h"
#include "lib/registry.h"

struct layout;

/** layout_open() - read the directory @path. Free with layout_close(). */
int layout_open(const char *path, struct layout **out, struct problem *problem) must_check;

/** layout_open_archive() - read the tar file @path, uncompressed, with random access. */
int layout_open_archive(const char *path, struct layout **out, struct problem *problem) must_check;

/** layout_create() - open @path for writing; what is missing of a layout is created. */
int layout_create(const char *path, struct layout **out, struct problem *problem) must_check;

/** layout_ref() - for another thread. All functions but close may run in several threads. */
struct layout *layout_ref(struct layout *layout);
void layout_close(struct layout *layout);

/* Where the bytes of a blob are: in @fd (owned by who asked) from @off on. */
struct layout_blob {
	int fd;
	uint64_t off, size_bytes;
};

/** layout_open_blob() - Return: 0, -ENOENT, or -errno. */
int layout_open_blob(struct layout *layout, const struct digest *digest,
		     struct layout_blob *out) must_check;

/**
 * layout_put_blob() - @size_bytes of @fd from offset 0. One that exists is not an error.
 * An unnamed file (O_TMPFILE) on the layout's file system is linked, not copied: the caller
 * writes to it no more.
 */
int layout_put_blob(struct layout *layout, const struct digest *digest, int fd, uint64_t size_bytes,
		    struct problem *problem) must_check;

/** layout_put_bytes() - the same, from memory. */
int layout_put_bytes(struct layout *layout, const struct digest *digest, const void *bytes,
		     size_t len, struct problem *problem) must_check;

/**
 * layout_get_manifest() - @version: a digest, a tag of index.json, or NULL for the only entry.
 * Return: 0; -ENOENT with @problem that lists the tags; -EBADMSG.
 */
int layout_get_manifest(struct layout *layout, const char *version, struct registry_manifest *out,
			struct problem *problem) must_check;

/**
 * layout_publish() - everything written so far gets its name; then, with @tag, index.json
 * gets an entry in place of the one with that tag. Other entries are kept.
 */
int layout_publish(struct layout *layout, const char *tag, const char *media_type,
		   const struct digest *digest, uint64_t size_bytes,
		   struct problem *problem) must_check;

/** layout_write_archive() - the published layout in directory @dir as a tar on @fd. */
int layout_write_archive(const char *dir, int fd, struct problem *problem) must_check;
