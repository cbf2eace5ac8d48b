/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the layout and the commit order of the cache.
 *
 * The hard idea is the order: the writer's descriptor is closed, and a lease proves that no
 * writable descriptor or mapping is left, before the file gets its name. A name that an
 * exec() can find while a writer is open would answer ETXTBSY, and bytes could change
 * behind the hash. fsync comes after the name (a blocked open does not wait for the
 * disk); +i comes last and means "was durable".
 *
 * Any thread; the list of unsealed digests is under its lock.
 */
#include "lib/cache-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"

enum {
	/* Smaller files are covered by the file system's own reservation at write(). */
	RESERVE_MIN_BYTES = 1024 * 1024,
	LEASE_TRIES = 100,
	LEASE_WAIT_US = 1000,
};

struct cache_writer {
	struct cache *cache;   /* borrowed */
	struct hasher *hasher; /* owned */
	int fd;		       /* owned */
	struct digest digest;
	uint64_t size_bytes, written;
	bool reserved;
	char temp_name[32]; /* empty for an O_TMPFILE */
};

static int open_dir(int dirfd, const char *name, mode_t mode, int *out)
{
	int fd;

	if (mkdirat(dirfd, name, mode) && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

int cache_open(const char *root, struct cache **out, struct problem *problem)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	int r;

	if (!cache)
		return -ENOMEM;
	cache->root_fd = cache->blobs_fd = cache->temp_fd = -1;
	pthread_mutex_init(&cache->lock, NULL);
	r = make_dirs(root, 0755);
	if (!r) {
		cache->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (cache->root_fd < 0)
			r = -errno;
	}
	if (!r)
		r = open_dir(cache->root_fd, "sha256", 0755, &cache->blobs_fd);
	if (!r)
		r = open_dir(cache->root_fd, "tmp", 0700, &cache->temp_fd);
	if (r) {
		cache_close(cache);
		return problem_set(
			problem, r,
			"cache directory %s: %s; it must be a directory that this user may write",
			root, strerror(-r));
	}
	*out = cache;
	return 0;
}

int cache_open_reader(const char *root, struct cache **out, struct problem *problem)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	int r = 0;

	if (!cache)
		return -ENOMEM;
	cache->blobs_fd = cache->temp_fd = -1;
	pthread_mutex_init(&cache->lock, NULL);
	cache->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cache->root_fd >= 0)
		cache->blobs_fd = openat(cache->root_fd, "sha256",
					 O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (cache->blobs_fd < 0)
		r = -errno;
	if (r) {
		cache_close(cache);
		return problem_set(problem, r,
				   "cache directory %s: %s; it must be one that intinode-fetchd "
				   "has made (a directory with sha256/ in it)",
				   root, strerror(-r));
	}
	*out = cache;
	return 0;
}

void cache_close(struct cache *cache)
{
	if (!cache)
		return;
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? cache->root_fd : i == 1 ? cache->blobs_fd : cache->temp_fd;

		if (fd >= 0)
			close(fd);
	}
	pthread_mutex_destroy(&cache->lock);
	free(cache->unsealed);
	free(cache);
}

int cache_dirfd(const struct cache *cache)
{
	return cache->blobs_fd;
}

bool cache_has(const struct cache *cache, const struct digest *digest, uint64_t size_bytes)
{
	char hex[DIGEST_TEXT_SIZE];
	struct stat st;

	return !fstatat(cache->blobs_fd, digest_format_hex(digest, hex), &st,
			AT_SYMLINK_NOFOLLOW) &&
	       S_ISREG(st.st_mode) && (uint64_t)st.st_size == size_bytes;
}

