/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what fsck says of manifests and tags. A manifest's link can be made again from the
 * manifest, since its type stands in it; a manifest cannot be made again from anything.
 */
#include <fcntl.h>
#include <string.h>

#include "lib/log.h"
#include "lib/registry.h"
#include "server/fsck-internal.h"
#include "server/manifest.h"
#include "server/quarantine.h"

/* The text that the link of the manifest @bytes should have. Return: 0, -EBADMSG, -errno. */
static int make_link_text(const char *bytes, size_t len, const char *media_type,
			  const struct digest *digest, struct oci_document *document, char **out)
{
	cleanup_manifest_record struct manifest_record record = { .media_type = NULL };
	int r = oci_document_parse(bytes, len, media_type, document, NULL);

	if (r)
		return r == -ENOMEM ? r : -EBADMSG;
	r = manifest_record_make(document, digest, len, &record);
	if (r)
		return r;
	*out = manifest_record_text(&record);
	return *out ? 0 : -ENOMEM;
}

/* As above, by the type that stands in the manifest itself. */
static int make_link_alone(const char *bytes, size_t len, const struct digest *digest, char **out)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_json json_t *value = NULL;
	const char *type;
	int r = json_parse(bytes, len, &value, NULL);

	if (r)
		return r;
	type = json_get_string(value, "mediaType");
	if (!type)
		type = json_object_get(value, "manifests") ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
	return make_link_text(bytes, len, type, digest, &document, out);
}

/*
 * Return: 0: @bytes have this digest; -ENOENT; -EBADMSG: @blob, where it is open, is not the
 * content of this digest; -EFBIG; -errno.
 */
static int read_manifest(struct store *store, const struct digest *digest, struct blob *blob,
			 char **bytes)
{
	struct digest there;
	int r = store_open_blob(store, digest, blob);

	if (!r)
		r = blob_read_all(blob, MANIFEST_SIZE_MAX, bytes);
	if (!r)
		r = digest_compute(digest->algorithm, *bytes, blob->size_bytes, &there);
	if (!r && !digest_equal(&there, digest))
		r = -EBADMSG;
	return r;
}

/* The text of a link that was lost. */
static int remake_link(struct store *store, const struct digest *digest, char **out)
{
	cleanup_blob struct blob blob = { .fd = -1 };
	cleanup_free char *bytes = NULL;
	int r = read_manifest(store, digest, &blob, &bytes);

	if (r)
		return r == -EFBIG ? -EBADMSG : r;
	return make_link_alone(bytes, blob.size_bytes, digest, out);
}

static int quarantine(struct fsck_repository *repository, int dirfd, const char *where,
		      const char *file)
{
	cleanup_free char *label = format_text("%s+%s+%s", repository->name, where, file);

	repository->fsck->index_stale = repository->fsck->options->repair;
	return label ? fsck_quarantine(repository->fsck, dirfd, file, label) : -ENOMEM;
}

/* ---- Manifests ---- */

/* At once, so that nobody ever sees the manifest without a link. */
static int replace_link(struct fsck_repository *repository, int dirfd, const char *file,
			const struct digest *digest, const char *text)
{
	cleanup_free char *label = format_text("%s+_manifests+%s", repository->name, file);
	struct store *store = repository->fsck->store;
	int r;

	if (!repository->fsck->options->repair)
		return -EAGAIN;
	repository->fsck->index_stale = true;
	r = label ? quarantine_copy(store, dirfd, file, label) : -ENOMEM;
	return r ? r
		 : store_replace_link(store, repository->name, STORE_MANIFESTS, digest, text,
				      strlen(text));
}

static int bad_link(struct fsck_repository *repository, int dirfd, const char *file,
		    const struct digest *digest)
{
	struct store *store = repository->fsck->store;
	cleanup_free char *link = NULL;
	char text[DIGEST_TEXT_SIZE];
	int r = remake_link(store, digest, &link);

	if (r && r != -EBADMSG)
		return r == -ENOENT ? 0 : r;
	store_lock_repository(store, repository->name);
	r = link ? replace_link(repository, dirfd, file, digest, link)
		 : quarantine(repository, dirfd, "_manifests", file);
	store_unlock_repository(store, repository->name);
	if (r == -ENOENT)
		return 0;
	digest_format(digest, text);
	if (!link)
		return fsck_found(repository->fsck, "bad-manifest", repository->name, text, r,
				  "it is linked as a manifest, and is none");
	return fsck_found(repository->fsck, "bad-link", repository->name, text, r,
			  "the link of this manifest does not say what the manifest is");
}

