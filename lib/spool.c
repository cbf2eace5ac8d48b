/* SPDX-License-Identifier: Apache-2.0 */
/* Owns temporary copies of content. A spool and a content belong to one thread at a time. */
#include "lib/spool.h"

#include <fcntl.h>
#include <string.h>

#include "lib/log.h"

enum { COPY_BYTES = 256 * 1024 };

struct spool {
	char *temp_dir;	       /* owned */
	struct hasher *hasher; /* owned */
	struct content content;
	uint64_t written;
};

void content_free(struct content *content)
{
	free(content->bytes);
	if (content->fd >= 0)
		close(content->fd);
	*content = CONTENT_EMPTY;
}

struct content content_move(struct content *content)
{
	struct content moved = *content;

	*content = CONTENT_EMPTY;
	return moved;
}

ssize_t content_read(const struct content *content, uint64_t off, void *bytes, size_t len)
{
	uint64_t left = content->size_bytes - off;
	ssize_t n;

	if (len > left)
		len = (size_t)left;
	if (content->bytes) {
		memcpy(bytes, content->bytes + off, len);
		return (ssize_t)len;
	}
	do {
		n = pread(content->fd, bytes, len, (off_t)off);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 && len > 0 ? -EIO : n;
}

int content_copy(const struct content *content,
		 int (*sink)(void *context, const void *bytes, size_t len), void *context)
{
	cleanup_free char *piece = NULL;
	int r = 0;

	if (content->size_bytes == 0)
		return 0;
	if (content->bytes)
		return sink(context, content->bytes, (size_t)content->size_bytes);
	piece = malloc(COPY_BYTES);
	if (!piece)
		return -ENOMEM;
	for (uint64_t off = 0; !r && off < content->size_bytes;) {
		ssize_t n = content_read(content, off, piece, COPY_BYTES);

		if (n < 0)
			return (int)n;
		r = sink(context, piece, (size_t)n);
		off += (uint64_t)n;
	}
	return r;
}

int spool_new(const char *temp_dir, struct spool **out, struct problem *problem)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	if (!temp_dir)
		temp_dir = getenv("TMPDIR");
	if (!temp_dir || !*temp_dir)
		temp_dir = "/var/tmp";
	if (spool) {
		spool->content = CONTENT_EMPTY;
		spool->hasher = hasher_new(DIGEST_SHA256);
		spool->temp_dir = strdup(temp_dir);
	}
	if (!spool || !spool->hasher || !spool->temp_dir) {
		spool_free(spool);
		return problem_set(problem, -ENOMEM, "out of memory");
	}
	*out = spool;
	return 0;
}

void spool_free(struct spool *spool)
{
	if (!spool)
		return;
	content_free(&spool->content);
	hasher_free(spool->hasher);
	free(spool->temp_dir);
	free(spool);
}

static int open_named(const char *dir)
{
	cleanup_free char *path = format_text("%s/intinode-XXXXXX", dir);
	int fd;

	if (!path)
		return -ENOMEM;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

int spool_temp_file(const struct spool *spool, struct problem *problem)
{
	int fd = open(spool->temp_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL
			     ? open_named(spool->temp_dir)
			     : -errno;
	if (fd < 0)
		return problem_set(problem, fd,
				   "temporary file in %s: %s; --temp names another directory",
				   spool->temp_dir, strerror(-fd));
	return fd;
}

int spool_begin(struct spool *spool, uint64_t size_bytes, struct problem *problem)
{
	struct digest unused;

	if (spool->written)
		hasher_final(spool->hasher, &unused);
	content_free(&spool->content);
	spool->written = 0;
	if (size_bytes <= SPOOL_MEMORY_MAX) {
		spool->content.bytes = malloc((size_t)size_bytes + 1);
		if (!spool->content.bytes)
			return problem_set(problem, -ENOMEM, "out of memory");
	} else {
		spool->content.fd = spool_temp_file(spool, problem);
		if (spool->content.fd < 0)
			return spool->content.fd;
	}
	spool->content.size_bytes = size_bytes;
	return 0;
}

int spool_write(struct spool *spool, const void *bytes, size_t len, struct problem *problem)
{
	int r = 0;

	if (len > spool->content.size_bytes - spool->written)
		return -EFBIG;
	if (spool->content.bytes)
		memcpy(spool->content.bytes + spool->written, bytes, len);
	else
		r = write_all(spool->content.fd, bytes, len);
	if (r)
		return problem_set(problem, r,
				   "temporary file in %s: %s; --temp names another directory",
				   spool->temp_dir, strerror(-r));
	hasher_update(spool->hasher, bytes, len);
	spool->written += len;
	return 0;
}

int spool_end(struct spool *spool, struct content *out)
{
	if (spool->written != spool->content.size_bytes)
		return -EBADMSG;
	hasher_final(spool->hasher, &spool->content.digest);
	spool->written = 0;
	*out = content_move(&spool->content);
	return 0;
}
