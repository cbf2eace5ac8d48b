/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on disk. Everything that was acknowledged is in these files; the index beside
 * them can be thrown away.
 *
 *     STORE/lock                                     flock of the running server
 *     STORE/blobs/sha256/ab/<hex>                    content, complete and checked (also sha512/)
 *     STORE/blobs/sha256/ab/<hex>.zst                the same, packed (pack.h); either or both
 *     STORE/repositories/<NAME with + for />/
 *         _layers/sha256-<hex>                       empty: this repository has that blob
 *         _manifests/sha256-<hex>                    media type, and its subject where it has one
 *         _tags/<tag>                                digest of the manifest
 *     STORE/uploads/<id>, <id>.repository            upload sessions that got data
 *     STORE/index/                                   LMDB (index.h)
 *     STORE/control                                  socket of the running server (admin.h)
 *     STORE/quarantine/                              what fsck took away (quarantine.h)
 *
 * Order of a publish: content is synced before it gets a name, the name (its directory)
 * before the repository's link, the link before a tag. Each call below returns after its own
 * step is on disk.
 *
 * Leases: between the push of a blob and the push of the manifest that names it nothing
 * refers to it. So the collection of garbage (gc.h) leaves alone what was pushed, mounted,
 * asked for by HEAD or named by a manifest less than a lease ago: its time is the mtime of
 * the link, and of the content. Renewing is lazy: what has half of its lease left is not
 * touched again. So a client has a whole lease after a 201, and half of one after a 200.
 *
 * Context: any thread unless said otherwise; calls that write block for the disk and belong
 * on a worker. Names and digests have passed their grammars before (route.h).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/digest.h"
#include "server/pack.h"

struct problem;
struct quotas;

enum { STORE_FAILURES_MAX = 3 };

enum {
	STORE_LEASE_DEFAULT_S = 24 * 3600,
	STORE_REMOVAL_COUNTS = 256,
	STORE_CHANGE_COUNTS = 1024,
	STORE_FORM_HINTS = 256 * 1024,
	STORE_SHARDS = 256,
};

struct store {
	int root_fd, blobs_fd, repositories_fd, uploads_fd, lock_fd; /* owned */
	bool no_tmpfile;	 /* the file system has no O_TMPFILE; set once at open */
	bool compress;		 /* contents are packed; set before the first request */
	bool sparse_index;	 /* an index may list what is not there; set as the others */
	int64_t lease_s;	 /* see above; set before the first request */
	uint64_t min_free_bytes; /* what uploads leave of the disk; set before the first request */
	struct quotas *quotas;	 /* borrowed; NULL: none; set before the first request */
	/* Changes to one repository's manifests and tags, and its creation, take its lock. */
	pthread_mutex_t locks[64];
	/* A blob that changes its form, or goes, does so under the lock of its digest. */
	pthread_mutex_t blob_locks[64];
	/* See store_removals(). */
	atomic_uint_least32_t removals[STORE_REMOVAL_COUNTS];
	/* See store_changes(). */
	atomic_uint_least32_t changes[STORE_CHANGE_COUNTS];
	/* Owned: of blobs/sha256/00 .. ff, for who opens one at each request; NULL: not kept. */
	int *shard_fds;
	/* Of blobs that were found packed, a byte of the digest, see store_open.c. */
	atomic_uchar *packed_hints; /* owned; STORE_FORM_HINTS of them */
	/* A link is renewed, or removed by the collection, under the lock of its digest. */
	pthread_mutex_t link_locks[64];
	/* What decides by a repository's names, and what mends them: one at a time. */
	pthread_mutex_t upkeep;
	/* store_health.c */
	_Atomic(const char *) read_only_reason; /* NULL: changes are taken */
	_Atomic int64_t writable_ms;		/* when it was that no more, monotonic; 0: never */
	pthread_mutex_t health_lock;
	int64_t failures_ms[STORE_FAILURES_MAX]; /* under health_lock; a ring */
	unsigned int n_failures;		 /* under health_lock */
};

/* A file without a name yet. */
struct store_temp {
	int fd;
	char name[40]; /* in uploads/; empty for an O_TMPFILE */
};

enum store_kind { STORE_LAYERS, STORE_MANIFESTS, STORE_TAGS };

/**
 * store_open() - open @path, creating what is missing; takes its lock.
 * Return: 0; -EWOULDBLOCK when another server has it; -errno; always with @problem.
 */
