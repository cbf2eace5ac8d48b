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
#include "lib/cache.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lib/log.h"

enum {
	/* Smaller files are covered by the file system's own reservation at write(). */
	RESERVE_MIN_BYTES = 1024 * 1024,
	LEASE_TRIES = 100,
	LEASE_WAIT_US = 1000,
};

struct cache {
	int root_fd;  /* owned */
	int blobs_fd; /* owned: ROOT/sha256 */
	int temp_fd;  /* owned: ROOT/tmp, only for file systems without O_TMPFILE */
	atomic_bool no_tmpfile;
	atomic_bool no_immutable;
	atomic_uint serial;
	pthread_mutex_t lock;
	struct digest *unsealed; /* owned, under lock */
	size_t n_unsealed, max_unsealed;
};

struct cache_writer {
	struct cache *cache;   /* borrowed */
	struct hasher *hasher; /* owned */
	int fd;		       /* owned */
	struct digest digest;
	uint64_t size_bytes, written;
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
	else if (size_bytes >= RESERVE_MIN_BYTES &&
		 fallocate(writer->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes) &&
		 errno != EOPNOTSUPP)
		r = -errno;
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

static int remember_unsealed(struct cache *cache, const struct digest *digest)
{
	int r = 0;

	pthread_mutex_lock(&cache->lock);
	if (cache->n_unsealed == cache->max_unsealed) {
		size_t max = cache->max_unsealed ? 2 * cache->max_unsealed : 64;
		struct digest *grown = realloc(cache->unsealed, max * sizeof(*grown));

		if (grown) {
			cache->unsealed = grown;
			cache->max_unsealed = max;
		} else {
			r = -ENOMEM;
		}
	}
	if (!r)
		cache->unsealed[cache->n_unsealed++] = *digest;
	pthread_mutex_unlock(&cache->lock);
	return r;
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
	/* Remembered first: an unsealed name that nobody remembers would never get its +i. */
	r = remember_unsealed(writer->cache, &writer->digest);
	if (!r)
		r = link_blob(writer);
	return r == -EEXIST ? 0 : r;
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

static int set_immutable(int fd, bool on)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -errno;
	if (on == !!(flags & FS_IMMUTABLE_FL))
		return 0;
	flags ^= FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) ? -errno : 0;
}

int cache_is_sealed(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -errno;
	return !!(flags & FS_IMMUTABLE_FL);
}

/* A file whose fsync failed has unknown bytes on disk: it must be fetched anew. */
static int sync_blob(struct cache *cache, const struct digest *digest)
{
	int fd = cache_open_blob(cache, digest), r = 0;

	if (fd < 0)
		return fd;
	if (fsync(fd)) {
		r = -errno;
		log_error("cache: fsync of a fetched file failed (%s); it is dropped",
			  strerror(-r));
	}
	close(fd);
	if (r)
		return cache_remove(cache, digest) ?: r;
	return 0;
}

int cache_seal(struct cache *cache)
{
	cleanup_free struct digest *batch = NULL;
	int first = 0, n_sealed = 0, r;
	size_t n;

	pthread_mutex_lock(&cache->lock);
	batch = steal_ptr(cache->unsealed);
	n = cache->n_unsealed;
	cache->n_unsealed = cache->max_unsealed = 0;
	pthread_mutex_unlock(&cache->lock);

	for (size_t i = 0; i < n; i++) {
		r = sync_blob(cache, &batch[i]);
		if (r && r != -ENOENT && !first)
			first = r;
	}
	if (n && fsync(cache->blobs_fd))
		return -errno;
	for (size_t i = 0; i < n; i++) {
		cleanup_close int fd = cache_open_blob(cache, &batch[i]);

		if (fd < 0)
			continue;
		r = cache->no_immutable ? 0 : set_immutable(fd, true);
		if (r == -EOPNOTSUPP || r == -ENOTTY || r == -EPERM) {
			cache->no_immutable = true;
			log_warning("cache: files cannot be made immutable here (%s); a root "
				    "process could change them",
				    strerror(-r));
		} else if (r && !first) {
			first = r;
		}
		n_sealed += r == 0;
	}
	return first ? first : n_sealed;
}

int cache_remove(struct cache *cache, const struct digest *digest)
{
	cleanup_close int fd = cache_open_blob(cache, digest);
	char hex[DIGEST_TEXT_SIZE];
	int r;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	r = set_immutable(fd, false);
	if (r && r != -EOPNOTSUPP && r != -ENOTTY)
		return r;
	if (unlinkat(cache->blobs_fd, digest_format_hex(digest, hex), 0) && errno != ENOENT)
		return -errno;
	return 0;
}

static int read_boot_id(char *out, size_t size)
{
	cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read_full(fd, out, size - 1);
	if (n < 0)
		return (int)n;
	out[n] = '\0';
	return 0;
}

bool cache_needs_recovery(const struct cache *cache)
{
	cleanup_free char *last = NULL;
	char now[64];
	size_t len;

	return read_boot_id(now, sizeof(now)) ||
	       read_file_at(cache->root_fd, "boot-id", sizeof(now), &last, &len) ||
	       strcmp(now, last) != 0;
}

/* Return: 1 removed, 0 kept, or negative errno. */
static int recover_blob(struct cache *cache, const char *name, bool rehash,
			struct cache_usage *usage)
{
	struct digest digest, actual;
	struct stat st;
	int fd, r;

	if (digest_parse_hex(DIGEST_SHA256, name, strlen(name), &digest))
		return 0;
	fd = cache_open_blob(cache, &digest);
	if (fd < 0)
		return fd;
	r = fstat(fd, &st) ? -errno : cache_is_sealed(fd);
	if (r == -ENOTTY || r == -EOPNOTSUPP)
		r = 0;
	if (r == 0 && rehash) {
		r = digest_compute_fd(DIGEST_SHA256, fd, &actual, NULL);
		if (!r && !digest_equal(&digest, &actual)) {
			log_error("cache: %s was damaged when the host went down; it is removed",
				  name);
			close(fd);
			r = cache_remove(cache, &digest);
			return r ? r : 1;
		}
	}
	if (r == 0)
		r = remember_unsealed(cache, &digest);
	close(fd);
	if (r < 0)
		return r;
	usage->files++;
	usage->bytes += (uint64_t)st.st_size;
	return 0;
}

static int sweep_temp(struct cache *cache)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int fd = openat(cache->temp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			unlinkat(fd, entry->d_name, 0);
	}
	return 0;
}

int cache_recover(struct cache *cache, struct cache_usage *usage)
{
	bool rehash = cache_needs_recovery(cache);
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int n_removed = 0, fd, r = 0;
	char boot_id[64];

	*usage = (struct cache_usage){ .files = 0 };
	if (rehash)
		r = sweep_temp(cache);
	fd = openat(cache->blobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (r >= 0 && (entry = readdir(dir))) {
		r = recover_blob(cache, entry->d_name, rehash, usage);
		if (r > 0)
			n_removed++;
	}
	if (r >= 0)
		r = read_boot_id(boot_id, sizeof(boot_id));
	if (!r && rehash)
		r = write_file_durably_at(cache->root_fd, "boot-id", boot_id, strlen(boot_id),
					  0644);
	return r < 0 ? r : n_removed;
}
