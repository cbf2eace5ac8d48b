/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents on their way into an image store: several at a time, each digest once, and none
 * that the store has already.
 */
#pragma once

#include "lib/image.h"
#include "lib/pool.h"
#include "lib/spool.h"

struct uploader;

struct uploader_stats {
	uint64_t n_sent, sent_bytes;
	uint64_t n_there, there_bytes; /* the store had them */
};

/**
 * uploader_new() - @store, @failure: borrowed. @store is cloned for each of @n_threads.
 * Free with uploader_free(), after which nothing is on its way any more.
 */
int uploader_new(struct image_store *store, unsigned int n_threads, struct failure *failure,
		 struct uploader **out, struct problem *problem) must_check;
void uploader_free(struct uploader *uploader);

/**
 * uploader_put() - moves @content out. Waits while too much is under way. Any thread.
 * Return: 0, or an error whose words are in the failure.
 */
int uploader_put(struct uploader *uploader, struct content *content) must_check;

/** uploader_put_bytes() - a copy of @bytes; sets *@digest. */
int uploader_put_bytes(struct uploader *uploader, const void *bytes, size_t len,
		       struct digest *digest) must_check;

/** uploader_drain() - wait until all is in the store. Return: 0 or the failure's error. */
int uploader_drain(struct uploader *uploader) must_check;

void uploader_stats(const struct uploader *uploader, struct uploader_stats *out);