int store_open(const char *path, struct store **out, struct problem *problem) must_check;
void store_close(struct store *store);

/* ---- Blobs ---- */

/* A blob that was found, open for reading. */
struct blob {
	int fd; /* owned */
	struct digest digest;
	uint64_t size_bytes;   /* of the content */
	uint64_t stored_bytes; /* of the file */
	bool packed;
	bool is_frames;	  /* the content of this one is another one's frames */
	uint64_t version; /* of the file: another one after each write, and of each other file */
	struct pack_info pack; /* where packed */
};

/**
 * store_open_blob() - in whichever form it is there.
 * Return: 0; -ENOENT; -EBADMSG (what is there is no blob) or -errno. Close with blob_close().
 */
int store_open_blob(const struct store *store, const struct digest *digest,
		    struct blob *out) must_check;

static inline void blob_close(struct blob *blob)
{
	if (blob->fd >= 0)
		close(steal_fd(&blob->fd));
}

#define cleanup_blob __attribute__((cleanup(blob_close)))

/** store_has_blob() - is it there? One stat, or two. Return: 1, 0 or -errno: nobody knows. */
int store_has_blob(const struct store *store, const struct digest *digest) must_check;

/** blob_read_all() - the content, at most @max bytes of it, allocated. Return: 0, -EFBIG, -errno.
 */
int blob_read_all(const struct blob *blob, size_t max, char **out) must_check;

/** store_renew_blob() - it is there, and stays for a lease. Return: 0, -ENOENT or -errno. */
int store_renew_blob(struct store *store, const struct digest *digest) must_check;

/**
 * store_keep_blob() - as store_renew_blob(), for who is about to publish the same: what is there
 * with another length, or, where @bytes are given, with other content goes to the quarantine.
 * Return: 0: it is there; -ENOENT: it is not, or not any more; -errno.
 */
int store_keep_blob(struct store *store, const struct digest *digest, const void *bytes,
		    uint64_t size_bytes) must_check;

/** store_keep_file() - the same for what is in @fd; where it is large, its length is compared. */
int store_keep_file(struct store *store, const struct digest *digest, int fd) must_check;

/**
 * store_distrust_blob() - hash what is there; what does not have its digest, or cannot be read,
 * goes to the quarantine. Return: 0: it is good, or packed and more than 1 MiB; -EBADMSG: it was
 * not; -ENOENT; -errno. Takes long.
 */
int store_distrust_blob(struct store *store, const struct digest *digest) must_check;

/**
 * store_remove_blob() - both forms, durably.
 * @before_s: only if neither was renewed since then (wall clock); INT64_MAX: in any case.
 * @bytes: what that gave back; may be NULL.
 * Return: 0, -ENOENT, -EBUSY (renewed since) or -errno.
 */
int store_remove_blob(struct store *store, const struct digest *digest, int64_t before_s,
		      uint64_t *bytes) must_check;

/* What a walk over all blobs sees of one file. */
struct blob_entry {
	struct digest digest;
	bool packed;
	bool is_final; /* it stays in this form: not worth packing, or packed */
	uint64_t stored_bytes;
	int64_t mtime_s;
	int dirfd; /* where @name is; borrowed */
	const char *name;
};

/**
 * store_each_blob() - call @visit for every file that is named as a blob, in both forms,
 * unordered. Files that go meanwhile are left out. @visit returns 0 to go on.
 * Return: 0, what @visit returned, or -errno.
 */
int store_each_blob(const struct store *store,
		    int (*visit)(void *context, const struct blob_entry *entry),
		    void *context) must_check;

/** store_parse_blob_name() - sets digest, packed and name of @out. Return: is it one? */
bool store_parse_blob_name(const char *name, enum digest_algorithm algorithm,
			   struct blob_entry *out) must_check;

/**
 * store_has_room() - could @size_bytes more fit on the disk, and leave what is to be left?
 * Of a small disk not more than a twentieth is left.
 */
bool store_has_room(const struct store *store, uint64_t size_bytes);

/** store_temp_create() - a file to write a blob to. End it with publish or discard. */
int store_temp_create(struct store *store, struct store_temp *out) must_check;
void store_temp_discard(struct store *store, struct store_temp *temp);

/** store_sync_blob() - the name of a blob that was seen is on disk when this returns 0. */
int store_sync_blob(struct store *store, const struct digest *digest) must_check;

