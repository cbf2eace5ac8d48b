/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the choice between a registry and an OCI layout; the work is theirs. A clone shares the
 * layout (which any thread may use) but has a registry client of its own.
 */
#include "lib/image.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/layout.h"
#include "lib/log.h"

/* Copied, since a clone needs them after the caller's are gone. */
struct options {
	struct registry_options registry;
	char *auth_file, *ca_file; /* owned */
};

struct image_store {
	struct reference reference; /* owned */
	enum image_access access;
	struct options options;
	struct registry *registry; /* owned; docker */
	struct layout *layout;	   /* owned; oci, oci-archive */
	char *temp_dir;		   /* owned; an archive being written, not by a clone */
};

static int copy_reference(const struct reference *from, struct reference *to)
{
	cleanup_free char *text = reference_format(from);

	return text ? reference_parse(text, to, NULL) : -ENOMEM;
}

static int copy_options(const struct registry_options *from, struct options *to)
{
	if (!from)
		return 0;
	to->registry = *from;
	if (from->auth_file && !(to->auth_file = strdup(from->auth_file)))
		return -ENOMEM;
	if (from->ca_file && !(to->ca_file = strdup(from->ca_file)))
		return -ENOMEM;
	to->registry.auth_file = to->auth_file;
	to->registry.ca_file = to->ca_file;
	return 0;
}

/* The archive is built beside its place, so that the last step is a rename. */
static int create_archive(struct image_store *store, struct problem *problem)
{
	const char *path = store->reference.path;
	struct stat st;
	int r;

	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return problem_set(problem, -EEXIST, "OCI archive %s exists and is no file", path);
	store->temp_dir = format_text("%s.new-XXXXXX", path);
	if (!store->temp_dir)
		return -ENOMEM;
	if (!mkdtemp(store->temp_dir)) {
		r = problem_set(problem, -errno,
				"OCI archive %s: temporary directory beside it: %s", path,
				strerror(errno));
		free(steal_ptr(store->temp_dir));
		return r;
	}
	return layout_create(store->temp_dir, &store->layout, problem);
}

static int connect_store(struct image_store *store, struct problem *problem)
{
	const struct reference *reference = &store->reference;
	bool write = store->access == IMAGE_WRITE;

	switch (reference->transport) {
	case REFERENCE_DOCKER:
		return registry_new(&store->options.registry, &store->registry, problem);
	case REFERENCE_OCI:
		return write ? layout_create(reference->path, &store->layout, problem)
			     : layout_open(reference->path, &store->layout, problem);
	case REFERENCE_OCI_ARCHIVE:
		return write ? create_archive(store, problem)
			     : layout_open_archive(reference->path, &store->layout, problem);
	case REFERENCE_DIR:
		break;
	}
	return problem_set(problem, -EINVAL,
			   "dir:%s is a plain directory, not a place for images; name one as "
			   "docker://HOST/REPO:TAG, oci:DIR:TAG or oci-archive:FILE:TAG",
			   reference->path);
}

int image_store_open(const struct reference *reference, enum image_access access,
		     const struct registry_options *options, struct image_store **out,
		     struct problem *problem)
{
	struct image_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->access = access;
	r = copy_reference(reference, &store->reference);
	if (!r)
		r = copy_options(options, &store->options);
	if (!r)
		r = connect_store(store, problem);
	if (r) {
		image_store_close(store);
		return r;
	}
	*out = store;
	return 0;
}

int image_store_clone(struct image_store *store, struct image_store **out, struct problem *problem)
{
	struct image_store *clone;
	int r;

	if (!store->layout)
		return image_store_open(&store->reference, store->access, &store->options.registry,
					out, problem);
	clone = calloc(1, sizeof(*clone));
	if (!clone)
		return -ENOMEM;
	clone->access = store->access;
	clone->layout = layout_ref(store->layout);
	r = copy_reference(&store->reference, &clone->reference);
	if (r) {
		image_store_close(clone);
		return r;
	}
	*out = clone;
	return 0;
}

static int write_archive(struct image_store *store, const char *temp, struct problem *problem)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), r;

	if (fd < 0)
		return problem_set(problem, -errno, "%s: %s", temp, strerror(errno));
	r = layout_write_archive(store->temp_dir, fd, problem);
	if (!r && fsync(fd))
		r = problem_set(problem, -errno, "%s: %s", temp, strerror(errno));
	if (close(fd) && !r)
		r = problem_set(problem, -errno, "%s: %s", temp, strerror(errno));
	if (!r && rename(temp, store->reference.path))
		r = problem_set(problem, -errno, "%s: %s", store->reference.path, strerror(errno));
	if (r)
		unlink(temp);
	return r;
}

