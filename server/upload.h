/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upload sessions: data of a blob that arrives in one or several requests.
 *
 * A session lives in memory; what PATCH requests brought lies in STORE/uploads, so that a
 * session survives a restart (its running hash does not: it is computed again from the
 * file). One request at a time uses a session. Data of a session that a single PUT or POST
 * brings goes to a file without a name and is gone when the request fails.
 */
#pragma once

#include "server/route.h"
#include "server/store.h"

struct upload;
struct uploads;

enum {
	/* Sessions in memory and on disk; at that, those without data make room after a minute. */
	UPLOADS_MAX = 10000,
};

/** uploads_new() - reads which sessions STORE/uploads holds. @store is borrowed. */
int uploads_new(struct store *store, struct uploads **out) must_check;
void uploads_free(struct uploads *uploads);

/** uploads_count() - how many sessions there are. */
unsigned int uploads_count(struct uploads *uploads);

/** uploads_expire() - drop sessions that no request used for @ttl_s. Blocks for the disk. */
void uploads_expire(struct uploads *uploads, int64_t ttl_s);

/**
 * upload_new() - a session, in use by the caller until upload_release().
 * @listed: others may find it by its id; else it is dropped by its release.
 * Return: 0; -EAGAIN when there are too many; -ENOMEM.
 */
int upload_new(struct uploads *uploads, const char *repository, bool listed,
	       struct upload **out) must_check;

/** upload_acquire() - Return: 0; -ENOENT; -EBUSY when another request uses it; -errno. */
int upload_acquire(struct uploads *uploads, const char *id, const char *repository,
		   struct upload **out) must_check;

/** upload_release() - the request is done with it; data without a name is dropped. */
void upload_release(struct uploads *uploads, struct upload *upload);

/** upload_drop() - end of the session and its data. Blocks for the disk. */
void upload_drop(struct uploads *uploads, struct upload *upload);

const char *upload_id(const struct upload *upload);
uint64_t upload_size(const struct upload *upload);

/**
 * upload_hold() - room in the repository's quota for @bytes more than are stored. It stays held
 * as long as the data does.
 * @may_block: false: where quotas are not counted yet, that is 0.
 * Return: 0; -EDQUOT with @problem for the client; -errno.
 */
int upload_hold(struct upload *upload, uint64_t bytes, bool may_block,
		struct problem *problem) must_check;

/**
 * upload_expect(), upload_expected() - which algorithm the digest at the end will probably
 * have; SHA-256 where nobody said. Another one costs a second reading of the data.
 */
void upload_expect(struct upload *upload, enum digest_algorithm algorithm);
enum digest_algorithm upload_expected(const struct upload *upload);

/**
 * upload_append() - store and hash the next bytes; in pieces of 64 KiB and more it is fast.
 * @keep: a session file, that stays when the request ends; else one without a name, where
 * the session has no file yet.
 * @algorithm: what to hash with, as far as it is known (a session's first bytes decide).
 * @piece: NULL, or where @bytes are, in memory that may be exchanged: see follower_feed().
 * Return: 0 or -errno; what was stored before stays good, nothing of @bytes is.
 */
int upload_append(struct upload *upload, const void *bytes, size_t len, bool keep,
		  enum digest_algorithm algorithm, char **piece) must_check;

/**
 * upload_sync() - what was appended to the session file, by whatever request, is on disk when this
 * returns 0.
 * When it fails the session has no data any more. Blocks; worker.
 */
int upload_sync(struct upload *upload) must_check;

/**
 * upload_commit() - @bytes are the last ones; check against @digest and publish durably.
 * Return: 0; -EBADMSG when the content has another digest; -errno. The session stays: release or
 * drop it. Blocks; worker.
 */
int upload_commit(struct upload *upload, const void *bytes, size_t len,
		  const struct digest *digest) must_check;
