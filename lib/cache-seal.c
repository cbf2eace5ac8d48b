/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what happens to a published file afterwards: fsync, +i, removal, and the look at
 * every file after a start. +i means "was durable"; what lacks it after another boot is
 * hashed again. Any thread; the list of unsealed digests is under its lock.
 */
#include "lib/cache-internal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lib/log.h"

enum { SEAL_BATCH = 500 };

int cache_remember_unsealed(struct cache *cache, const struct digest *digest)
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

void cache_hurry(struct cache *cache)
{
	cache->hurry = true;
}

/* The last ones, at most SEAL_BATCH. Return: how many; *@out is allocated. */
static int take_unsealed(struct cache *cache, struct digest **out)
{
	size_t n;

	*out = malloc(SEAL_BATCH * sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_lock(&cache->lock);
	n = cache->n_unsealed < SEAL_BATCH ? cache->n_unsealed : SEAL_BATCH;
	cache->n_unsealed -= n;
	if (n)
		memcpy(*out, cache->unsealed + cache->n_unsealed, n * sizeof(**out));
	if (!cache->n_unsealed) {
		free(steal_ptr(cache->unsealed));
		cache->max_unsealed = 0;
	}
	pthread_mutex_unlock(&cache->lock);
	return (int)n;
}

/* Return: 0 or negative errno of the first failure; *@n_sealed counts on. */
static int seal_batch(struct cache *cache, const struct digest *batch, size_t n, int *n_sealed)
{
	int first = 0, r;

	for (size_t i = 0; i < n; i++) {
		r = sync_blob(cache, &batch[i]);
		if (!r || r == -ENOENT)
			continue;
		if (!first)
			first = r;
		if ((r != -EMFILE && r != -ENFILE) || cache_remember_unsealed(cache, &batch[i]))
			cache->lost_unsealed = true;
	}
	if (n && fsync(cache->blobs_fd)) {
		cache->lost_unsealed = true;
		return -errno;
	}
	for (size_t i = 0; i < n; i++) {
		cleanup_close int fd = cache_open_blob(cache, &batch[i]);

		if (fd < 0) {
			cache->lost_unsealed = cache->lost_unsealed || fd != -ENOENT;
			continue;
		}
		r = cache->no_immutable ? 0 : set_immutable(fd, true);
		if (r == -EOPNOTSUPP || r == -ENOTTY || r == -EPERM) {
			cache->no_immutable = true;
			log_warning("cache: files cannot be made immutable here (%s); a root "
				    "process could change them",
				    strerror(-r));
		} else if (r) {
			first = first ? first : r;
			cache->lost_unsealed = true;
		}
		*n_sealed += r == 0;
	}
	return first;
}

int cache_seal(struct cache *cache)
{
	int n_sealed = 0, r = 0, n;

	do {
		cleanup_free struct digest *batch = NULL;

		n = take_unsealed(cache, &batch);
		r = n < 0 ? n : seal_batch(cache, batch, (size_t)n, &n_sealed);
	} while (!r && n == SEAL_BATCH && !cache->hurry);
	return r ? r : n_sealed;
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

static int write_boot_id(struct cache *cache)
{
	char boot_id[64];
	int r = read_boot_id(boot_id, sizeof(boot_id));

	return r ? r
		 : write_file_durably_at(cache->root_fd, "boot-id", boot_id, strlen(boot_id), 0644);
}

static bool is_other_boot(const struct cache *cache)
{
	cleanup_free char *last = NULL;
	char now[64];
	size_t len;

	return read_boot_id(now, sizeof(now)) ||
	       read_file_at(cache->root_fd, "boot-id", sizeof(now), &last, &len) ||
	       strcmp(now, last) != 0;
}

/* The marker goes before the first file comes, and for good. */
enum cache_state cache_take(struct cache *cache)
{
	bool sealed = !unlinkat(cache->root_fd, "sealed", 0), other = is_other_boot(cache);

	if (sealed && fsync(cache->root_fd))
		sealed = false;
	if (sealed && (!other || !write_boot_id(cache)))
		return CACHE_SEALED;
	return other ? CACHE_OTHER_BOOT : CACHE_SAME_BOOT;
}

int cache_leave(struct cache *cache)
{
	bool unsealed;

	pthread_mutex_lock(&cache->lock);
	unsealed = cache->n_unsealed > 0;
	pthread_mutex_unlock(&cache->lock);
	return unsealed || cache->lost_unsealed
		       ? 0
		       : write_file_durably_at(cache->root_fd, "sealed", "", 0, 0644);
}

/* What cannot be looked at must not keep everything else from being served. Return: 1. */
static int set_aside(struct cache *cache, const char *name, int error)
{
	log_error("cache: %s cannot be used (%s); it is moved to tmp/", name, strerror(-error));
	if (renameat(cache->blobs_fd, name, cache->temp_fd, name))
		log_error("cache: nor can it be moved: %s", strerror(errno));
	return 1;
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
	if (fd == -ENOENT) /* evicted meanwhile */
		return 0;
	if (fd < 0)
		return set_aside(cache, name, fd);
	r = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? cache_is_sealed(fd) : -EINVAL;
	if (r == -ENOTTY || r == -EOPNOTSUPP)
		r = 0;
	if (r == 0 && rehash) {
		r = digest_compute_fd(DIGEST_SHA256, fd, &actual, NULL);
		if (!r && !digest_equal(&digest, &actual))
			r = -EBADMSG;
	}
	if (r == 0)
		r = cache_remember_unsealed(cache, &digest);
	close(fd);
	if (r == -EBADMSG) {
		log_error("cache: %s was damaged when the host went down; it is removed", name);
		r = cache_remove(cache, &digest);
		return r ? r : 1;
	}
	if (r < 0)
		return r == -ENOMEM ? r : set_aside(cache, name, r);
	usage->files++;
	usage->bytes += (uint64_t)st.st_size;
	return 0;
}

/* Names of temporary files begin with the pid of their writer. */
static int sweep_temp(struct cache *cache)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(cache->temp_fd, ".", &dir);

	if (r)
		return r;
	while ((entry = readdir(dir))) {
		long pid = strtol(entry->d_name, NULL, 10);

		if (entry->d_name[0] != '.' && strchr(entry->d_name, '-') && pid > 0 &&
		    kill((pid_t)pid, 0) && errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	return 0;
}

int cache_recover(struct cache *cache, enum cache_state state, struct cache_usage *usage)
{
	bool rehash = state == CACHE_OTHER_BOOT;
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int n_removed = 0, r;

	*usage = (struct cache_usage){ .files = 0 };
	r = sweep_temp(cache);
	if (!r)
		r = open_dir_at(cache->blobs_fd, ".", &dir);
	while (r >= 0 && (entry = readdir(dir))) {
		r = cache->hurry ? -ECANCELED : recover_blob(cache, entry->d_name, rehash, usage);
		if (r > 0)
			n_removed++;
	}
	if (r >= 0 && rehash)
		r = write_boot_id(cache);
	return r < 0 ? r : n_removed;
}
