/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns whether the store takes changes. A disk that fails again and again is not written to any
 * more: what is there can still be read, and each further write is a risk for it. Any thread.
 */
#include <fcntl.h>
#include <string.h>

#include "lib/log.h"
#include "server/store.h"

/* So many failures in this time are no accident of a single block. */
enum { FAILURES_MAX = STORE_FAILURES_MAX, FAILURES_MS = 60 * 1000, PROBE_BYTES = 4096 };

#define PROBE_NAME "tmp-probe" /* uploads_new() removes what is called so */

static void set_read_only(struct store *store, const char *reason)
{
	if (atomic_exchange(&store->read_only_reason, reason))
		return;
	log_error("store: %s: it is read-only until a test write succeeds; look at the kernel's "
		  "log",
		  reason);
}

void store_note_failure(struct store *store, int error)
{
	int64_t now = now_ms(), first;

	if (error == -EROFS) {
		set_read_only(store, "its file system is read-only");
		return;
	}
	if (error != -EIO && error != -EUCLEAN)
		return;
	pthread_mutex_lock(&store->health_lock);
	store->failures_ms[store->n_failures++ % FAILURES_MAX] = now;
	/* The oldest of the ring is now the oldest of the last FAILURES_MAX. */
	first = store->failures_ms[store->n_failures % FAILURES_MAX];
	pthread_mutex_unlock(&store->health_lock);
	if (first && now - first < FAILURES_MS)
		set_read_only(store, "its disk fails");
}

const char *store_read_only_reason(const struct store *store)
{
	return store->read_only_reason;
}

bool store_is_read_only(const struct store *store)
{
	return store_read_only_reason(store);
}

bool store_has_all_leases(const struct store *store)
{
	int64_t writable_ms = store->writable_ms;

	return !writable_ms || now_ms() - writable_ms >= store->lease_s * 1000 / 2;
}

static int write_probe(int dirfd)
{
	static const char bytes[PROBE_BYTES];
	cleanup_close int fd = -1;
	int r;

	/* A new file each time: one whose sync failed may not be asked again. */
	if (unlinkat(dirfd, PROBE_NAME, 0) && errno != ENOENT)
		return -errno;
	fd = store_openat(dirfd, PROBE_NAME, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	r = write_all(fd, bytes, sizeof(bytes));
	if (!r && fsync(fd))
		r = -errno;
	if (unlinkat(dirfd, PROBE_NAME, 0) && !r)
		r = -errno;
	if (!r && fsync(dirfd))
		r = -errno;
	return r;
}

int store_probe(struct store *store)
{
	int r = write_probe(store->uploads_fd);

	/* Names that were seen are on disk then, as after a start. */
	if (!r && syncfs(store->root_fd))
		r = -errno;
	if (r && r != -ENOSPC && r != -EDQUOT)
		return r;
	pthread_mutex_lock(&store->health_lock);
	memset(store->failures_ms, 0, sizeof(store->failures_ms));
	pthread_mutex_unlock(&store->health_lock);
	/* Before anybody may take it for writable. */
	if (store_is_read_only(store))
		store->writable_ms = now_ms();
	if (atomic_exchange(&store->read_only_reason, NULL))
		log_warning("store: a test write succeeded, changes are taken again");
	return 0;
}
