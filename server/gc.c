/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what is garbage. Runs in the collector's thread, or in a command of its own. */
#include "server/gc.h"

#include <string.h>

#include "lib/log.h"
#include "lib/reference.h"
#include "lib/registry.h"
#include "server/digestset.h"
#include "server/manifest.h"

enum {
	PROGRESS_EVERY = 1000,
	FUTURE_S = 60,
	/* Of a repository that is changed each time, what nothing leads to waits for the next run.
	 */
	MARK_TRIES = 4,
};

struct gc {
	struct store *store;
	struct index *index;
	const struct gc_options *options;
	struct gc_report *report;
	int64_t start_s;
	int64_t before_s; /* what was renewed since then stays */
	/* Of the repository that is looked at. */
	char repository[REPOSITORY_MAX + 1];
	struct digest_set named;   /* blobs that its manifests name */
	struct digest_set reached; /* manifests that a tag or another manifest leads to */
	struct digest_set found;   /* such ones that this round has come to */
	bool unreadable;	   /* nobody knows all of what it needs */
	bool torn;		   /* a directory of it is not there */
	uint64_t n_names, removed;
	uint32_t changes; /* when its tags were looked at */
	/* Of all of them. */
	struct digest_set linked;
	uint64_t n_seen;
	uint64_t n_future; /* files that the clock says are yet to be written */
};

static int tick(struct gc *gc, const char *what)
{
	const struct gc_options *options = gc->options;

	if (options->stop && *options->stop)
		return -ECANCELED;
	if (options->progress && ++gc->n_seen % PROGRESS_EVERY == 0)
		options->progress(options->context, what, gc->n_seen);
	return 0;
}

/* Return: 0; -ENOENT: it went meanwhile; -EBADMSG: nobody knows what it names. */
static int load(struct gc *gc, const struct digest *digest, struct oci_document *out)
{
	cleanup_free char *type = NULL, *bytes = NULL;
	cleanup_blob struct blob blob = { .fd = -1 };
	struct digest there;
	int r = store_read_link(gc->store, gc->repository, STORE_MANIFESTS, digest, &type);

	if (r)
		return r;
	r = store_open_blob(gc->store, digest, &blob);
	if (r == -ENOENT) /* lost: the collection alone takes contents away */
		r = -EBADMSG;
	if (!r)
		r = blob_read_all(&blob, MANIFEST_SIZE_MAX, &bytes);
	/* What a rotten one names is not what it named. */
	if (!r)
		r = digest_compute(digest->algorithm, bytes, blob.size_bytes, &there);
	if (!r && !digest_equal(&there, digest))
		r = -EBADMSG;
	if (!r)
		r = oci_document_parse(bytes, blob.size_bytes, manifest_media_type(type), out,
				       NULL);
	return r == -ENOMEM ? r : r ? -EBADMSG : 0;
}

static int each(struct gc *gc, enum store_kind kind, int (*visit)(void *context, const char *name))
{
	int r = store_each_name(gc->store, gc->repository, kind, visit, gc);

	if (r != -ENOENT) /* no visit returns this */
		return r;
	gc->torn = gc->unreadable = true;
	return 0;
}

static int name_blobs(struct gc *gc, const struct oci_document *document)
{
	int r = 0;

	if (document->kind == OCI_KIND_MANIFEST)
		r = digest_set_add(&gc->named, &document->config.digest);
	for (size_t i = 0; !r && i < document->n_entries; i++)
		r = digest_set_add(&gc->named, &document->entries[i].digest);
	return r;
}

static int visit_manifest(void *context, const char *text)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	struct gc *gc = context;
	struct digest digest;
	int r = tick(gc, "manifests");

	gc->n_names++;
	if (r || digest_parse(text, strlen(text), &digest))
		return r;
	r = digest_set_add(&gc->linked, &digest);
	if (!r)
		r = load(gc, &digest, &document);
	if (!r)
		return name_blobs(gc, &document);
	if (r == -ENOENT)
		return 0;
	if (r == -EBADMSG) {
		log_warning("gc: repository %s: manifest %s cannot be read, so all that is there "
			    "stays; intinode-serve fsck says more",
			    gc->repository, text);
		gc->unreadable = true;
		return 0;
	}
	return r;
}

static int visit_layer(void *context, const char *text)
{
	struct gc *gc = context;
	struct digest digest;
	int r = tick(gc, "links");

	gc->n_names++;
	if (r || digest_parse(text, strlen(text), &digest))
		return r;
	if (gc->unreadable || digest_set_has(&gc->named, &digest))
		return digest_set_add(&gc->linked, &digest);
	r = gc->options->dry_run ? store_link_is_idle(gc->store, gc->repository, STORE_LAYERS,
						      &digest, gc->before_s)
				 : store_remove_idle_link(gc->store, gc->repository, STORE_LAYERS,
							  &digest, gc->before_s);
	if (r == -EBUSY)
		return digest_set_add(&gc->linked, &digest);
	if (r == -ENOENT)
		return 0;
	gc->removed += r == 0;
	return r;
}

