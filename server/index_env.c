/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the LMDB environment and the markers beside it, which say what it is worth:
 *
 *     index/whole    but for what was under way it knows every file
 *     index/clean    and nothing was under way when it was closed; holds the file's SHA-256
 *     index/tried    a process has it open that has not yet compared it with the files
 *
 * A damaged page can be the end of a process. Who finds "tried" knows that the one before did not
 * get through, and makes the index anew instead of dying, too.
 *
 * Where the files got ahead of it (a full disk), "whole" goes first. No MDB_WRITEMAP: a full
 * disk would be SIGBUS.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "server/index_internal.h"
#include "server/store.h"

enum { READERS_MAX = 1024, LOCK_FILE_BYTES = 128 * 1024 /* more than READERS_MAX need */ };

/* LMDB has no checksums. What is larger takes too long to read at a start, and is trusted. */
enum { CHECKED_BYTES_MAX = 64 << 20 };

#define CLEAN_MARKER "index/clean"
#define WHOLE_MARKER "index/whole"
#define TRIED_MARKER "index/tried"

static const char *const table_names[INDEX_TABLES] = {
	[INDEX_REPOSITORIES] = "repositories",
	[INDEX_TAGS] = "tags",
	[INDEX_MANIFESTS] = "manifests",
	[INDEX_REFERRERS] = "referrers",
};

int index_error(struct index *index, int r)
{
	switch (r) {
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
	case MDB_CURSOR_FULL:
	case MDB_PAGE_FULL:
		if (!atomic_exchange(&index->damaged, true))
			log_error("index: %s; it is made anew, pulls and pushes go on",
				  mdb_strerror(r));
		return -EUCLEAN;
	default:
		return r > 0 ? -r : -EIO;
	}
}

static int open_tables(struct index *index)
{
	MDB_txn *txn;
	int r = mdb_txn_begin(index->env, NULL, 0, &txn);

	if (r)
		return r;
	for (int i = 0; i < INDEX_TABLES; i++) {
		r = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &index->tables[i]);
		if (r) {
			mdb_txn_abort(txn);
			return r;
		}
	}
	return mdb_txn_commit(txn);
}

/* A file shorter than its last page would be SIGBUS later. */
static bool is_cut_short(int root_fd, MDB_env *env)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat st;

	if (mdb_env_info(env, &info) || mdb_env_stat(env, &stat) ||
	    fstatat(root_fd, "index/data.mdb", &st, 0))
		return true;
	return (uint64_t)st.st_size < ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

/*
 * LMDB maps this file and writes to it; a page for which the disk has no block would be
 * SIGBUS. So it gets its blocks now, and where files are copied on write, keeps them.
 */
