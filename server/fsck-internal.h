/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of fsck share. */
#pragma once

#include <sys/stat.h>

#include "lib/reference.h"
#include "server/digestset.h"
#include "server/fsck.h"

struct fsck {
	struct store *store;
	struct index *index;
	const struct fsck_options *options;
	struct fsck_report *report;
	int64_t start_ms;
	bool index_stale;   /* a repair changed what it is made of */
	bool contents_only; /* nothing but the bytes of what is named as a blob */
};

/**
 * fsck_found() - @error: of the repair; 0 repaired, -EAGAIN not tried or not possible.
 * Return: 0 or what the receiver of problems said.
 */
int fsck_found(struct fsck *fsck, const char *kind, const char *repository, const char *name,
	       int error, const char *text) must_check;

/** fsck_tick() - now and then; sleeps where it is too fast. Return: 0, -ECANCELED, -errno. */
int fsck_tick(struct fsck *fsck, const char *what, uint64_t n) must_check;

/** fsck_quarantine() - 0, -EAGAIN without --repair, -errno. -ENOENT: it went meanwhile. */
int fsck_quarantine(struct fsck *fsck, int dirfd, const char *name, const char *label) must_check;

/**
 * fsck_bad_blob() - the file that was checked, and none that has got its name since, goes to
 * quarantine, and is reported.
 * @checked: of that file. Return: 0; -ESTALE: another file has the name now; as fsck_found().
 */
int fsck_bad_blob(struct fsck *fsck, const struct blob_entry *entry, const struct stat *checked,
		  const char *kind, const char *text) must_check;

/* One repository while it is checked. */
struct fsck_repository {
	struct fsck *fsck;
	char name[REPOSITORY_MAX + 1];
	struct digest_set named; /* blobs that its manifests name */
	bool unreadable;	 /* a manifest is: what it names is not known */
};

/** fsck_manifest(), fsck_tag() - one name of a repository, whose directory is @dirfd. */
int fsck_manifest(struct fsck_repository *repository, int dirfd, const char *file,
		  const struct digest *digest) must_check;
int fsck_tag(struct fsck_repository *repository, int dirfd, const char *tag) must_check;

/* The three parts. */
int fsck_blobs(struct fsck *fsck) must_check;
int fsck_shard(struct fsck *fsck, unsigned int shard) must_check;
int fsck_repositories(struct fsck *fsck) must_check;
int fsck_index(struct fsck *fsck) must_check;
