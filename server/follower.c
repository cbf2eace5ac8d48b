/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the threads and their queue. A follower is idle, queued, or run by one thread; what is
 * marked "under lock" changes under the lock of them all, and its hasher belongs to the thread
 * that runs it, or to the caller while it is idle.
 */
#include "server/follower.h"

#include <fcntl.h>
#include <pthread.h>

enum {
	READ_BYTES = 256 * 1024,
	WRITE_BACK_BYTES = 8 * 1024 * 1024, /* told to the kernel at a time */
	THREADS_MAX = 64,
};

enum state { IDLE, QUEUED, RUNNING };

struct follower {
	struct followers *followers; /* borrowed */
	struct hasher *hasher;	     /* owned */
	enum digest_algorithm algorithm;
	char *piece;	       /* owned: READ_BYTES */
	enum state state;      /* under lock */
	bool pausing;	       /* under lock */
	int fd;		       /* under lock; borrowed */
	uint64_t fed;	       /* under lock: bytes that are in the file */
	uint64_t hashed;       /* of whose hasher it is */
	uint64_t written_back; /* likewise */
	bool failed;	       /* likewise */
	struct follower *next; /* under lock: in the queue */
};

struct followers {
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct follower *first, **last; /* under lock */
	bool stop;			/* under lock */
	unsigned int n;
	pthread_t threads[THREADS_MAX];
};

/* The next bytes of the file, up to @end. Not under lock. */
static void hash_piece(struct follower *follower, int fd, uint64_t end)
{
	uint64_t left = end - follower->hashed;
	size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
	ssize_t n = pread_full(fd, follower->piece, want, follower->hashed);

	if (n < 0 || (size_t)n != want) {
		follower->failed = true;
		return;
	}
	hasher_update(follower->hasher, follower->piece, want);
	follower->hashed += want;
	if (follower->hashed - follower->written_back < WRITE_BACK_BYTES)
		return;
	/* Begun, not waited for; where this is not possible the sync does it all. */
	(void)!sync_file_range(fd, (off_t)follower->written_back,
			       (off_t)(follower->hashed - follower->written_back),
			       SYNC_FILE_RANGE_WRITE);
	follower->written_back = follower->hashed;
}

/* Under lock, which is dropped for the work. */
static void run(struct followers *followers, struct follower *follower)
{
	follower->state = RUNNING;
	while (!follower->pausing && !follower->failed && follower->hashed < follower->fed) {
		uint64_t end = follower->fed;
		int fd = follower->fd;

		pthread_mutex_unlock(&followers->lock);
		hash_piece(follower, fd, end);
		pthread_mutex_lock(&followers->lock);
	}
	follower->state = IDLE;
	pthread_cond_broadcast(&followers->idle);
}

static void *followers_main(void *argument)
{
	struct followers *followers = argument;
	struct follower *follower;

	pthread_mutex_lock(&followers->lock);
	for (;;) {
		while (!followers->first && !followers->stop)
			pthread_cond_wait(&followers->wake, &followers->lock);
		follower = followers->first;
		if (!follower)
			break;
		followers->first = follower->next;
		if (!followers->first)
			followers->last = &followers->first;
		run(followers, follower);
	}
	pthread_mutex_unlock(&followers->lock);
	return NULL;
}

int followers_new(unsigned int n_threads, struct followers **out)
{
	struct followers *followers = calloc(1, sizeof(*followers));

	if (!followers)
		return -ENOMEM;
	pthread_mutex_init(&followers->lock, NULL);
	pthread_cond_init(&followers->wake, NULL);
	pthread_cond_init(&followers->idle, NULL);
	followers->last = &followers->first;
	if (n_threads > THREADS_MAX)
		n_threads = THREADS_MAX;
	for (followers->n = 0; followers->n < n_threads; followers->n++) {
		int r = pthread_create(&followers->threads[followers->n], NULL, followers_main,
				       followers);

		if (r) {
			followers_free(followers);
			return -r;
		}
	}
	*out = followers;
	return 0;
}

void followers_free(struct followers *followers)
{
	if (!followers)
		return;
	pthread_mutex_lock(&followers->lock);
	followers->stop = true;
	pthread_cond_broadcast(&followers->wake);
	pthread_mutex_unlock(&followers->lock);
	for (unsigned int i = 0; i < followers->n; i++)
		pthread_join(followers->threads[i], NULL);
	pthread_cond_destroy(&followers->idle);
	pthread_cond_destroy(&followers->wake);
	pthread_mutex_destroy(&followers->lock);
	free(followers);
}

struct follower *follower_new(struct followers *followers, enum digest_algorithm algorithm)
{
	struct follower *follower = calloc(1, sizeof(*follower));

	if (!follower)
		return NULL;
	follower->followers = followers;
	follower->algorithm = algorithm;
	follower->hasher = hasher_new(algorithm);
	follower->piece = malloc(READ_BYTES);
	if (follower->hasher && follower->piece)
		return follower;
	hasher_free(follower->hasher);
	free(follower->piece);
	free(follower);
	return NULL;
}

enum digest_algorithm follower_algorithm(const struct follower *follower)
{
	return follower->algorithm;
}

void follower_feed(struct follower *follower, int fd, uint64_t size_bytes)
{
	struct followers *followers = follower->followers;

	pthread_mutex_lock(&followers->lock);
	follower->fd = fd;
	follower->fed = size_bytes;
	if (follower->state == IDLE) {
		follower->state = QUEUED;
		follower->next = NULL;
		*followers->last = follower;
		followers->last = &follower->next;
		pthread_cond_signal(&followers->wake);
	}
	pthread_mutex_unlock(&followers->lock);
}

/* Under lock. */
static void take_from_queue(struct followers *followers, struct follower *follower)
{
	struct follower **p = &followers->first;

	while (*p != follower)
		p = &(*p)->next;
	*p = follower->next;
	if (!*p)
		followers->last = p;
	follower->state = IDLE;
}

void follower_pause(struct follower *follower)
{
	struct followers *followers = follower->followers;

	pthread_mutex_lock(&followers->lock);
	if (follower->state == QUEUED)
		take_from_queue(followers, follower);
	follower->pausing = true;
	while (follower->state == RUNNING)
		pthread_cond_wait(&followers->idle, &followers->lock);
	follower->pausing = false;
	pthread_mutex_unlock(&followers->lock);
}

void follower_free(struct follower *follower)
{
	if (!follower)
		return;
	follower_pause(follower);
	hasher_free(follower->hasher);
	free(follower->piece);
	free(follower);
}

int follower_finish(struct follower *follower, int fd, uint64_t size_bytes, struct digest *out)
{
	/* Nothing is faster than this thread doing the rest itself. */
	follower_pause(follower);
	while (!follower->failed && follower->hashed < size_bytes)
		hash_piece(follower, fd, size_bytes);
	if (follower->failed || follower->hashed != size_bytes)
		return -EIO;
	hasher_final(follower->hasher, out);
	follower->hashed = follower->written_back = 0;
	return 0;
}
