/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of a whole store: every blob against its digest, every link, manifest and tag
 * against what it names, the index against all of that. Safe beside pushes, deletes and the
 * collection of garbage: what goes while it is looked at is no problem, and what looks wrong
 * is looked at again before it is said.
 *
 * Repair gives up nothing that a push could make whole again:
 *   - content that is not what its name says, and files that are no blob's, link's or tag's, go to
 *     STORE/quarantine; the digest is then answered as missing, so that clients push it again;
 *   - links to content that is missing stay while a manifest names it, or a lease runs: one push
 *     to any repository makes all of them whole;
 *   - so does a manifest that rotted, but its link and tags stay, and nothing of its repository is
 *     collected until it was pushed again;
 *   - a manifest's link that is damaged is written again from the manifest;
 *   - a tag whose manifest lost its link gets it back where the content is there; else it is
 *     put into quarantine;
 *   - the index is brought in step with the files.
 */
#pragma once

#include <stdatomic.h>

#include "server/index.h"
#include "server/store.h"

/* A running server's disk is there for its requests. */
#define FSCK_RATE_LIVE ((uint64_t)100 << 20)

enum { FSCK_SHARDS = 512 };

struct fsck_problem {
	const char *kind;	/* one of a fixed set of words: intinode-serve(8) */
	const char *repository; /* NULL: none */
	const char *name;	/* digest, tag or file */
	const char *text;	/* what it means and what helps */
	bool repaired;
};

struct fsck_options {
	bool repair;
	bool quick;		 /* contents are not read */
	bool live;		 /* the store is being served */
	bool index_lost;	 /* @index is new: there was none that could be opened */
	uint64_t rate;		 /* bytes a second; 0: unlimited, or FSCK_RATE_LIVE */
	const atomic_bool *stop; /* may be NULL */
	/* Return: 0, or -errno, which ends the check. */
	int (*found)(void *context, const struct fsck_problem *problem);
	int (*progress)(void *context, const char *what, uint64_t n);
	void *context;
};

struct fsck_report {
	uint64_t n_blobs, n_bytes; /* bytes: read and hashed, as stored */
	uint64_t n_repositories, n_links, n_manifests, n_tags;
	uint64_t n_problems, n_repaired;
	uint64_t duration_ms;
	bool index_checked;
};

/**
 * fsck_contents() - check shard @shard, below FSCK_SHARDS, of the blobs, and nothing else; adds to
 * @report. Return: 0, whatever was found; -ECANCELED; -errno.
 */
int fsck_contents(struct store *store, const struct fsck_options *options, unsigned int shard,
		  struct fsck_report *report) must_check;

/**
 * fsck_run() - @index: NULL where there is none; its check is then left out.
 * Return: 0, whatever was found; -ECANCELED; -errno with @problem.
 * Context: a thread of its own, one at a time; takes long.
 */
int fsck_run(struct store *store, struct index *index, const struct fsck_options *options,
	     struct fsck_report *report, struct problem *problem) must_check;
