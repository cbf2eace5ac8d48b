/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the data of a session: where it lies, how it grows, and how it becomes a blob. Touched only
 * by the request that acquired the session, on whatever thread that runs.
 */
#include <fcntl.h>
#include <string.h>

#include "server/upload_internal.h"

static int create_session_file(struct upload *upload)
{
	int dirfd = upload->uploads->store->uploads_fd, fd, r;
	char path[NAME_SIZE];

	upload_repository_name(upload, path);
	fd = store_openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	r = write_all(fd, upload->repository, strlen(upload->repository));
	if (close(fd) && !r)
		r = -errno;
	if (!r) {
		fd = store_openat(dirfd, upload->id, O_RDWR | O_CREAT | O_EXCL, 0600);
		r = fd < 0 ? fd : 0;
	}
	if (r) {
		unlinkat(dirfd, path, 0);
		return r;
	}
	upload->temp.fd = fd;
	upload->on_disk = true;
	return 0;
}

static int open_data(struct upload *upload, bool keep, enum digest_algorithm algorithm)
{
	int r;

	if (upload->temp.fd >= 0)
		return 0;
	if (upload->on_disk) {
		r = store_openat(upload->uploads->store->uploads_fd, upload->id, O_RDWR, 0);
		if (r < 0)
			return r;
		upload->temp.fd = r;
		return 0;
	}
	r = keep ? create_session_file(upload)
		 : store_temp_create(upload->uploads->store, &upload->temp);
	if (r)
		return r;
	upload->has_temp = !keep;
	follower_free(upload->follower);
	upload->follower = follower_new(upload->uploads->followers, algorithm);
	return 0;
}

static int pwrite_all(int fd, const char *bytes, size_t len, uint64_t off)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, bytes, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int upload_append(struct upload *upload, const void *bytes, size_t len, bool keep,
		  enum digest_algorithm algorithm, char **piece)
{
	int r;

	if (!len)
		return 0;
	r = open_data(upload, keep, algorithm);
	if (r)
		return r;
	r = pwrite_all(upload->temp.fd, bytes, len, upload->size_bytes);
	if (r) {
		/* The size counts, not the file's end; but give the space back. */
		(void)!ftruncate(upload->temp.fd, (off_t)upload->size_bytes);
		return r;
	}
	upload->size_bytes += len;
	upload->data_synced = false;
	if (upload->follower)
		follower_feed(upload->follower, upload->temp.fd, upload->size_bytes, piece, len);
	return 0;
}

int upload_sync(struct upload *upload)
{
	int dirfd = upload->uploads->store->uploads_fd, r = 0;
	char path[NAME_SIZE];

	if (!upload->on_disk || (upload->data_synced && upload->name_synced))
		return 0;
	r = open_data(upload, true, upload->expected); /* a request before this one was cut */
	if (r)
		return r;
	if (fdatasync(upload->temp.fd))
		r = -errno;
	upload->data_synced = !r;
	if (!r && !upload->name_synced) {
		cleanup_close int fd = -1;

		upload_repository_name(upload, path);
		fd = store_openat(dirfd, path, O_RDONLY, 0);
		r = fd < 0 ? fd : fdatasync(fd) || fsync(dirfd) ? -errno : 0;
		upload->name_synced = !r;
	}
	if (!r)
		return 0;
	/* What a failed sync left nobody knows, and a second one would not tell: start over. */
	follower_free(steal_ptr(upload->follower));
	close(steal_fd(&upload->temp.fd));
	upload_remove_files(upload);
	upload->size_bytes = 0;
	return r;
}

static int check_digest(struct upload *upload, const struct digest *digest)
{
	struct digest found;
	uint64_t size_bytes = upload->size_bytes;
	int r;

	if (upload->follower && follower_algorithm(upload->follower) == digest->algorithm)
		r = follower_finish(upload->follower, upload->temp.fd, size_bytes, &found);
	else
		r = digest_compute_fd(digest->algorithm, upload->temp.fd, &found, &size_bytes);
	follower_free(steal_ptr(upload->follower));
	if (r)
		return r;
	return digest_equal(&found, digest) && size_bytes == upload->size_bytes ? 0 : -EBADMSG;
}

int upload_commit(struct upload *upload, const void *bytes, size_t len, const struct digest *digest)
{
	struct store *store = upload->uploads->store;
	struct store_temp temp;
	struct digest found;
	int r;

	if (!upload->size_bytes) { /* small enough to have stayed in memory */
		r = digest_compute(digest->algorithm, bytes, len, &found);
		if (r)
			return r;
		if (!digest_equal(&found, digest))
			return -EBADMSG;
		return store_publish_content(store, digest, bytes, len);
	}
	r = upload_append(upload, bytes, len, true, digest->algorithm, NULL);
	if (!r)
		r = open_data(upload, true, digest->algorithm);
	if (!r)
		r = check_digest(upload, digest);
	if (r)
		return r;
	temp = upload->temp;
	upload->temp.fd = -1;
	upload->has_temp = false;
	/* /proc/self/fd links a file without a name; one with a name goes by that. */
	if (upload->on_disk)
		memcpy(temp.name, upload->id, sizeof(upload->id));
	r = store_publish_blob(store, &temp, digest);
	upload->size_bytes = 0;
	upload_remove_files(
		upload); /* published, or lost to a failed sync: the session starts over */
	return r;
}
