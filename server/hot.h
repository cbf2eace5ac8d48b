/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs that are asked for again and again: whole answers, with their headers, kept and sent to
 * many at a time. Bounded. Small blobs are in memory; of somewhat larger ones the file's pages in
 * the kernel's cache are mapped, once for all who get them, which a second cache like this one
 * keeps. Large blobs never come here.
 *
 * An answer is kept together with the store's count of removals (store_removals()) from before
 * its blob was looked up, and is good for as long as that count stands. So what was removed
 * is not sent again, whoever removed it, without telling this cache.
 *
 * Who may have the answer was decided before it is looked for here.
 *
 * Context: any thread.
 */
#pragma once

#include "lib/digest.h"

struct MHD_Response;
struct hot;
struct hot_entry; /* an answer; counted references */

enum {
	HOT_BLOB_MAX = 64 * 1024,     /* in memory */
	HOT_MAPPED_MAX = 1024 * 1024, /* mapped; libmicrohttpd sends a file in pieces of 128 KiB */
};

/* What an answer is the answer to. */
struct hot_key {
	const char *repository;
	const struct digest *digest;
	bool zstd; /* to who accepts it */
};

/** hot_new() - @max_bytes: of all answers together; @max_entry: of one. NULL = no memory. */
struct hot *hot_new(uint64_t max_bytes, uint64_t max_entry) must_check;
void hot_free(struct hot *hot);

/**
 * hot_get() - the answer, or NULL. @hot: NULL: never. @removals: the store's count now.
 * Give it back with hot_entry_unref().
 */
struct hot_entry *hot_get(struct hot *hot, const struct hot_key *key, uint32_t removals);

/**
 * hot_ask() - somebody asks for what is not here. Is the answer to be kept? Only where it was asked
 * for lately, and when there is no room, only now and then: what is asked for often comes in all
 * the same, and what is not does not drive out, again and again, what is as good. @hot: NULL: no.
 */
bool hot_ask(struct hot *hot, const struct hot_key *key);

/**
 * hot_put() - keep an answer that was just made, since hot_ask() said so.
 * @response: taken over where the result is not NULL, and may not be changed any more.
 * @bytes: what it holds.
 * @removals: the store's count from before the blob was looked up.
 * Return: a reference, or NULL when it is not kept.
 */
struct hot_entry *hot_put(struct hot *hot, const struct hot_key *key, struct MHD_Response *response,
			  uint64_t bytes, uint32_t removals);

struct MHD_Response *hot_entry_response(const struct hot_entry *entry);
uint64_t hot_entry_bytes(const struct hot_entry *entry);
void hot_entry_unref(struct hot_entry *entry);