/**
 * store_publish_blob() - give the content of @temp, whose digest the caller has checked, its
 * name, durably. @temp is gone afterwards, whatever the result.
 * Return: 0 (also when the blob was there; of another length, it was damaged, and this one is
 * now in its place) or -errno; a failed sync is final, the content must come again.
 */
int store_publish_blob(struct store *store, struct store_temp *temp,
		       const struct digest *digest) must_check;

/**
 * store_publish_bytes() - the same for content in memory that matches @digest, as it is. What was
 * there is compared with it.
 */
int store_publish_bytes(struct store *store, const struct digest *digest, const void *bytes,
			size_t len) must_check;

/** store_publish_content() - the same, packed where that saves a tenth. */
int store_publish_content(struct store *store, const struct digest *digest, const void *bytes,
			  size_t len) must_check;

/**
 * store_pack_blob() - put a blob that is there as it came into packed form, durably; the
 * content is checked against its digest on the way back.
 * @stop: ends it early; may be NULL.
 * Return: 0; -ENOENT; -ENOTSUP: it stays as it is, and is marked so; -EBADMSG: it does not
 * have its digest; -ENOSPC: there is no room for both forms now; -ECANCELED; -errno. Takes long.
 */
int store_pack_blob(struct store *store, const struct digest *digest,
		    const atomic_bool *stop) must_check;

/* ---- Repositories ---- */

/** store_lock_repository() - changes of manifests and tags happen under it. Never nest. */
void store_lock_repository(struct store *store, const char *repository);
void store_unlock_repository(struct store *store, const char *repository);

/**
 * store_make_repository() - the directories that it lacks, durably. Under its lock.
 * Return: 1: there were some; 0 or -errno.
 */
int store_make_repository(struct store *store, const char *repository) must_check;

/**
 * store_has_repository() - has anything ever been pushed to it?
 * store_has_link() - one stat: does the repository have that blob or manifest?
 * Return: 1, 0, or -errno: a disk that fails does not say that there is nothing.
 */
int store_has_repository(const struct store *store, const char *repository) must_check;
int store_has_link(const struct store *store, const char *repository, enum store_kind kind,
		   const struct digest *digest) must_check;

/**
 * store_add_link() - durably. @bytes: what the link file says; a link that is there stays as
 * it is, with a new lease. Creates the repository. Takes and drops the repository's lock where it
 * must create the repository, so call it without (STORE_LAYERS) or use store_create_repository()
 * first.
 */
int store_create_repository(struct store *store, const char *repository) must_check;
int store_add_link(struct store *store, const char *repository, enum store_kind kind,
		   const struct digest *digest, const char *bytes, size_t len) must_check;

/**
 * store_renew_link() - the repository has it, and keeps it for a lease. Mostly one stat.
 * Return: 0, -ENOENT or -errno.
 */
int store_renew_link(struct store *store, const char *repository, enum store_kind kind,
		     const struct digest *digest) must_check;

/**
 * store_offer_link() - the same for who asks whether it is there, and may then leave out a push.
 * From a store that is read-only nothing goes, so it is offered without a lease there.
 */
int store_offer_link(struct store *store, const char *repository, enum store_kind kind,
		     const struct digest *digest) must_check;

/**
 * store_remove_idle_link() - unless it was renewed since @before_s (wall clock). Not durable until
 * store_sync_links().
 * Return: 0, -ENOENT, -EBUSY (renewed since) or -errno. store_link_is_idle() only looks.
 */
int store_remove_idle_link(struct store *store, const char *repository, enum store_kind kind,
			   const struct digest *digest, int64_t before_s) must_check;
int store_link_is_idle(const struct store *store, const char *repository, enum store_kind kind,
		       const struct digest *digest, int64_t before_s) must_check;
int store_sync_links(struct store *store, const char *repository, enum store_kind kind) must_check;

/** store_replace_link() - durably, at once; a damaged one. Under the repository's lock. */
int store_replace_link(struct store *store, const char *repository, enum store_kind kind,
		       const struct digest *digest, const char *bytes, size_t len) must_check;

/** store_remove_link() - durably. Return: 0, -ENOENT or -errno. */
int store_remove_link(struct store *store, const char *repository, enum store_kind kind,
		      const struct digest *digest) must_check;

/** store_read_link() - its text, allocated, without the last newline. Return: 0, -ENOENT, -errno.
 */
