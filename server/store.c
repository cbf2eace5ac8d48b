/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the top of the store: its directories, its lock, and how files in it are opened.
 * Start-up makes and syncs every fixed directory, so that a publish has only its own
 * names to care for.
 */
#include "server/store.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "lib/log.h"

enum {
	UPKEEP_PAUSE_MS = 50, /* so that a stop is seen in time */
	/* Files that may be open, now and once the limit is raised, for shards to be kept open. */
	SHARDS_KEPT_FROM = 1024,
	SHARDS_KEPT_FROM_MAX = 4096,
};

int store_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	/* Filters of old container runtimes do not know the call. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	return fd < 0 ? -errno : (int)fd;
}

int store_exists(int dirfd, const char *path)
{
	struct stat st;

	if (!fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW))
		return 1;
	return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

int64_t store_now(void)
{
	return (int64_t)time(NULL);
}

int store_sync_dir(int dirfd, const char *path)
{
	cleanup_close int fd = store_openat(dirfd, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	return fsync(fd) ? -errno : 0;
}

static int open_dir(int dirfd, const char *name, mode_t mode, int *out)
{
	int fd;

	if (mkdirat(dirfd, name, mode) && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

/* blobs/sha256/00 .. ff: made once, so that a publish never has to sync a new shard. */
static int make_shards(int blobs_fd, enum digest_algorithm algorithm)
{
	cleanup_close int fd = -1;
	char name[3];
	int r = open_dir(blobs_fd, digest_algorithm_name(algorithm), 0755, &fd);

	if (r)
		return r;
	for (unsigned int i = 0; i < STORE_SHARDS; i++) {
		snprintf(name, sizeof(name), "%02x", i);
		if (mkdirat(fd, name, 0755) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* Where descriptors are scarce, paths will do. */
static void keep_shards(struct store *store)
{
	struct rlimit limit;
	char path[16];

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < SHARDS_KEPT_FROM ||
	    limit.rlim_max < SHARDS_KEPT_FROM_MAX)
		return;
	store->shard_fds = malloc(STORE_SHARDS * sizeof(*store->shard_fds));
	for (unsigned int i = 0; store->shard_fds && i < STORE_SHARDS; i++) {
		snprintf(path, sizeof(path), "sha256/%02x", i);
		store->shard_fds[i] =
			openat(store->blobs_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
}

static void drop_shards(struct store *store)
{
	for (unsigned int i = 0; store->shard_fds && i < STORE_SHARDS; i++) {
		if (store->shard_fds[i] >= 0)
			close(store->shard_fds[i]);
	}
	free(store->shard_fds);
}

static bool is_unsupported(int error)
{
	return error == EOPNOTSUPP || error == EISDIR || error == EINVAL;
}

/* What a store has can be given also from a full disk and a read-only one. */
static bool is_readable_only(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EROFS;
}

static int take_lock(struct store *store, const char *path, struct problem *problem)
{
	store->lock_fd = openat(store->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0 && is_readable_only(errno))
		store->lock_fd = openat(store->root_fd, "lock", O_RDONLY | O_CLOEXEC);
	if (store->lock_fd < 0)
		return -errno;
	if (!flock(store->lock_fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	return problem_set(problem, -EWOULDBLOCK,
			   "store %s: another intinode-serve has it open; stop that one first, or "
			   "give this one its own --store",
			   path);
}

static int open_layout(struct store *store, const char *path, struct problem *problem)
{
	cleanup_close int tmp = -1;
	int r = make_dirs(path, 0755);

	if (r)
		return r;
	store->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->root_fd < 0)
		return -errno;
	r = take_lock(store, path, problem);
	if (!r)
		r = open_dir(store->root_fd, "blobs", 0755, &store->blobs_fd);
	if (!r)
		r = open_dir(store->root_fd, "repositories", 0755, &store->repositories_fd);
	if (!r)
		r = open_dir(store->root_fd, "uploads", 0700, &store->uploads_fd);
	for (int i = DIGEST_SHA256; !r && i <= (int)DIGEST_SHA512; i++)
		r = make_shards(store->blobs_fd, (enum digest_algorithm)i);
	if (r)
		return r;
	keep_shards(store);
	tmp = openat(store->uploads_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (tmp < 0 && !is_unsupported(errno) && !is_readable_only(errno))
		return -errno;
	store->no_tmpfile = tmp < 0 && is_unsupported(errno);
	if (tmp < 0)
		store_note_failure(store, -errno);
	/*
	 * A server that was killed may have left names that were seen but not yet synced;
	 * from here on, a name that is there is on disk.
	 */
	return syncfs(store->root_fd) ? -errno : 0;
}

int store_open(const char *path, struct store **out, struct problem *problem)
{
	struct store *store = calloc(1, sizeof(*store));
	struct problem why = { "" };
	int r;

	if (!store)
		return -ENOMEM;
	store->root_fd = store->blobs_fd = store->repositories_fd = -1;
	store->uploads_fd = store->lock_fd = -1;
	for (size_t i = 0; i < ARRAY_SIZE(store->locks); i++)
		pthread_mutex_init(&store->locks[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(store->blob_locks); i++)
		pthread_mutex_init(&store->blob_locks[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(store->link_locks); i++)
		pthread_mutex_init(&store->link_locks[i], NULL);
	pthread_mutex_init(&store->upkeep, NULL);
	pthread_mutex_init(&store->health_lock, NULL);
	store->packed_hints = calloc(STORE_FORM_HINTS, sizeof(*store->packed_hints));
	store->compress = true;
	store->lease_s = STORE_LEASE_DEFAULT_S;
	r = store->packed_hints ? open_layout(store, path, &why) : -ENOMEM;
	if (!r) {
		*out = store;
		return 0;
	}
	store_close(store);
	if (why.text[0])
		return problem_set(problem, r, "%s", why.text);
	return problem_set(problem, r, "store %s: %s; it must be a directory this user may write",
			   path, strerror(-r));
}

void store_close(struct store *store)
{
	if (!store)
		return;
	int fds[] = { store->blobs_fd, store->repositories_fd, store->uploads_fd, store->root_fd,
		      store->lock_fd };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(store->locks); i++)
		pthread_mutex_destroy(&store->locks[i]);
	for (size_t i = 0; i < ARRAY_SIZE(store->blob_locks); i++)
		pthread_mutex_destroy(&store->blob_locks[i]);
	for (size_t i = 0; i < ARRAY_SIZE(store->link_locks); i++)
		pthread_mutex_destroy(&store->link_locks[i]);
	pthread_mutex_destroy(&store->upkeep);
	pthread_mutex_destroy(&store->health_lock);
	drop_shards(store);
	free(store->packed_hints);
	free(store);
}

static uint32_t hash_name(const char *repository)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (const char *p = repository; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	return hash;
}

static pthread_mutex_t *repository_lock(struct store *store, const char *repository)
{
	return &store->locks[hash_name(repository) % ARRAY_SIZE(store->locks)];
}

uint32_t store_changes(const struct store *store, const char *repository)
{
	return store->changes[hash_name(repository) % STORE_CHANGE_COUNTS];
}

void store_note_change(struct store *store, const char *repository)
{
	store->changes[hash_name(repository) % STORE_CHANGE_COUNTS]++;
}

void store_lock_repository(struct store *store, const char *repository)
{
	pthread_mutex_lock(repository_lock(store, repository));
}

void store_unlock_repository(struct store *store, const char *repository)
{
	pthread_mutex_unlock(repository_lock(store, repository));
}

int store_begin_upkeep(struct store *store, const atomic_bool *stop)
{
	static const struct timespec pause = { .tv_nsec = UPKEEP_PAUSE_MS * 1000000L };

	while (pthread_mutex_trylock(&store->upkeep)) {
		if (stop && *stop)
			return -ECANCELED;
		nanosleep(&pause, NULL);
	}
	return 0;
}

void store_end_upkeep(struct store *store)
{
	pthread_mutex_unlock(&store->upkeep);
}