static int has_link(struct fsck_repository *repository, enum store_kind kind,
		    const struct digest *digest)
{
	return store_has_link(repository->fsck->store, repository->name, kind, digest);
}

/* Return: 1: it is there, or need not be; 0; -errno. */
static int has_entry(struct fsck_repository *repository, const struct oci_document *document,
		     const struct oci_descriptor *entry)
{
	bool is_index = document->kind == OCI_KIND_INDEX;
	struct store *store = repository->fsck->store;
	int r;

	if (!is_index && manifest_layer_is_foreign(entry))
		return 1;
	r = has_link(repository, STORE_LAYERS, &entry->digest);
	if (!r && is_index)
		r = has_link(repository, STORE_MANIFESTS, &entry->digest);
	if (!r && is_index && store->sparse_index)
		return 1;
	return r > 0 ? store_has_blob(store, &entry->digest) : r;
}

/*
 * Only the first: an image that lacks one thing needs to be pushed again anyhow. @out: NULL where
 * it lacks nothing.
 */
static int first_missing(struct fsck_repository *repository, const struct oci_document *document,
			 const struct digest **out)
{
	int r = 1;

	*out = NULL;
	if (document->kind == OCI_KIND_MANIFEST)
		r = has_entry(repository, document, &document->config);
	if (!r)
		*out = &document->config.digest;
	for (size_t i = 0; r > 0 && i < document->n_entries; i++) {
		r = has_entry(repository, document, &document->entries[i]);
		if (!r)
			*out = &document->entries[i].digest;
	}
	return r < 0 ? r : 0;
}

static int check_references(struct fsck_repository *repository, const struct digest *digest,
			    const struct oci_document *document)
{
	char text[DIGEST_TEXT_SIZE], missing_text[DIGEST_TEXT_SIZE];
	cleanup_free char *what = NULL;
	const struct digest *missing;
	int r = 0;

	if (document->kind == OCI_KIND_MANIFEST)
		r = digest_set_add(&repository->named, &document->config.digest);
	for (size_t i = 0; !r && i < document->n_entries; i++)
		r = digest_set_add(&repository->named, &document->entries[i].digest);
	if (r)
		return r;
	r = first_missing(repository, document, &missing);
	if (r || !missing)
		return r;
	/* A delete takes a manifest before the collection takes what it named. */
	r = has_link(repository, STORE_MANIFESTS, digest);
	if (r <= 0)
		return r;
	what = format_text("this manifest names %s, which the repository does not have; push it "
			   "again, or delete the manifest",
			   digest_format(missing, missing_text));
	return what ? fsck_found(repository->fsck, "missing-reference", repository->name,
				 digest_format(digest, text), -EAGAIN, what)
		    : -ENOMEM;
}

static int missing_manifest(struct fsck_repository *repository, const struct digest *digest)
{
	struct store *store = repository->fsck->store;
	char text[DIGEST_TEXT_SIZE];

	int r = store_has_blob(store, digest);

	repository->unreadable = true;
	if (r)
		return r < 0 ? r : 0;
	r = has_link(repository, STORE_MANIFESTS, digest);
	if (r <= 0)
		return r;
	return fsck_found(repository->fsck, "missing-content", repository->name,
			  digest_format(digest, text), -EAGAIN,
			  "the content of this manifest is not there; push it again, or delete it");
}

