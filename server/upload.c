/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns upload sessions. The table is under its lock; a session is touched only by the
 * request that acquired it (busy), on whatever thread that runs.
 */
#include "server/upload_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "server/quota.h"

/* A mount that found nothing leaves an empty session; where there are too many, old ones go. */
enum { FORGOTTEN_MS = 60 * 1000 };

static unsigned int bucket_of(const char *id)
{
	unsigned int value = 0;

	for (int i = 0; i < 3; i++)
		value = value * 16 + (unsigned int)(id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10);
	return value % BUCKETS;
}

void upload_repository_name(const struct upload *upload, char out[static NAME_SIZE])
{
	snprintf(out, NAME_SIZE, "%s.repository", upload->id);
}

static struct upload *upload_alloc(struct uploads *uploads, const char *repository)
{
	struct upload *upload = calloc(1, sizeof(*upload));

	if (!upload)
		return NULL;
	upload->uploads = uploads;
	upload->temp.fd = -1;
	upload->used_ms = now_ms();
	snprintf(upload->repository, sizeof(upload->repository), "%s", repository);
	return upload;
}

/* Of the quota only what is stored stays held, or nothing. */
static void give_back(struct upload *upload, uint64_t keep_bytes)
{
	if (upload->held_bytes <= keep_bytes)
		return;
	quota_release(upload->uploads->store->quotas, upload->repository,
		      upload->held_bytes - keep_bytes);
	upload->held_bytes = keep_bytes;
}

static void upload_destroy(struct upload *upload)
{
	give_back(upload, 0);
	follower_free(upload->follower);
	store_temp_discard(upload->uploads->store, &upload->temp);
	free(upload);
}

/* Under lock. */
static void remove_locked(struct uploads *uploads, struct upload *upload)
{
	struct upload **p = &uploads->buckets[bucket_of(upload->id)];

	while (*p && *p != upload)
		p = &(*p)->next;
	if (*p) {
		*p = upload->next;
		uploads->n--;
	}
}

/* Under lock: the session without data that nobody has used for longest; or NULL. */
static struct upload *take_forgotten(struct uploads *uploads)
{
	int64_t before = now_ms() - FORGOTTEN_MS;
	struct upload *oldest = NULL;

	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct upload *upload = uploads->buckets[i]; upload; upload = upload->next) {
			if (!upload->busy && !upload->on_disk && upload->used_ms < before &&
			    (!oldest || upload->used_ms < oldest->used_ms))
				oldest = upload;
		}
	}
	if (oldest)
		remove_locked(uploads, oldest);
	return oldest;
}

static int insert(struct uploads *uploads, struct upload *upload)
{
	unsigned int bucket = bucket_of(upload->id);
	struct upload *forgotten = NULL;
	int r = 0;

	pthread_mutex_lock(&uploads->lock);
	if (uploads->n >= UPLOADS_MAX)
		forgotten = take_forgotten(uploads);
	if (uploads->n >= UPLOADS_MAX) {
		r = -EAGAIN;
	} else {
		upload->next = uploads->buckets[bucket];
		uploads->buckets[bucket] = upload;
		uploads->n++;
	}
	pthread_mutex_unlock(&uploads->lock);
	if (forgotten)
		upload_destroy(forgotten);
	return r;
}

