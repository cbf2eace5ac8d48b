/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads directories: of the lower tree, with the lower tree's offsets, so that an offset
 * stays good for as long as it does there. Any of libfuse's threads.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "client/fuse-file.h"

/* An open directory; the file handle. */
struct dir {
	pthread_mutex_t lock; /* one descriptor may be read by several processes */
	DIR *stream;	      /* owned, under lock */
	off_t off;	      /* where the stream is, under lock */
	struct dirent *ahead; /* read but not handed out yet; borrowed of the stream */
};

/* Where an answer is put together. */
struct listing {
	fuse_req_t req;
	struct node *node; /* of the directory */
	char *buffer;	   /* owned by the caller */
	size_t used, size;
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct dir *)(uintptr_t)fi->fh;
}

static void dir_free(struct dir *dir)
{
	if (dir->stream)
		closedir(dir->stream);
	pthread_mutex_destroy(&dir->lock);
	free(dir);
}

void dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_frontend *frontend = fuse_req_userdata(req);
	int fd = node_open(frontend->nodes, ops_node(req, ino), O_RDONLY | O_DIRECTORY);
	struct dir *dir = NULL;
	int r;

	if (fd >= 0)
		dir = calloc(1, sizeof(*dir));
	if (!dir) {
		if (fd >= 0)
			close(fd);
		fuse_reply_err(req, fd < 0 ? -fd : ENOMEM);
		return;
	}
	pthread_mutex_init(&dir->lock, NULL);
	dir->stream = fdopendir(fd);
	if (!dir->stream) {
		r = errno;
		close(fd);
		dir_free(dir);
		fuse_reply_err(req, r);
		return;
	}
	fi->fh = (uintptr_t)dir;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	if (fuse_reply_open(req, fi))
		dir_free(dir);
}

void dir_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	dir_free(dir_of(fi));
	fuse_reply_err(req, 0);
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Return: 0 added, 1 no room for it. */
static int add_plain(struct listing *listing, const struct dir *dir, const struct dirent *entry)
{
	struct stat st = { .st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type) };
	size_t room = listing->size - listing->used;
	size_t n = fuse_add_direntry(listing->req, listing->buffer + listing->used, room,
				     entry->d_name, &st, entry->d_off);

	(void)dir;
	if (n > room)
		return 1;
	listing->used += n;
	return 0;
}

/*
 * One file that cannot be examined (a stub that cannot be read) must not hide its whole
 * directory: it is listed without its node, and examined again when it is looked at.
 */
static int add_plus(struct listing *listing, const struct dir *dir, const struct dirent *entry)
{
	struct fuse_frontend *frontend = fuse_req_userdata(listing->req);
	struct fuse_entry_param param = { .attr_timeout = OPS_KEEP_S, .entry_timeout = OPS_KEEP_S };
	size_t room = listing->size - listing->used, n;
	struct node *node = NULL;
	int r = 1;

	if (!is_dot(entry->d_name))
		r = node_lookup_at(frontend->nodes, listing->node, dirfd(dir->stream),
				   entry->d_name, &node, &param.attr);
	if (r)
		param.attr =
			(struct stat){ .st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type) };
	else
		param.ino = (uintptr_t)node;
	n = fuse_add_direntry_plus(listing->req, listing->buffer + listing->used, room,
				   entry->d_name, &param, entry->d_off);
	if (n > room && node)
		node_forget(frontend->nodes, node, 1);
	if (n > room)
		return 1;
	listing->used += n;
	return 0;
}

/* Return: 0, or negative errno where not even one entry could be had. */
static int fill(struct listing *listing, struct dir *dir, off_t off,
		int (*add)(struct listing *, const struct dir *, const struct dirent *))
{
	int r;

	if (off != dir->off) {
		seekdir(dir->stream, off);
		dir->ahead = NULL;
		dir->off = off;
	}
	for (;;) {
		errno = 0;
		if (!dir->ahead)
			dir->ahead = readdir(dir->stream);
		if (!dir->ahead)
			return errno && !listing->used ? -errno : 0;
		r = add(listing, dir, dir->ahead);
		if (r)
			return 0;
		dir->off = dir->ahead->d_off;
		dir->ahead = NULL;
	}
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     const struct fuse_file_info *fi,
		     int (*add)(struct listing *, const struct dir *, const struct dirent *))
{
	struct listing listing = { .req = req, .node = ops_node(req, ino), .size = size };
	cleanup_free char *buffer = malloc(size);
	struct dir *dir = dir_of(fi);
	int r;

	if (!buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	listing.buffer = buffer;
	pthread_mutex_lock(&dir->lock);
	r = fill(&listing, dir, off, add);
	pthread_mutex_unlock(&dir->lock);
	if (r)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, buffer, listing.used);
}

void dir_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, add_plain);
}

void dir_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, add_plus);
}
