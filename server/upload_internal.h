/* SPDX-License-Identifier: Apache-2.0 */
/* What the table of upload sessions and their data share. */
#pragma once

#include <pthread.h>

#include "server/follower.h"
#include "server/upload.h"

enum { BUCKETS = 1024, NAME_SIZE = UPLOAD_ID_LEN + 16 };

struct upload {
	struct uploads *uploads; /* borrowed */
	char id[UPLOAD_ID_LEN + 1];
	char repository[REPOSITORY_MAX + 1];
	bool listed;
	bool busy; /* under lock */
	bool on_disk;
	bool name_synced;	   /* the session's file names are on disk */
	bool data_synced;	   /* and its data */
	struct store_temp temp;	   /* owned; fd -1: not open */
	bool has_temp;		   /* data is in temp, not in the session file */
	uint64_t size_bytes;	   /* stored */
	uint64_t held_bytes;	   /* of the repository's quota */
	struct follower *follower; /* owned; NULL: not known, read the file */
	enum digest_algorithm expected;
	int64_t used_ms;
	struct upload *next; /* under lock */
};

struct uploads {
	struct store *store;	     /* borrowed */
	struct followers *followers; /* owned */
	pthread_mutex_t lock;
	unsigned int n;			 /* under lock */
	struct upload *buckets[BUCKETS]; /* under lock */
};

/** upload_repository_name() - of the file beside the data that says whose session it is. */
void upload_repository_name(const struct upload *upload, char out[static NAME_SIZE]);

/** upload_remove_files() - of the session, where it has any. */
void upload_remove_files(struct upload *upload);
