/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where images live: one interface over a registry, an OCI layout directory and an OCI
 * archive. convert, thicken, verify and mount use nothing else.
 */
#pragma once

#include "lib/oci.h"
#include "lib/reference.h"
#include "lib/registry.h"

struct image_store;

enum image_access { IMAGE_READ, IMAGE_WRITE };

/**
 * image_store_open() - the place that @reference names (docker, oci, oci-archive).
 * With IMAGE_WRITE an OCI layout is created where there is none; an archive is written to a
 * temporary directory beside it and appears by rename in image_store_finish().
 * @options: for registries. A store belongs to one thread; open it once per thread for
 * parallel work (image_store_clone()).
 */
int image_store_open(const struct reference *reference, enum image_access access,
		     const struct registry_options *options, struct image_store **out,
		     struct problem *problem) must_check;

/** image_store_clone() - the same place for another thread; shares no connection. */
int image_store_clone(struct image_store *store, struct image_store **out,
		      struct problem *problem) must_check;

/** image_store_finish() - after the last write: an archive gets its name. Then close. */
int image_store_finish(struct image_store *store, struct problem *problem) must_check;

/** image_store_close() - without finish, an archive that was being written is dropped. */
void image_store_close(struct image_store *store);

/**
 * image_get_manifest() - the manifest or index under @version (tag or digest text; NULL:
 * what the reference names). Digests are checked.
 */
int image_get_manifest(struct image_store *store, const char *version,
		       struct registry_manifest *out, struct problem *problem) must_check;

/**
 * image_get_referrers() - an index of what refers to the manifest @subject.
 * Return: 0; -ENOENT (nothing does; always so in an OCI layout); -errno.
 */
int image_get_referrers(struct image_store *store, const struct digest *subject,
			struct registry_manifest *out, struct problem *problem) must_check;

/** image_put_manifest() - under its digest, and under @tag where that is not NULL. */
int image_put_manifest(struct image_store *store, const char *tag, const char *media_type,
		       const void *bytes, size_t len, struct problem *problem) must_check;

/** image_has_blob() - Return: 1, 0 or negative errno. */
int image_has_blob(struct image_store *store, const struct digest *digest,
		   struct problem *problem) must_check;

/** image_put_blob() - @size_bytes of @fd from offset 0; see registry_put_blob(). */
int image_put_blob(struct image_store *store, const struct digest *digest, int fd,
		   uint64_t size_bytes, void (*progress)(void *context, int64_t bytes),
		   void *context, struct problem *problem) must_check;

/** image_put_bytes() - a blob that is in memory. */
int image_put_bytes(struct image_store *store, const struct digest *digest, const void *bytes,
		    size_t len, struct problem *problem) must_check;

/**
 * image_temp_dir() - where temporary files should be so that image_put_blob() need not copy
 * them; NULL where it does not matter. Borrowed.
 */
const char *image_temp_dir(const struct image_store *store);

/** image_get_blob() - see registry_get_blob(); digest and size are checked. */
int image_get_blob(struct image_store *store, const struct digest *digest, uint64_t size_bytes,
		   registry_sink sink, void *context, struct problem *problem) must_check;

/**
 * image_get_small_blob() - a config or the like, whole, at most @max_bytes.
 * *@bytesp is NUL-terminated and freed by the caller.
 */
int image_get_small_blob(struct image_store *store, const struct digest *digest,
			 uint64_t size_bytes, size_t max_bytes, char **bytesp,
			 struct problem *problem) must_check;
