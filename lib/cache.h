/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host-wide cache: ROOT/sha256/<hex>, complete and checked content only
 * (FORMAT.md 2, SAFETY.md promise 1).
 *
 * A writer streams into an unnamed file and hashes as it writes; cache_commit() gives it
 * its name only when digest and size are right. A name is therefore never wrong; it is
 * durable and immutable (chattr +i) only after cache_seal().
 */
#pragma once

#include "lib/digest.h"

struct cache;
struct cache_writer;
struct problem;

/**
 * cache_open() - @root/sha256 and @root/tmp are created where they are missing.
 * Return: 0 or negative errno with @problem. Free with cache_close().
 */
int cache_open(const char *root, struct cache **out, struct problem *problem) must_check;
void cache_close(struct cache *cache);

/**
 * cache_open_reader() - only to look up and open blobs; nothing is created, and the right to
 * write is not needed.
 */
int cache_open_reader(const char *root, struct cache **out, struct problem *problem) must_check;

/** cache_dirfd() - O_PATH descriptor of ROOT/sha256. Borrowed. */
int cache_dirfd(const struct cache *cache);

/** cache_has() - is @digest there with @size_bytes? One stat; any thread. */
bool cache_has(const struct cache *cache, const struct digest *digest, uint64_t size_bytes);

/** cache_open_blob() - O_RDONLY descriptor of a cached file, or -ENOENT, or -errno. */
int cache_open_blob(const struct cache *cache, const struct digest *digest) must_check;

/**
 * cache_begin() - start to receive a blob.
 * The space is reserved first: -ENOSPC before a byte is fetched, not after.
 * A writer belongs to one thread at a time. End it with cache_commit() or cache_abort().
 */
int cache_begin(struct cache *cache, const struct digest *digest, uint64_t size_bytes,
		struct cache_writer **out) must_check;

/** cache_write() - the next bytes. Return: 0; -EFBIG past the promised size; -errno. */
int cache_write(struct cache_writer *writer, const void *bytes, size_t len) must_check;

/** cache_is_reserved() - has the file system taken the room for all of it? Not for small ones. */
bool cache_is_reserved(const struct cache_writer *writer);

/** cache_written() - bytes received so far. */
uint64_t cache_written(const struct cache_writer *writer);

/**
 * cache_commit() - check and publish; the writer is gone afterwards, whatever the result.
 * Return: 0 published (also when somebody else was faster); -EBADMSG wrong digest or
 * size, nothing published; -errno.
 */
int cache_commit(struct cache_writer *writer) must_check;

/** cache_abort() - drop what was received. NULL is fine. */
void cache_abort(struct cache_writer *writer);

/**
 * cache_seal() - make what was published since the last call durable and immutable:
 * fsync of each file, fsync of the directory, then chattr +i. Blocks; worker thread.
 * Return: files sealed, or negative errno of the first failure (a file that cannot be
 * synced is removed, to be fetched again).
 */
int cache_seal(struct cache *cache) must_check;

/**
 * cache_hurry() - who uses it ends: cache_seal() leaves what takes long for the next time, and
 * cache_recover() ends with -ECANCELED. Any thread.
 */
void cache_hurry(struct cache *cache);

/** cache_is_sealed() - has the file the immutable flag? Return: 1, 0 or negative errno. */
int cache_is_sealed(int fd) must_check;

/** cache_remove() - clear +i and unlink. Return: 0 (also when absent) or negative errno. */
int cache_remove(struct cache *cache, const struct digest *digest) must_check;

struct cache_usage {
	uint64_t files, bytes;
};

enum cache_state {
	CACHE_SEALED,	  /* closed in order: every file is durable */
	CACHE_SAME_BOOT,  /* who used it was killed: what is there is right, and may not be durable
			   */
	CACHE_OTHER_BOOT, /* or the host went down: what is not durable may be wrong (or it is new)
			   */
};

/**
 * cache_take() - how was it left? From now on it counts as left by somebody who was killed, until
 * cache_leave().
 */
enum cache_state cache_take(struct cache *cache);

/** cache_leave() - where nothing is left to seal, the next cache_take() is CACHE_SEALED. 0 or
 * -errno. */
int cache_leave(struct cache *cache) must_check;

/**
 * cache_recover() - look at every file once, after a start, unless the state is CACHE_SEALED.
 * What has no +i was not yet durable when its writer stopped. After another boot its bytes
 * are hashed again, and a file that is wrong is removed; in the same boot it is only queued
 * for cache_seal(), and files may come and go meanwhile. Leftovers in ROOT/tmp are removed. Blocks.
 * @usage: what is there afterwards.
 * Return: files removed, or negative errno.
 */
int cache_recover(struct cache *cache, enum cache_state state,
		  struct cache_usage *usage) must_check;
