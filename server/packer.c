/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the thread that packs. It gives way to other threads of the machine, and never holds a lock
 * while it compresses. What the disk has no room for is tried again by a later walk.
 */
#include "server/packer.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/background.h"
#include "lib/log.h"

enum { NICE = 10, RETRY_S = 600 };

struct packer {
	struct store *store; /* borrowed */
	struct background background;
	bool scan;			       /* under lock: walk over the store */
	bool busy;			       /* under lock */
	bool is_full;			       /* this thread only: something had no room */
	unsigned int first, n;		       /* under lock */
	struct digest queue[PACKER_QUEUE_MAX]; /* under lock; a ring */
};

static void pack(struct packer *packer, const struct digest *digest)
{
	char text[DIGEST_TEXT_SIZE];
	int r = store_pack_blob(packer->store, digest, &packer->background.stop);

	if (r == -EBADMSG)
		r = store_distrust_blob(packer->store, digest); /* or was it our own copy? */
	if (r == -ENOSPC) {
		if (!packer->is_full)
			log_warning("packing: the disk has no room for blob %s in both forms; "
				    "tried again in %d s",
				    digest_format(digest, text), RETRY_S);
		packer->is_full = true;
	} else if (r == -EBADMSG)
		log_error("blob %s did not have its digest any more: it is in quarantine, push it "
			  "again",
			  digest_format(digest, text));
	else if (r && r != -ENOENT && r != -ENOTSUP && r != -ECANCELED)
		log_warning("blob %s stays as it came: %s", digest_format(digest, text),
			    strerror(-r));
}

static int visit(void *context, const struct blob_entry *entry)
{
	struct packer *packer = context;

	if (packer->background.stop)
		return -ECANCELED;
	if (!entry->is_final)
		pack(packer, &entry->digest);
	return 0;
}

static void scan(struct packer *packer)
{
	int r = store_each_blob(packer->store, visit, packer);

	if (r && r != -ECANCELED)
		log_warning("store: the walk for blobs that can be packed ended early: %s",
			    strerror(-r));
}

/* Under the lock. Return: false: it is to end. */
static bool wait_for_work(struct packer *packer)
{
	int64_t retry_ms = now_ms() + RETRY_S * 1000;

	while (!packer->background.stop && !packer->n && !packer->scan) {
		if (!background_wait(&packer->background, packer->is_full ? retry_ms : -1))
			packer->scan = true;
	}
	return !packer->background.stop;
}

static void *packer_main(void *argument)
{
	static const struct sched_param param = { .sched_priority = 0 };
	struct packer *packer = argument;

	/*
	 * Not SCHED_IDLE: it takes locks that requests wait for. Where this is not allowed it packs
	 * all the same, only less politely.
	 */
	if (pthread_setschedparam(pthread_self(), SCHED_BATCH, &param) ||
	    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE))
		log_debug("packing runs at the priority of everything else");
	pthread_mutex_lock(&packer->background.lock);
	for (;;) {
		struct digest digest;
		bool walk;

		packer->busy = false;
		if (!wait_for_work(packer))
			break;
		packer->busy = true;
		walk = !packer->n;
		if (walk) {
			packer->scan = packer->is_full = false;
		} else {
			digest = packer->queue[packer->first];
			packer->first = (packer->first + 1) % PACKER_QUEUE_MAX;
			packer->n--;
		}
		pthread_mutex_unlock(&packer->background.lock);
		if (walk)
			scan(packer);
		else
			pack(packer, &digest);
		pthread_mutex_lock(&packer->background.lock);
	}
	pthread_mutex_unlock(&packer->background.lock);
	return NULL;
}

int packer_new(struct store *store, struct packer **out)
{
	struct packer *packer = calloc(1, sizeof(*packer));
	int r;

	if (!packer)
		return -ENOMEM;
	packer->store = store;
	packer->scan = true; /* what an earlier run left */
	r = background_start(&packer->background, packer_main, packer);
	if (r) {
		free(packer);
		return r;
	}
	*out = packer;
	return 0;
}

void packer_free(struct packer *packer)
{
	if (!packer)
		return;
	background_stop(&packer->background);
	free(packer);
}

void packer_submit(struct packer *packer, const struct digest *digest)
{
	if (!packer)
		return;
	pthread_mutex_lock(&packer->background.lock);
	if (packer->n == PACKER_QUEUE_MAX) {
		packer->scan = true;
	} else {
		packer->queue[(packer->first + packer->n) % PACKER_QUEUE_MAX] = *digest;
		packer->n++;
	}
	background_wake(&packer->background);
	pthread_mutex_unlock(&packer->background.lock);
}

unsigned int packer_backlog(struct packer *packer)
{
	unsigned int n;

	if (!packer)
		return 0;
	pthread_mutex_lock(&packer->background.lock);
	n = packer->n + packer->busy + packer->scan;
	pthread_mutex_unlock(&packer->background.lock);
	return n;
}