int store_read_link(const struct store *store, const char *repository, enum store_kind kind,
		    const struct digest *digest, char **out) must_check;

/** store_set_tag() - durably point @tag at @digest. Under the repository's lock. */
int store_set_tag(struct store *store, const char *repository, const char *tag,
		  const struct digest *digest) must_check;

/** store_get_tag() - Return: 0, -ENOENT, -EBADMSG (the file does not hold a digest), -errno. */
int store_get_tag(const struct store *store, const char *repository, const char *tag,
		  struct digest *out) must_check;

/** store_remove_tag() - durably. Under the repository's lock. Return: 0, -ENOENT or -errno. */
int store_remove_tag(struct store *store, const char *repository, const char *tag) must_check;

/**
 * store_removals() - how many blobs, and links to blobs, of this digest (and some others) went
 * since the start. What was found while the count stood still is still there.
 */
uint32_t store_removals(const struct store *store, const struct digest *digest);

/** store_lock_blob() - its names stay as they are, but that one may come. Never nest. */
void store_lock_blob(struct store *store, const struct digest *digest);
void store_unlock_blob(struct store *store, const struct digest *digest);

/** store_note_removal() - count one: after the name is gone, before anybody hears of it. */
void store_note_removal(struct store *store, const struct digest *digest);

/**
 * store_changes() - how many manifests and tags came or were renewed, and tags went, in this
 * repository (and some others) since the start; to be asked under its lock. While the count stands
 * still, what nothing led to is what nothing leads to.
 */
uint32_t store_changes(const struct store *store, const char *repository);

/**
 * store_begin_upkeep(), store_end_upkeep() - around a collection of garbage, and the repair of
 * repositories: what one moves, the other must not take for gone. Waits for the other one.
 * Return: 0, or -ECANCELED by @stop, which may be NULL.
 */
int store_begin_upkeep(struct store *store, const atomic_bool *stop) must_check;
void store_end_upkeep(struct store *store);

/* ---- Walking, for the index ---- */

/** store_now() - wall clock in seconds, as the mtimes of the store's files. */
int64_t store_now(void);

/**
 * store_each_repository(), store_each_name() - call @visit for every repository, or every
 * valid name of one kind in one: a tag, or a digest as text. Unordered. @visit returns 0
 * to go on. A repository that lost a directory, or has not all yet, is visited, too;
 * store_each_name() says -ENOENT there, and store_has_repository() may say 0.
 * Return: 0, what @visit returned, or -errno.
 */
int store_each_repository(const struct store *store, int (*visit)(void *context, const char *name),
			  void *context) must_check;
int store_each_name(const struct store *store, const char *repository, enum store_kind kind,
		    int (*visit)(void *context, const char *name), void *context) must_check;

/** store_sweep_links() - remove what a crash left half written in a repository; takes its lock. */
void store_sweep_links(struct store *store, const char *repository);

/* ---- Health ---- */

/**
 * store_note_failure() - a change failed with @error. EROFS, or EIO for the third time in a
 * minute, makes the store read-only: nobody is to begin a change any more.
 */
void store_note_failure(struct store *store, int error);

/** store_is_read_only(), store_read_only_reason() - a few words, or NULL when changes are taken. */
bool store_is_read_only(const struct store *store);
const char *store_read_only_reason(const struct store *store);

/**
 * store_has_all_leases() - half a lease has passed since the store was read-only, and gave none:
 * may garbage be collected?
 */
bool store_has_all_leases(const struct store *store);

/** store_probe() - write something; where that goes well, changes are taken again. Blocks. */
int store_probe(struct store *store) must_check;

/* ---- Shared by the files of this module ---- */

#define STORE_PACKED_SUFFIX ".zst"

/**
 * store_openat() - openat2() that resolves strictly below @dirfd and follows no link.
 * Return: fd or -errno.
 */
int store_openat(int dirfd, const char *path, int flags, mode_t mode) must_check;

/** store_exists() - whatever it is. Return: 1, 0 or -errno. */
int store_exists(int dirfd, const char *path) must_check;

/** store_note_change() - count one, before it is seen; without the lock also behind that. */
void store_note_change(struct store *store, const char *repository);

/** store_open_links() - the names of one kind that a repository has. */
int store_open_links(const struct store *store, const char *repository, enum store_kind kind,
		     DIR **out) must_check;

/** store_sync_dir() - fsync of a directory by path. */
int store_sync_dir(int dirfd, const char *path) must_check;