int image_store_finish(struct image_store *store, struct problem *problem)
{
	cleanup_free char *temp = NULL;
	int r;

	if (!store->layout || store->access != IMAGE_WRITE)
		return 0;
	r = layout_publish(store->layout, NULL, NULL, NULL, 0, problem);
	if (r || !store->temp_dir)
		return r;
	temp = format_text("%s.tar", store->temp_dir);
	return temp ? write_archive(store, temp, problem) : -ENOMEM;
}

void image_store_close(struct image_store *store)
{
	if (!store)
		return;
	registry_free(store->registry);
	layout_close(store->layout);
	if (store->temp_dir && remove_tree_at(AT_FDCWD, store->temp_dir))
		log_warning("%s could not be removed", store->temp_dir);
	free(store->temp_dir);
	free(store->options.auth_file);
	free(store->options.ca_file);
	reference_free(&store->reference);
	free(store);
}

int image_get_manifest(struct image_store *store, const char *version,
		       struct registry_manifest *out, struct problem *problem)
{
	const struct reference *reference = &store->reference;
	char buffer[DIGEST_TEXT_SIZE];

	if (!version)
		version = reference_version(reference, buffer);
	if (store->layout)
		return layout_get_manifest(store->layout, version, out, problem);
	return registry_get_manifest(store->registry, reference->host, reference->repository,
				     version, out, problem);
}

int image_get_referrers(struct image_store *store, const struct digest *subject,
			struct registry_manifest *out, struct problem *problem)
{
	const struct reference *reference = &store->reference;

	if (store->layout)
		return problem_set(problem, -ENOENT, "an OCI layout has no list of referrers");
	return registry_get_referrers(store->registry, reference->host, reference->repository,
				      subject, out, problem);
}

/* A manifest of a layout is a blob like others. */
static int put_layout_manifest(struct image_store *store, const char *tag, const char *media_type,
			       const void *bytes, size_t len, struct problem *problem)
{
	struct digest digest;
	int r = digest_compute(DIGEST_SHA256, bytes, len, &digest);

	if (!r)
		r = layout_put_bytes(store->layout, &digest, bytes, len, problem);
	if (r || !tag)
		return r;
	return layout_publish(store->layout, tag, media_type, &digest, len, problem);
}

int image_put_manifest(struct image_store *store, const char *tag, const char *media_type,
		       const void *bytes, size_t len, struct problem *problem)
{
	const struct reference *reference = &store->reference;
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int r;

	if (store->layout)
		return put_layout_manifest(store, tag, media_type, bytes, len, problem);
	r = digest_compute(DIGEST_SHA256, bytes, len, &digest);
	if (r)
		return r;
	return registry_put_manifest(store->registry, reference->host, reference->repository,
				     tag ? tag : digest_format(&digest, text), media_type, bytes,
				     len, problem);
}

int image_has_blob(struct image_store *store, const struct digest *digest, struct problem *problem)
{
	const struct reference *reference = &store->reference;
	struct layout_blob blob;
	int r;

	if (!store->layout)
		return registry_has_blob(store->registry, reference->host, reference->repository,
					 digest, problem);
	r = layout_open_blob(store->layout, digest, &blob);
	if (r == -ENOENT)
		return 0;
	if (r)
		return problem_set(problem, r, "%s: %s", reference->path, strerror(-r));
	close(blob.fd);
	return 1;
}

int image_put_blob(struct image_store *store, const struct digest *digest, int fd,
		   uint64_t size_bytes, void (*progress)(void *context, int64_t bytes),
		   void *context, struct problem *problem)
{
	const struct reference *reference = &store->reference;
	int r;

	if (!store->layout)
		return registry_put_blob(store->registry, reference->host, reference->repository,
					 digest, fd, size_bytes, progress, context, problem);
	r = layout_put_blob(store->layout, digest, fd, size_bytes, problem);
	if (!r && progress)
		progress(context, (int64_t)size_bytes);
	return r;
}