/* The content of a manifest that rotted: its link stays, so that one push makes it whole again. */
static int bad_content(struct fsck_repository *repository, const struct digest *digest,
		       const struct blob *blob)
{
	char hex[DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE + 8], path[16];
	struct blob_entry entry = { .digest = *digest, .packed = blob->packed, .name = name };
	struct fsck *fsck = repository->fsck;
	cleanup_close int dirfd = -1;
	struct stat st;
	int r;

	/* Else the check of blobs has said it. */
	if (blob->fd < 0 || (!fsck->options->quick && !fsck->options->repair))
		return 0;
	snprintf(name, sizeof(name), "%s%s", digest_format_hex(digest, hex),
		 blob->packed ? ".zst" : "");
	snprintf(path, sizeof(path), "%s/%02x", digest_algorithm_name(digest->algorithm),
		 digest->bytes[0]);
	dirfd = store_openat(fsck->store->blobs_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	if (fstat(blob->fd, &st))
		return -errno;
	entry.dirfd = dirfd;
	r = fsck_bad_blob(fsck, &entry, &st, "bad-content",
			  "the file does not hold the manifest that its name says; push it again");
	return r == -ESTALE ? 0 : r;
}

int fsck_manifest(struct fsck_repository *repository, int dirfd, const char *file,
		  const struct digest *digest)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	cleanup_free char *link = NULL, *type = NULL, *bytes = NULL, *wanted = NULL;
	cleanup_blob struct blob blob = { .fd = -1 };
	struct store *store = repository->fsck->store;
	int r = store_read_link(store, repository->name, STORE_MANIFESTS, digest, &link);

	if (r)
		return r == -ENOENT ? 0 : r;
	repository->fsck->report->n_manifests++;
	r = read_manifest(store, digest, &blob, &bytes);
	if (r == -ENOENT)
		return missing_manifest(repository, digest);
	if (r == -EBADMSG || r == -EIO || r == -EFBIG) {
		repository->unreadable = true;
		r = r == -EBADMSG ? bad_content(repository, digest, &blob) : 0;
		return r ? r : missing_manifest(repository, digest);
	}
	type = r ? NULL : strdup(link);
	if (!r && !type)
		r = -ENOMEM;
	if (!r)
		r = make_link_text(bytes, blob.size_bytes, manifest_media_type(type), digest,
				   &document, &wanted);
	if (r == -EBADMSG) {
		repository->unreadable = true;
		return bad_link(repository, dirfd, file, digest);
	}
	if (r)
		return r;
	/* The link was read without its last newline. */
	if (strncmp(link, wanted, strlen(link)) || strlen(link) + 1 != strlen(wanted)) {
		r = bad_link(repository, dirfd, file, digest);
		if (r)
			return r;
	}
	return check_references(repository, digest, &document);
}

/* ---- Tags ---- */

/* What is wrong with a tag; kept until its repository is unlocked, since who hears it may be slow.
 */
struct bad_tag {
	const char *kind; /* NULL: nothing */
	const char *text;
	int error; /* of the repair */
};

static int bad_tag(struct fsck_repository *repository, int dirfd, const char *tag, const char *kind,
		   const char *text, struct bad_tag *out)
{
	int r = quarantine(repository, dirfd, "_tags", tag);

	if (r != -ENOENT)
		*out = (struct bad_tag){ kind, text, r };
	return 0;
}

/* Under the repository's lock. */
static int check_tag(struct fsck_repository *repository, int dirfd, const char *tag,
		     struct bad_tag *out)
{
	struct fsck *fsck = repository->fsck;
	cleanup_free char *link = NULL;
	struct digest digest;
	int r = store_get_tag(fsck->store, repository->name, tag, &digest);

	if (r == -ENOENT)
		return 0;
	if (r == -EBADMSG)
		return bad_tag(repository, dirfd, tag, "bad-tag",
			       "the file of this tag does not hold a digest; push the tag again",
			       out);
	if (!r)
		r = has_link(repository, STORE_MANIFESTS, &digest);
	if (r)
		return r < 0 ? r : 0;
	/* What has been without a link is garbage, to a collection that comes by. */
	if (fsck->options->repair)
		r = store_renew_blob(fsck->store, &digest);
	if (!r)
		r = remake_link(fsck->store, &digest, &link);
	if (r == -ENOENT || r == -EBADMSG)
		return bad_tag(repository, dirfd, tag, "dangling-tag",
			       "the manifest of this tag is not there; push the tag again", out);
	if (r)
		return r;
	r = -EAGAIN;
	if (fsck->options->repair) {
		fsck->index_stale = true;
		r = store_add_link(fsck->store, repository->name, STORE_MANIFESTS, &digest, link,
				   strlen(link));
	}
	*out = (struct bad_tag){ "dangling-tag",
				 "the repository does not have the manifest of this tag", r };
	return 0;
}

int fsck_tag(struct fsck_repository *repository, int dirfd, const char *tag)
{
	struct bad_tag bad = { .kind = NULL };
	int r;

	repository->fsck->report->n_tags++;
	store_lock_repository(repository->fsck->store, repository->name);
	r = check_tag(repository, dirfd, tag, &bad);
	store_unlock_repository(repository->fsck->store, repository->name);
	if (r || !bad.kind)
		return r;
	return fsck_found(repository->fsck, bad.kind, repository->name, tag, bad.error, bad.text);
}