static int reserve_lock_file(int root_fd)
{
	cleanup_close int fd =
		openat(root_fd, "index/lock.mdb", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int flags = 0;

	if (fd < 0)
		return errno;
	if (!ioctl(fd, FS_IOC_GETFLAGS, &flags) && !(flags & FS_NOCOW_FL)) {
		flags |= FS_NOCOW_FL;
		if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
			log_debug("index: this file system does not copy on write");
	}
	return posix_fallocate(fd, 0, LOCK_FILE_BYTES);
}

static int open_env(struct index *index)
{
	char path[64];
	int r;

	if (mkdirat(index->root_fd, "index", 0700) && errno != EEXIST)
		return errno;
	r = mdb_env_create(&index->env);
	if (r)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/index", index->root_fd);
	r = reserve_lock_file(index->root_fd);
	if (!r)
		r = mdb_env_set_maxdbs(index->env, INDEX_TABLES);
	if (!r)
		r = mdb_env_set_maxreaders(index->env, READERS_MAX);
	if (!r)
		r = mdb_env_set_mapsize(index->env, (size_t)index->map_bytes);
	if (!r)
		r = mdb_env_open(index->env, path, MDB_NOTLS, 0600);
	if (!r && is_cut_short(index->root_fd, index->env))
		r = MDB_CORRUPTED;
	if (!r)
		r = open_tables(index);
	if (r) {
		mdb_env_close(index->env);
		index->env = NULL;
	}
	return r;
}

static void move_away(int root_fd)
{
	int r = remove_tree_at(root_fd, "index.damaged");

	if (!r && renameat(root_fd, "index", root_fd, "index.damaged"))
		r = remove_tree_at(root_fd, "index");
	if (r)
		log_warning("index: the damaged one cannot be removed: %s", strerror(-r));
}

static bool marker_take(int root_fd, const char *name)
{
	return !unlinkat(root_fd, name, 0);
}

static int marker_leave(int root_fd, const char *name)
{
	int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 || close(fd) ? -errno : 0;
}

/* "sha256:…" of data.mdb while nobody has it open. Return: 0, -EFBIG or -errno. */
static int file_digest(int root_fd, char out[static DIGEST_TEXT_SIZE])
{
	cleanup_close int fd = openat(root_fd, "index/data.mdb", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct digest digest;
	uint64_t size_bytes;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (st.st_size > CHECKED_BYTES_MAX)
		return -EFBIG;
	r = digest_compute_fd(DIGEST_SHA256, fd, &digest, &size_bytes);
	if (!r)
		digest_format(&digest, out);
	return r;
}

static int leave_clean(int root_fd)
{
	char text[DIGEST_TEXT_SIZE] = "";
	cleanup_close int fd = -1;
	int r = file_digest(root_fd, text);

	if (r && r != -EFBIG)
		return r;
	fd = openat(root_fd, CLEAN_MARKER, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, strlen(text));
	return r ? r : fsync(fd) ? -errno : 0;
}

/* Did somebody, or the disk, change the file since it was closed? */
static bool was_changed(int root_fd)
{
	cleanup_free char *wanted = NULL;
	char text[DIGEST_TEXT_SIZE];
	size_t len;

	return !read_file_at(root_fd, CLEAN_MARKER, sizeof(text), &wanted, &len) && len &&
	       !file_digest(root_fd, text) && strcmp(wanted, text) != 0;
}

/* What a new index may not cure. */
static bool is_of_the_disk(int r)
{
	return r == ENOSPC || r == EDQUOT || r == EROFS || r == EACCES || r == ENOMEM ||
	       r == EMFILE || r == ENFILE;
}

/* Return: 0 or errno, also LMDB's own; *@present: is what it held before still there? */
static int open_or_replace(struct index *index, bool *present)
{
	int r = open_env(index);

	if (r && *present && !is_of_the_disk(r)) {
		log_warning("index: %s; it is rebuilt from the store's files", mdb_strerror(r));
		move_away(index->root_fd);
		*present = false;
		r = open_env(index);
	}
	if (r)
		log_error("index: %s; until it can be opened there are no listings, pulls go on",
			  mdb_strerror(r));
	return r;
}

int index_open(int root_fd, uint64_t map_bytes, struct index **out, enum index_state *state,
	       struct problem *problem)
{
	struct index *index = calloc(1, sizeof(*index));
	struct stat st;
	bool clean, whole, present;
	int r;

	if (!index)
		return problem_set(problem, -ENOMEM, "index of the store: no memory");
	index->root_fd = root_fd;
	index->map_bytes = map_bytes;
	pthread_rwlock_init(&index->map_lock, NULL);
	pthread_mutex_init(&index->state_lock, NULL);
	present = !fstatat(root_fd, "index/data.mdb", &st, 0);
	if (present && (!st.st_size || was_changed(root_fd))) {
		log_warning("index: its file was changed since it was closed; it is rebuilt from "
			    "the store's files");
		move_away(root_fd);
		present = false;
	}
	whole = present && !fstatat(root_fd, WHOLE_MARKER, &st, AT_SYMLINK_NOFOLLOW);
	clean = whole && marker_take(root_fd, CLEAN_MARKER);
	if (clean && store_sync_dir(root_fd, "index"))
		clean = false;
	if (present && !clean && marker_take(root_fd, TRIED_MARKER)) {
		log_warning("index: the server that had it open did not get through it; it is "
			    "rebuilt from the store's files");
		move_away(root_fd);
		present = false;
	}
	if (present && marker_leave(root_fd, TRIED_MARKER))
		log_debug("index: no marker that it is open");
	r = open_or_replace(index, &present);
	if (clean)
		index_settle(index);
	*state = r || !present || !whole ? INDEX_EMPTY : clean ? INDEX_CLEAN : INDEX_UNCERTAIN;
	*out = index;
	return 0;
}

void index_settle(struct index *index)
{
	if (!marker_take(index->root_fd, TRIED_MARKER) && errno != ENOENT)
		log_debug("index: the marker that it is open stays");
}

void index_close(struct index *index, bool clean)
{
	if (!index)
		return;
	index_settle(index);
	if (index->damaged && index->env) {
		mdb_env_close(index->env);
		move_away(index->root_fd);
	} else if (index->env) {
		if (!index->ready || mdb_env_sync(index->env, 1))
			clean = false;
		mdb_env_close(index->env);
		if (clean &&
		    (leave_clean(index->root_fd) || store_sync_dir(index->root_fd, "index")))
			log_debug("index: no marker, it is checked at the next start");
	}
	pthread_rwlock_destroy(&index->map_lock);
	pthread_mutex_destroy(&index->state_lock);
	free(index);
}

int index_repair(struct index *index)
{
	bool present = true;
	int r = 0;

	pthread_rwlock_wrlock(&index->map_lock);
	if (index->env && index->damaged) {
		mdb_env_close(index->env);
		index->env = NULL;
		move_away(index->root_fd);
		index->damaged = false;
	}
	if (!index->env)
		r = open_or_replace(index, &present);
	pthread_rwlock_unlock(&index->map_lock);
	return r > 0 ? -r : r ? -EIO : 0;
}

bool index_needs_repair(struct index *index)
{
	return !index->ready || index->damaged;
}

uint64_t index_failures(const struct index *index)
{
	return index->n_failures;
}

void index_set_ready(struct index *index, uint64_t n_failures)
{
	pthread_mutex_lock(&index->state_lock);
	if (index->n_failures == n_failures && !index->damaged) {
		if (marker_leave(index->root_fd, WHOLE_MARKER))
			log_debug("index: no marker, it is rebuilt at the next start");
		index->ready = true;
	}
	pthread_mutex_unlock(&index->state_lock);
}

int index_fall_behind(struct index *index, int error)
{
	int r = 0;

	pthread_mutex_lock(&index->state_lock);
	index->n_failures++;
	if (index->ready)
		log_error("index: %s; listings wait until it is in step with the store again, "
			  "pulls and pushes go on",
			  strerror(-error));
	index->ready = false;
	if (marker_take(index->root_fd, WHOLE_MARKER))
		r = store_sync_dir(index->root_fd, "index");
	else if (errno != ENOENT)
		r = -errno;
	pthread_mutex_unlock(&index->state_lock);
	return r;
}

bool index_is_ready(const struct index *index)
{
	return index->ready && !index->damaged;
}

void index_check_readers(struct index *index)
{
	int dead;

	pthread_rwlock_rdlock(&index->map_lock);
	if (index->env && !index->damaged && mdb_reader_check(index->env, &dead))
		log_debug("index: readers cannot be checked");
	pthread_rwlock_unlock(&index->map_lock);
}