int image_put_bytes(struct image_store *store, const struct digest *digest, const void *bytes,
		    size_t len, struct problem *problem)
{
	int fd, r;

	if (store->layout)
		return layout_put_bytes(store->layout, digest, bytes, len, problem);
	fd = memfd_create("blob", MFD_CLOEXEC);
	if (fd < 0)
		return problem_set(problem, -errno, "memory for a blob: %s", strerror(errno));
	r = write_all(fd, bytes, len);
	if (!r)
		r = image_put_blob(store, digest, fd, len, NULL, NULL, problem);
	close(fd);
	return r;
}

const char *image_temp_dir(const struct image_store *store)
{
	return store->temp_dir ? store->temp_dir : store->layout ? store->reference.path : NULL;
}

/* Bytes of a layout's blob into the sink, hashed on the way. */
static int send_blob(const struct layout_blob *blob, struct hasher *hasher, registry_sink sink,
		     void *context, struct problem *problem)
{
	enum { PIECE_BYTES = 256 * 1024 };
	cleanup_free char *piece = malloc(PIECE_BYTES);
	uint64_t done = 0;

	if (!piece)
		return -ENOMEM;
	while (done < blob->size_bytes) {
		uint64_t left = blob->size_bytes - done;
		ssize_t n = pread(blob->fd, piece, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES,
				  (off_t)(blob->off + done));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return problem_set(problem, n < 0 ? -errno : -EIO, "read: %s",
					   n < 0 ? strerror(errno) : "the file is cut off");
		hasher_update(hasher, piece, (size_t)n);
		r = sink(context, piece, (size_t)n);
		if (r)
			return r;
		done += (uint64_t)n;
	}
	return 0;
}

static int get_layout_blob(struct image_store *store, const struct digest *digest,
			   uint64_t size_bytes, registry_sink sink, void *context,
			   struct problem *problem)
{
	cleanup_hasher struct hasher *hasher = hasher_new(digest->algorithm);
	const char *path = store->reference.path;
	struct layout_blob blob = { .fd = -1 };
	char text[DIGEST_TEXT_SIZE];
	struct digest actual;
	int r = hasher ? layout_open_blob(store->layout, digest, &blob) : -ENOMEM;

	digest_format(digest, text);
	if (r)
		return problem_set(problem, r, "%s: blob %s: %s", path, text, strerror(-r));
	if (blob.size_bytes != size_bytes)
		r = problem_set(problem, -EBADMSG,
				"%s: blob %s has %llu bytes, its descriptor says %llu", path, text,
				(unsigned long long)blob.size_bytes,
				(unsigned long long)size_bytes);
	else
		r = send_blob(&blob, hasher, sink, context, problem);
	close(blob.fd);
	if (r)
		return r;
	hasher_final(hasher, &actual);
	if (!digest_equal(&actual, digest))
		return problem_set(problem, -EBADMSG,
				   "%s: blob %s is damaged: its bytes have another digest", path,
				   text);
	return 0;
}

int image_get_blob(struct image_store *store, const struct digest *digest, uint64_t size_bytes,
		   registry_sink sink, void *context, struct problem *problem)
{
	const struct reference *reference = &store->reference;

	if (store->layout)
		return get_layout_blob(store, digest, size_bytes, sink, context, problem);
	return registry_get_blob(store->registry, reference->host, reference->repository, digest,
				 size_bytes, sink, context, problem);
}

struct small {
	char *bytes;
	size_t len, max;
};

static int add_small(void *context, const void *bytes, size_t len)
{
	struct small *small = context;

	if (len > small->max - small->len)
		return -EFBIG;
	memcpy(small->bytes + small->len, bytes, len);
	small->len += len;
	return 0;
}

int image_get_small_blob(struct image_store *store, const struct digest *digest,
			 uint64_t size_bytes, size_t max_bytes, char **bytesp,
			 struct problem *problem)
{
	struct small small = { .max = (size_t)size_bytes };
	char text[DIGEST_TEXT_SIZE];
	int r;

	if (size_bytes > max_bytes)
		return problem_set(problem, -EFBIG,
				   "blob %s has %llu bytes; at most %zu are read of its kind",
				   digest_format(digest, text), (unsigned long long)size_bytes,
				   max_bytes);
	small.bytes = malloc((size_t)size_bytes + 1);
	if (!small.bytes)
		return -ENOMEM;
	r = image_get_blob(store, digest, size_bytes, add_small, &small, problem);
	if (!r && small.len != size_bytes)
		r = problem_set(problem, -EBADMSG, "blob %s is cut off",
				digest_format(digest, text));
	if (r) {
		free(small.bytes);
		return r;
	}
	small.bytes[small.len] = '\0';
	*bytesp = small.bytes;
	return 0;
}