int cache_open_blob(const struct cache *cache, const struct digest *digest)
{
	char hex[DIGEST_TEXT_SIZE];
	int fd = openat(cache->blobs_fd, digest_format_hex(digest, hex),
			O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_unnamed(struct cache *cache, struct cache_writer *writer)
{
	int fd;

	if (!cache->no_tmpfile) {
		fd = openat(cache->blobs_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0444);
		if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
			return fd < 0 ? -errno : fd;
		cache->no_tmpfile = true;
	}
	snprintf(writer->temp_name, sizeof(writer->temp_name), "%d-%u", (int)getpid(),
		 cache->serial++);
	fd = openat(cache->temp_fd, writer->temp_name,
		    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	return fd < 0 ? -errno : fd;
}

/* Where it cannot be done the bytes take their room as they come. */
static int reserve(struct cache_writer *writer)
{
	if (!fallocate(writer->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)writer->size_bytes))
		writer->reserved = true;
	else if (errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

int cache_begin(struct cache *cache, const struct digest *digest, uint64_t size_bytes,
		struct cache_writer **out)
{
	struct cache_writer *writer;
	int r = 0;

	if (digest->algorithm != DIGEST_SHA256)
		return -EINVAL;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return -ENOMEM;
	writer->cache = cache;
	writer->digest = *digest;
	writer->size_bytes = size_bytes;
	writer->hasher = hasher_new(DIGEST_SHA256);
	writer->fd = writer->hasher ? open_unnamed(cache, writer) : -ENOMEM;
	if (writer->fd < 0)
		r = writer->fd;
	else if (size_bytes > (uint64_t)INT64_MAX)
		r = -EFBIG;
	else if (size_bytes >= RESERVE_MIN_BYTES)
		r = reserve(writer);
	if (r) {
		cache_abort(writer);
		return r;
	}
	*out = writer;
	return 0;
}

int cache_write(struct cache_writer *writer, const void *bytes, size_t len)
{
	int r;

	if (len > writer->size_bytes - writer->written)
		return -EFBIG;
	r = write_all(writer->fd, bytes, len);
	if (r)
		return r;
	hasher_update(writer->hasher, bytes, len);
	writer->written += len;
	return 0;
}

bool cache_is_reserved(const struct cache_writer *writer)
{
	return writer->reserved;
}

uint64_t cache_written(const struct cache_writer *writer)
{
	return writer->written;
}

/* Exchange the writable descriptor for a read-only one that is the only one left. */
static int freeze(struct cache_writer *writer)
{
	char path[64];
	int fd, tries;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (close(steal_fd(&writer->fd))) {
		int r = -errno;

		close(fd);
		return r;
	}
	writer->fd = fd;
	/* A fork in another thread may hold a copy until its exec: wait for that moment. */
	for (tries = 0; fcntl(fd, F_SETLEASE, F_RDLCK); tries++) {
		if (errno != EAGAIN)
			return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -errno;
		if (tries == LEASE_TRIES)
			return -ETXTBSY;
		usleep(LEASE_WAIT_US);
	}
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}

static int link_blob(struct cache_writer *writer)
{
	struct cache *cache = writer->cache;
	char hex[DIGEST_TEXT_SIZE], path[64];

	digest_format_hex(&writer->digest, hex);
	if (writer->temp_name[0]) {
		if (!linkat(cache->temp_fd, writer->temp_name, cache->blobs_fd, hex, 0))
			return 0;
		return -errno;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer->fd);
	if (!linkat(AT_FDCWD, path, cache->blobs_fd, hex, AT_SYMLINK_FOLLOW))
		return 0;
	return -errno;
}

static int publish(struct cache_writer *writer)
{
	struct digest digest;
	int r;

	hasher_final(writer->hasher, &digest);
	if (writer->written != writer->size_bytes || !digest_equal(&digest, &writer->digest))
		return -EBADMSG;
	if (fchmod(writer->fd, 0444))
		return -errno;
	r = freeze(writer);
	if (r)
		return r;
	r = link_blob(writer);
	if (r == -EEXIST && !cache_has(writer->cache, &writer->digest, writer->size_bytes)) {
		/* What has the name is damaged: another size cannot have this digest. */
		log_error("cache: a damaged file is replaced");
		r = cache_remove(writer->cache, &writer->digest);
		if (!r)
			r = link_blob(writer);
	}
	if (r)
		return r == -EEXIST ? 0 : r;
	/* Behind the link, so that a seal cannot look for it too early. */
	if (cache_remember_unsealed(writer->cache, &writer->digest)) {
		writer->cache->lost_unsealed = true;
		log_warning("cache: a file will be made durable at the next start only");
	}
	return 0;
}

int cache_commit(struct cache_writer *writer)
{
	int r = publish(writer);

	cache_abort(writer);
	return r;
}

void cache_abort(struct cache_writer *writer)
{
	if (!writer)
		return;
	if (writer->temp_name[0])
		unlinkat(writer->cache->temp_fd, writer->temp_name, 0);
	if (writer->fd >= 0)
		close(writer->fd);
	hasher_free(writer->hasher);
	free(writer);
}