/* What a crash left that belongs to no session: a copy half made, a name without data. */
static void sweep(struct uploads *uploads, const char *name)
{
	int dirfd = uploads->store->uploads_fd;
	char data[UPLOAD_ID_LEN + 1];
	struct stat st;

	if (!strncmp(name, "tmp-", 4)) {
		unlinkat(dirfd, name, 0);
	} else if (strlen(name) > UPLOAD_ID_LEN && !strcmp(name + UPLOAD_ID_LEN, ".repository")) {
		memcpy(data, name, UPLOAD_ID_LEN);
		data[UPLOAD_ID_LEN] = '\0';
		if (fstatat(dirfd, data, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
			unlinkat(dirfd, name, 0);
	}
}

/* A session that an earlier run left; what is not a whole session is removed. */
static int adopt(struct uploads *uploads, const char *name)
{
	cleanup_free char *repository = NULL;
	struct upload *upload;
	char path[NAME_SIZE];
	struct stat st;
	size_t len;
	int r;

	if (strlen(name) != UPLOAD_ID_LEN || strspn(name, "0123456789abcdef") != UPLOAD_ID_LEN) {
		sweep(uploads, name);
		return 0;
	}
	snprintf(path, sizeof(path), "%s.repository", name);
	r = read_file_at(uploads->store->uploads_fd, path, REPOSITORY_MAX, &repository, &len);
	if (r || !repository_is_valid(repository, len) ||
	    fstatat(uploads->store->uploads_fd, name, &st, AT_SYMLINK_NOFOLLOW) ||
	    st.st_nlink > 1) { /* published: what came now would change the blob */
		unlinkat(uploads->store->uploads_fd, name, 0);
		unlinkat(uploads->store->uploads_fd, path, 0);
		return 0;
	}
	upload = upload_alloc(uploads, repository);
	if (!upload)
		return -ENOMEM;
	memcpy(upload->id, name, UPLOAD_ID_LEN + 1);
	/* store_open() has synced what it found. */
	upload->listed = upload->on_disk = upload->name_synced = upload->data_synced = true;
	upload->size_bytes = (uint64_t)st.st_size;
	/* Its time begins anew: by a clock that was set wrongly it would be over. */
	r = insert(uploads, upload);
	if (r)
		upload_destroy(upload);
	return 0;
}

int uploads_new(struct store *store, struct uploads **out)
{
	struct uploads *uploads = calloc(1, sizeof(*uploads));
	cleanup_closedir DIR *dir = NULL;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct dirent *entry;
	int r, fd;

	if (!uploads)
		return -ENOMEM;
	uploads->store = store;
	pthread_mutex_init(&uploads->lock, NULL);
	r = followers_new(cores > 0 ? (unsigned int)cores : 1, &uploads->followers);
	if (r) {
		uploads_free(uploads);
		return r;
	}
	fd = store_openat(store->uploads_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir) {
		r = fd < 0 ? fd : -ENOMEM;
		if (fd >= 0)
			close(fd);
	}
	while (!r && !(r = next_entry(dir, &entry)) && entry)
		r = adopt(uploads, entry->d_name);
	if (r) {
		uploads_free(uploads);
		return r;
	}
	*out = uploads;
	return 0;
}

unsigned int uploads_count(struct uploads *uploads)
{
	unsigned int n;

	pthread_mutex_lock(&uploads->lock);
	n = (unsigned int)uploads->n;
	pthread_mutex_unlock(&uploads->lock);
	return n;
}

void uploads_free(struct uploads *uploads)
{
	if (!uploads)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (uploads->buckets[i]) {
			struct upload *upload = uploads->buckets[i];

			uploads->buckets[i] = upload->next;
			upload_destroy(upload);
		}
	}
	followers_free(uploads->followers);
	pthread_mutex_destroy(&uploads->lock);
	free(uploads);
}

void upload_remove_files(struct upload *upload)
{
	char path[NAME_SIZE];

	if (!upload->on_disk)
		return;
	upload_repository_name(upload, path);
	unlinkat(upload->uploads->store->uploads_fd, upload->id, 0);
	unlinkat(upload->uploads->store->uploads_fd, path, 0);
	upload->on_disk = upload->name_synced = false;
}

void uploads_expire(struct uploads *uploads, int64_t ttl_s)
{
	struct upload *old = NULL, *upload, *next;
	int64_t before = now_ms() - ttl_s * 1000;

	pthread_mutex_lock(&uploads->lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		for (upload = uploads->buckets[i]; upload; upload = next) {
			next = upload->next;
			if (upload->busy || upload->used_ms > before)
				continue;
			remove_locked(uploads, upload);
			upload->next = old;
			old = upload;
		}
	}
	pthread_mutex_unlock(&uploads->lock);
	while ((upload = old)) {
		old = upload->next;
		upload_remove_files(upload);
		upload_destroy(upload);
	}
}

int upload_new(struct uploads *uploads, const char *repository, bool listed, struct upload **out)
{
	struct upload *upload = upload_alloc(uploads, repository);
	unsigned char random[UPLOAD_ID_LEN / 2];
	int r = 0;

	if (!upload)
		return -ENOMEM;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		r = -EIO;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(upload->id + 2 * i, 3, "%02x", random[i]);
	upload->busy = true;
	upload->listed = listed;
	if (!r && listed)
		r = insert(uploads, upload);
	if (r) {
		upload_destroy(upload);
		return r;
	}
	*out = upload;
	return 0;
}

int upload_acquire(struct uploads *uploads, const char *id, const char *repository,
		   struct upload **out)
{
	struct upload *upload;
	int r = -ENOENT;

	pthread_mutex_lock(&uploads->lock);
	for (upload = uploads->buckets[bucket_of(id)]; upload; upload = upload->next) {
		if (strcmp(upload->id, id) || strcmp(upload->repository, repository))
			continue;
		r = upload->busy ? -EBUSY : 0;
		if (!r) {
			upload->busy = true;
			*out = upload;
		}
		break;
	}
	pthread_mutex_unlock(&uploads->lock);
	return r;
}

void upload_release(struct uploads *uploads, struct upload *upload)
{
	if (upload->has_temp || !upload->size_bytes) {
		follower_free(steal_ptr(upload->follower));
		store_temp_discard(uploads->store, &upload->temp);
		upload->has_temp = false;
		upload->size_bytes = 0;
	} else if (upload->temp.fd >= 0) {
		if (upload->follower)
			follower_pause(upload->follower);
		close(steal_fd(&upload->temp.fd)); /* the session file keeps its name */
	}
	if (!upload->listed) {
		upload_destroy(upload);
		return;
	}
	give_back(upload, upload->size_bytes);
	upload->used_ms = now_ms();
	pthread_mutex_lock(&uploads->lock);
	upload->busy = false;
	pthread_mutex_unlock(&uploads->lock);
}

void upload_drop(struct uploads *uploads, struct upload *upload)
{
	if (upload->listed) {
		pthread_mutex_lock(&uploads->lock);
		remove_locked(uploads, upload);
		pthread_mutex_unlock(&uploads->lock);
	}
	upload_remove_files(upload);
	upload_destroy(upload);
}

const char *upload_id(const struct upload *upload)
{
	return upload->id;
}

uint64_t upload_size(const struct upload *upload)
{
	return upload->size_bytes;
}

int upload_hold(struct upload *upload, uint64_t bytes, bool may_block, struct problem *problem)
{
	struct quotas *quotas = upload->uploads->store->quotas;
	uint64_t wanted = upload->size_bytes + bytes;
	int r;

	if (wanted <= upload->held_bytes)
		return 0;
	if (may_block)
		r = quota_hold(quotas, upload->repository, wanted - upload->held_bytes, problem);
	else
		r = quota_try(quotas, upload->repository, wanted - upload->held_bytes, problem);
	if (!r)
		upload->held_bytes = wanted;
	return r == -EAGAIN ? 0 : r; /* not counted yet: looked at again before the end */
}

void upload_expect(struct upload *upload, enum digest_algorithm algorithm)
{
	upload->expected = algorithm;
}

enum digest_algorithm upload_expected(const struct upload *upload)
{
	return upload->expected;
}