/* Return: 1: the manifest of @tag is there, or the tag is not; 0: it has none; -errno. */
static int tag_has_manifest(struct gc *gc, const char *tag, struct digest *digest)
{
	int r = store_get_tag(gc->store, gc->repository, tag, digest);

	if (r == -ENOENT)
		return 1;
	if (r)
		return r == -EBADMSG ? 0 : r;
	return store_has_link(gc->store, gc->repository, STORE_MANIFESTS, digest);
}

/* A tag whose manifest lost its link, for which fsck makes it again. */
static int lost_link(struct gc *gc, const char *tag, struct digest *digest)
{
	char shown[TAG_MAX * 4 + 1];
	int r;

	/* A delete takes the tags before the link. */
	store_lock_repository(gc->store, gc->repository);
	r = tag_has_manifest(gc, tag, digest);
	store_unlock_repository(gc->store, gc->repository);
	if (r)
		return r < 0 ? r : 0;
	log_escape(shown, sizeof(shown), tag, strlen(tag));
	if (!gc->unreadable)
		log_warning("gc: repository %s: tag %s leads to no manifest, so all that is there "
			    "stays; intinode-serve fsck says more",
			    gc->repository, shown);
	gc->unreadable = true;
	return 0;
}

static int visit_tag(void *context, const char *tag)
{
	struct gc *gc = context;
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	int r = tick(gc, "tags");

	gc->n_names++;
	if (!r)
		r = tag_has_manifest(gc, tag, &digest);
	if (!r)
		r = lost_link(gc, tag, &digest);
	if (r < 0)
		return r;
	r = digest_set_add(&gc->linked, &digest);
	return r ? r : digest_set_add(&gc->reached, &digest);
}

/* ---- Manifests that nothing leads to ---- */

static int reach(struct gc *gc, const struct digest *digest)
{
	return digest_set_has(&gc->reached, digest) ? 0 : digest_set_add(&gc->found, digest);
}

static int64_t untagged_before(const struct gc *gc)
{
	int64_t before_s = store_now() - gc->options->untagged_s;

	return before_s < gc->before_s ? before_s : gc->before_s;
}

/* One that stays for its youth keeps what it leads to: it may get a tag yet. */
static int visit_young(void *context, const char *text)
{
	struct gc *gc = context;
	struct digest digest;
	int r = tick(gc, "manifests");

	if (r || digest_parse(text, strlen(text), &digest))
		return r;
	r = store_link_is_idle(gc->store, gc->repository, STORE_MANIFESTS, &digest,
			       untagged_before(gc));
	if (r == -EBUSY)
		return digest_set_add(&gc->reached, &digest);
	return r == -ENOENT ? 0 : r;
}

/* A manifest that is reached leads to its entries; one whose subject is reached is, too. */
static int spread(void *context, const char *text)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	struct gc *gc = context;
	struct digest digest;
	int r = tick(gc, "manifests");

	if (r || digest_parse(text, strlen(text), &digest))
		return r;
	r = load(gc, &digest, &document);
	if (r == -EBADMSG)
		gc->unreadable = true;
	if (r)
		return r == -ENOENT || r == -EBADMSG ? 0 : r;
	if (document.has_subject && digest_set_has(&gc->reached, &document.subject.digest))
		r = reach(gc, &digest);
	if (document.kind != OCI_KIND_INDEX || !digest_set_has(&gc->reached, &digest))
		return r;
	for (size_t i = 0; !r && i < document.n_entries; i++)
		r = reach(gc, &document.entries[i].digest);
	return r;
}

/* Return: 0; -ENOENT; -EBUSY: renewed since; -ESTALE: something may lead to it by now; -errno. */
static int remove_manifest(struct gc *gc, const struct digest *digest, int64_t before_s)
{
	int r;

	if (gc->options->dry_run)
		return store_link_is_idle(gc->store, gc->repository, STORE_MANIFESTS, digest,
					  before_s);
	store_lock_repository(gc->store, gc->repository);
	r = store_changes(gc->store, gc->repository) != gc->changes
		    ? -ESTALE
		    : manifest_remove(gc->store, gc->index, gc->repository, digest, before_s);
	store_unlock_repository(gc->store, gc->repository);
	return r;
}

static int visit_unreached(void *context, const char *text)
{
	struct gc *gc = context;
	struct digest digest;
	int r = tick(gc, "manifests");

	if (r || digest_parse(text, strlen(text), &digest) || digest_set_has(&gc->reached, &digest))
		return r;
	r = remove_manifest(gc, &digest, untagged_before(gc));
	if (!r)
		gc->report->manifests++;
	return r == -EBUSY || r == -ENOENT ? 0 : r;
}

