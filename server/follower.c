/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the threads and their queue. A follower is idle, queued, or run by one thread; what is
 * marked "under lock" changes under the lock of them all, and its hasher belongs to the thread
 * that runs it, or to the caller while it is idle.
 */
#include "server/follower.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

enum {
	READ_BYTES = 256 * 1024,
	WRITE_BACK_BYTES = 8 * 1024 * 1024, /* told to the kernel at a time */
	THREADS_MAX = 64,
	QUEUE = 8,	 /* pieces of one follower */
	PIECES_MAX = 64, /* of all together: 8 MiB */
};

enum state { IDLE, QUEUED, RUNNING };

/* Bytes of the file that are in memory. */
struct piece {
	char *bytes; /* owned: FOLLOWER_PIECE */
	size_t len;
	uint64_t off; /* in the file */
};

struct follower {
	struct followers *followers; /* borrowed */
	struct hasher *hasher;	     /* owned */
	enum digest_algorithm algorithm;
	char *buffer;		   /* owned: READ_BYTES */
	struct piece queue[QUEUE]; /* under lock: one behind the other, none behind fed */
	size_t n_queue;		   /* under lock */
	enum state state;	   /* under lock */
	bool pausing;		   /* under lock */
	int fd;			   /* under lock; borrowed */
	uint64_t fed;		   /* under lock: bytes that are in the file */
	uint64_t hashed;	   /* of whose hasher it is */
	uint64_t written_back;	   /* likewise */
	bool failed;		   /* likewise */
	struct follower *next;	   /* under lock: in the queue */
};

struct followers {
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct follower *first, **last; /* under lock */
	bool stop;			/* under lock */
	char *spare[PIECES_MAX];	/* under lock; owned */
	size_t n_spare;			/* under lock */
	size_t n_pieces;		/* under lock: spare or in a queue */
	unsigned int n;
	pthread_t threads[THREADS_MAX];
};

static void note_hashed(struct follower *follower, int fd, size_t len)
{
	follower->hashed += len;
	if (follower->hashed - follower->written_back < WRITE_BACK_BYTES)
		return;
	/* Begun, not waited for; where this is not possible the sync does it all. */
	(void)!sync_file_range(fd, (off_t)follower->written_back,
			       (off_t)(follower->hashed - follower->written_back),
			       SYNC_FILE_RANGE_WRITE);
	follower->written_back = follower->hashed;
}

/* The next bytes of the file, up to @end. Not under lock. */
static void hash_file(struct follower *follower, int fd, uint64_t end)
{
	uint64_t left = end - follower->hashed;
	size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
	ssize_t n = pread_full(fd, follower->buffer, want, follower->hashed);

	if (n < 0 || (size_t)n != want) {
		follower->failed = true;
		return;
	}
	hasher_update(follower->hasher, follower->buffer, want);
	note_hashed(follower, fd, want);
}

/* Under lock. */
static struct piece take_piece(struct follower *follower)
{
	struct piece piece = follower->queue[0];

	follower->n_queue--;
	memmove(follower->queue, follower->queue + 1, follower->n_queue * sizeof(piece));
	return piece;
}

/* Under lock. */
static void give_back(struct followers *followers, struct piece *piece)
{
	followers->spare[followers->n_spare++] = piece->bytes;
}

/* The next bytes, from memory where they are there. Under lock, which is dropped for the work. */
static void hash_next(struct follower *follower)
{
	struct followers *followers = follower->followers;
	uint64_t end = follower->fed;
	struct piece piece = { .bytes = NULL };
	int fd = follower->fd;

	if (follower->n_queue && follower->queue[0].off == follower->hashed)
		piece = take_piece(follower);
	else if (follower->n_queue)
		end = follower->queue[0].off;
	pthread_mutex_unlock(&followers->lock);
	if (piece.bytes) {
		hasher_update(follower->hasher, piece.bytes, piece.len);
		note_hashed(follower, fd, piece.len);
	} else {
		hash_file(follower, fd, end);
	}
	pthread_mutex_lock(&followers->lock);
	if (piece.bytes)
		give_back(followers, &piece);
}

/* Under lock, which is dropped for the work. */
static void run(struct followers *followers, struct follower *follower)
{
	follower->state = RUNNING;
	while (!follower->pausing && !follower->failed && follower->hashed < follower->fed)
		hash_next(follower);
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
	while (followers->n_spare)
		free(followers->spare[--followers->n_spare]);
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
	follower->buffer = malloc(READ_BYTES);
	if (follower->hasher && follower->buffer)
		return follower;
	hasher_free(follower->hasher);
	free(follower->buffer);
	free(follower);
	return NULL;
}

enum digest_algorithm follower_algorithm(const struct follower *follower)
{
	return follower->algorithm;
}

/* Under lock. Return: memory of FOLLOWER_PIECE bytes to go on with, or NULL: keep what you have. */
static char *other_memory(struct followers *followers)
{
	char *bytes;

	if (followers->n_spare)
		return followers->spare[--followers->n_spare];
	if (followers->n_pieces == PIECES_MAX)
		return NULL;
	bytes = malloc(FOLLOWER_PIECE);
	if (bytes)
		followers->n_pieces++;
	return bytes;
}

/* Under lock. */
static void enqueue_piece(struct follower *follower, char **piece, size_t len)
{
	char *other = follower->n_queue < QUEUE ? other_memory(follower->followers) : NULL;

	if (!other)
		return;
	follower->queue[follower->n_queue++] =
		(struct piece){ .bytes = *piece, .len = len, .off = follower->fed - len };
	*piece = other;
}

/* Under lock. */
static void drop_pieces(struct follower *follower)
{
	while (follower->n_queue)
		give_back(follower->followers, &follower->queue[--follower->n_queue]);
}

void follower_feed(struct follower *follower, int fd, uint64_t size_bytes, char **piece, size_t len)
{
	struct followers *followers = follower->followers;

	pthread_mutex_lock(&followers->lock);
	follower->fd = fd;
	follower->fed = size_bytes;
	if (piece)
		enqueue_piece(follower, piece, len);
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

/* Under lock, which is dropped meanwhile: no thread has it any more. */
static void stop_running(struct follower *follower)
{
	struct followers *followers = follower->followers;

	if (follower->state == QUEUED)
		take_from_queue(followers, follower);
	follower->pausing = true;
	while (follower->state == RUNNING)
		pthread_cond_wait(&followers->idle, &followers->lock);
	follower->pausing = false;
}

void follower_pause(struct follower *follower)
{
	struct followers *followers = follower->followers;

	pthread_mutex_lock(&followers->lock);
	stop_running(follower);
	drop_pieces(follower);
	pthread_mutex_unlock(&followers->lock);
}

void follower_free(struct follower *follower)
{
	if (!follower)
		return;
	follower_pause(follower);
	hasher_free(follower->hasher);
	free(follower->buffer);
	free(follower);
}

int follower_finish(struct follower *follower, int fd, uint64_t size_bytes, struct digest *out)
{
	struct followers *followers = follower->followers;

	/* Nothing is faster than this thread doing the rest itself. */
	pthread_mutex_lock(&followers->lock);
	stop_running(follower);
	follower->fd = fd;
	follower->fed = size_bytes;
	while (!follower->failed && follower->hashed < size_bytes)
		hash_next(follower);
	drop_pieces(follower);
	pthread_mutex_unlock(&followers->lock);
	if (follower->failed || follower->hashed != size_bytes)
		return -EIO;
	hasher_final(follower->hasher, out);
	follower->hashed = follower->written_back = 0;
	return 0;
}