static int remove_unreached(struct gc *gc)
{
	bool grew = true;
	int r;

	store_lock_repository(gc->store, gc->repository); /* no change has begun, and not ended */
	gc->changes = store_changes(gc->store, gc->repository);
	store_unlock_repository(gc->store, gc->repository);
	r = each(gc, STORE_TAGS, visit_tag);
	if (!r)
		r = each(gc, STORE_MANIFESTS, visit_young);
	while (!r && grew) { /* as deep as indexes are nested */
		r = each(gc, STORE_MANIFESTS, spread);
		if (!r)
			r = digest_set_merge(&gc->reached, &gc->found);
		grew = gc->found.n > 0;
		digest_set_deinit(&gc->found);
	}
	if (!r && !gc->unreadable)
		r = each(gc, STORE_MANIFESTS, visit_unreached);
	digest_set_deinit(&gc->reached);
	return r;
}

/* What came or was renewed meanwhile may lead to others that nothing led to before. */
static int remove_untagged(struct gc *gc)
{
	int r = -ESTALE;

	for (unsigned int i = 0; r == -ESTALE && i < MARK_TRIES; i++)
		r = remove_unreached(gc);
	return r == -ESTALE ? 0 : r;
}

static int collect_repository(struct gc *gc)
{
	int r = gc->options->untagged_s == GC_NEVER ? each(gc, STORE_TAGS, visit_tag)
						    : remove_untagged(gc);

	if (!r)
		r = each(gc, STORE_MANIFESTS, visit_manifest);
	/* Also where the repository lost the link: what a manifest needs must be there. */
	if (!r)
		r = digest_set_merge(&gc->linked, &gc->named);
	if (!r)
		r = each(gc, STORE_LAYERS, visit_layer);
	/* On disk before the contents go: no link may outlive what it stands for. */
	if (!r && gc->removed && !gc->options->dry_run)
		r = store_sync_links(gc->store, gc->repository, STORE_LAYERS);
	return r;
}

static int visit_repository(void *context, const char *repository)
{
	struct gc *gc = context;
	int r;

	snprintf(gc->repository, sizeof(gc->repository), "%s", repository);
	gc->report->repositories++;
	gc->unreadable = gc->torn = false;
	gc->n_names = gc->removed = 0;
	if (!gc->options->dry_run)
		store_sweep_links(gc->store, repository);
	r = collect_repository(gc);
	/* Without a name in it, it is one whose creation ended early. */
	if (!r && gc->torn && gc->n_names)
		log_warning("gc: repository %s lost a directory, so all that is there stays; "
			    "intinode-serve fsck says more",
			    repository);
	gc->report->links += gc->removed;
	gc->report->unreadable += gc->unreadable && gc->n_names;
	digest_set_deinit(&gc->named);
	digest_set_deinit(&gc->reached);
	return r;
}

static int visit_blob(void *context, const struct blob_entry *entry)
{
	struct gc *gc = context;
	uint64_t bytes = entry->stored_bytes;
	int r = tick(gc, "blobs");

	gc->n_future += entry->mtime_s > gc->start_s + FUTURE_S;
	if (r || entry->mtime_s >= gc->before_s || digest_set_has(&gc->linked, &entry->digest))
		return r;
	if (!gc->options->dry_run)
		r = store_remove_blob(gc->store, &entry->digest, gc->before_s, &bytes);
	if (!r) {
		gc->report->blobs++;
		gc->report->bytes += bytes;
	}
	return r == -EBUSY || r == -ENOENT ? 0 : r;
}

int gc_run(struct store *store, struct index *index, const struct gc_options *options,
	   struct gc_report *report, struct problem *problem)
{
	struct gc gc = { .store = store, .index = index, .options = options, .report = report };
	int64_t start_ms = now_ms();
	int r;

	*report = (struct gc_report){ 0 };
	/* Links and contents that are renewed from here on are not looked at again. */
	gc.start_s = store_now();
	gc.before_s = gc.start_s - store->lease_s;
	r = store_begin_upkeep(store, options->stop);
	if (!r) {
		r = store_each_repository(store, visit_repository, &gc);
		if (!r)
			r = store_each_blob(store, visit_blob, &gc);
		store_end_upkeep(store);
	}
	if (gc.n_future)
		log_warning("gc: %llu blobs were written at a time that is yet to come: is the "
			    "clock of this machine right, and was it then?",
			    (unsigned long long)gc.n_future);
	digest_set_deinit(&gc.named);
	digest_set_deinit(&gc.reached);
	digest_set_deinit(&gc.found);
	digest_set_deinit(&gc.linked);
	report->duration_ms = (uint64_t)(now_ms() - start_ms);
	if (r)
		return problem_set(problem, r, "gc%s%s: %s",
				   gc.repository[0] ? " of repository " : "", gc.repository,
				   strerror(-r));
	return 0;
}
