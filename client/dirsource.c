/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the walk over a plain directory. One thread. Everything is reached from descriptors of
 * directories, never by path, so a tree that changes under us cannot lead out of itself.
 */
#include "client/dirsource.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "lib/log.h"
#include "lib/tarwrite.h"

enum {
	READ_BYTES = 256 * 1024,
	/* A descriptor a level is held open. */
	DEPTH_MAX = 400,
	/* What Linux allows for the names, and for one value. */
	XATTR_LIST_MAX_BYTES = 65536,
	XATTR_VALUE_MAX_BYTES = 65536,
	XATTRS_MAX = 1024,
};

struct walk {
	int (*sink)(void *context, const void *bytes, size_t len);
	void *context;
	struct problem *problem;
	const char *root; /* borrowed: for messages */
	dev_t dev;
	void *links; /* owned: tsearch tree of struct link */
	char *piece; /* owned: READ_BYTES */
	unsigned int depth;
};

/* The first name of an inode that has several. */
struct link {
	ino_t ino;
	char *path; /* owned */
};

/* One file to be written. */
struct item {
	int dirfd;
	const char *name; /* in dirfd */
	const char *path; /* from the root of the tree */
	int fd;		  /* O_PATH, of the file itself */
	struct stat st;
	struct tar_new_entry entry;
	struct tar_xattr xattrs[XATTRS_MAX];
	char names[XATTR_LIST_MAX_BYTES];
};

static int explain(const struct walk *walk, int error, const char *path, const char *what)
{
	char shown[512];

	log_escape(shown, sizeof(shown), path, strlen(path));
	return problem_set(walk->problem, error, "%s/%s: %s%s%s", walk->root, shown, what,
			   *what ? ": " : "", strerror(-error));
}

static int compare_links(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void free_link(void *node)
{
	struct link *link = node;

	free(link->path);
	free(link);
}

/* Is it another name of what was written? Return: 1 with entry.link set, 0, -ENOMEM. */
static int find_link(struct walk *walk, struct item *item)
{
	struct link *link = calloc(1, sizeof(*link)), **found;

	if (!link)
		return -ENOMEM;
	link->ino = item->st.st_ino;
	link->path = strdup(item->path);
	found = link->path ? tsearch(link, &walk->links, compare_links) : NULL;
	if (!found) {
		free_link(link);
		return -ENOMEM;
	}
	if (*found == link)
		return 0;
	free_link(link);
	item->entry.type = '1';
	item->entry.link = (*found)->path;
	item->entry.size_bytes = 0;
	return 1;
}

static bool is_host_xattr(const char *name)
{
	return !strcmp(name, "security.selinux") || !strncmp(name, "trusted.overlay.", 16);
}

static int compare_xattrs(const void *a, const void *b)
{
	const struct tar_xattr *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int read_xattr(struct walk *walk, struct item *item, const char *self, const char *name)
{
	struct tar_xattr *xattr = &item->xattrs[item->entry.n_xattrs];
	cleanup_free char *value = malloc(XATTR_VALUE_MAX_BYTES);
	ssize_t n;
	char *copy;

	if (!value)
		return -ENOMEM;
	n = getxattr(self, name, value, XATTR_VALUE_MAX_BYTES);
	if (n < 0)
		return explain(walk, -errno, item->path, name);
	copy = malloc((size_t)n + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, value, (size_t)n);
	*xattr = (struct tar_xattr){ .name = name, .value = copy, .len = (size_t)n };
	item->entry.n_xattrs++;
	return 0;
}

static void free_xattrs(struct item *item)
{
	for (size_t i = 0; i < item->entry.n_xattrs; i++)
		free((void *)(uintptr_t)item->xattrs[i].value);
	item->entry.n_xattrs = 0;
}

/* By the descriptor's own path, which works for links and devices too. */
static int read_xattrs(struct walk *walk, struct item *item)
{
	char self[64];
	ssize_t n;
	int r = 0;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", item->fd);
	n = listxattr(self, item->names, sizeof(item->names));
	if (n < 0)
		return errno == EOPNOTSUPP
			       ? 0
			       : explain(walk, -errno, item->path, "extended attributes");
	for (const char *name = item->names; !r && name < item->names + n;
	     name += strlen(name) + 1) {
		if (is_host_xattr(name))
			continue;
		if (item->entry.n_xattrs == XATTRS_MAX)
			return explain(walk, -E2BIG, item->path, "extended attributes");
		r = read_xattr(walk, item, self, name);
	}
	qsort(item->xattrs, item->entry.n_xattrs, sizeof(*item->xattrs), compare_xattrs);
	item->entry.xattrs = item->xattrs;
	return r;
}

static int write_content(struct walk *walk, struct item *item)
{
	cleanup_close int fd =
		openat(item->dirfd, item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint64_t left = item->entry.size_bytes;
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st))
		return explain(walk, -errno, item->path, "");
	while (!r && left > 0) {
		ssize_t n =
			read_full(fd, walk->piece, left < READ_BYTES ? (size_t)left : READ_BYTES);

		if (n < 0)
			return explain(walk, (int)n, item->path, "");
		if (n == 0)
			break;
		r = walk->sink(walk->context, walk->piece, (size_t)n);
		left -= (uint64_t)n;
	}
	if (r)
		return r;
	if (left || st.st_ino != item->st.st_ino || st.st_size != item->st.st_size)
		return explain(walk, -ESTALE, item->path, "it changed while it was read");
	return tarwrite_padding(item->entry.size_bytes, walk->sink, walk->context);
}

static int write_entry(struct walk *walk, struct item *item)
{
	int r = tarwrite_header(&item->entry, walk->sink, walk->context);

	if (r == -E2BIG)
		return explain(walk, r, item->path, "extended attributes");
	if (!r && item->entry.type == '0')
		r = write_content(walk, item);
	return r;
}

static int write_symlink(struct walk *walk, struct item *item)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(item->fd, "", target, sizeof(target));

	if (n < 0 || n == sizeof(target))
		return explain(walk, n < 0 ? -errno : -ENAMETOOLONG, item->path, "");
	target[n] = '\0';
	item->entry.link = target;
	return write_entry(walk, item);
}

static int walk_dir(struct walk *walk, int fd, const char *path);

static int write_dir(struct walk *walk, struct item *item)
{
	cleanup_free char *path = format_text("%s/", *item->path ? item->path : ".");
	cleanup_close int fd = -1;
	int r;

	if (!path)
		return -ENOMEM;
	item->entry.path = path;
	r = write_entry(walk, item);
	if (r || item->st.st_dev != walk->dev)
		return r;
	fd = openat(item->dirfd, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return explain(walk, -errno, item->path, "");
	if (walk->depth == DEPTH_MAX)
		return explain(walk, -ELOOP, item->path, "too many directories in each other");
	walk->depth++;
	r = walk_dir(walk, fd, item->path);
	walk->depth--;
	return r;
}

static int write_by_type(struct walk *walk, struct item *item)
{
	struct tar_new_entry *entry = &item->entry;
	int r;

	if (S_ISSOCK(item->st.st_mode)) {
		log_warning("%s/%s: a socket; left out", walk->root, item->path);
		return 0;
	}
	r = read_xattrs(walk, item);
	if (r)
		return r;
	if (S_ISDIR(item->st.st_mode)) {
		entry->type = '5';
		return write_dir(walk, item);
	}
	entry->type = S_ISREG(item->st.st_mode)	  ? '0'
		      : S_ISLNK(item->st.st_mode) ? '2'
		      : S_ISCHR(item->st.st_mode) ? '3'
		      : S_ISBLK(item->st.st_mode) ? '4'
						  : '6';
	if (entry->type == '0')
		entry->size_bytes = (uint64_t)item->st.st_size;
	if (entry->type == '3' || entry->type == '4') {
		entry->major = major(item->st.st_rdev);
		entry->minor = minor(item->st.st_rdev);
	}
	if (item->st.st_nlink > 1) {
		r = find_link(walk, item);
		if (r)
			return r < 0 ? r : write_entry(walk, item);
	}
	return entry->type == '2' ? write_symlink(walk, item) : write_entry(walk, item);
}

static int write_item(struct walk *walk, int dirfd, const char *name, const char *path)
{
	cleanup_free struct item *item = malloc(sizeof(*item));
	int r;

	if (!item)
		return -ENOMEM;
	item->dirfd = dirfd;
	item->name = name;
	item->path = path;
	item->fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (item->fd < 0 || fstat(item->fd, &item->st)) {
		r = explain(walk, -errno, path, "");
		if (item->fd >= 0)
			close(item->fd);
		return r;
	}
	item->entry = (struct tar_new_entry){
		.path = path,
		.mode = item->st.st_mode & 07777,
		.uid = item->st.st_uid,
		.gid = item->st.st_gid,
		.mtime_sec = item->st.st_mtim.tv_sec,
		.mtime_nsec = (uint32_t)item->st.st_mtim.tv_nsec,
	};
	r = write_by_type(walk, item);
	free_xattrs(item);
	close(item->fd);
	return r;
}

static int not_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk_dir(struct walk *walk, int fd, const char *path)
{
	struct dirent **list = NULL;
	int n = scandirat(fd, ".", &list, not_dots, by_name), r = 0;

	if (n < 0)
		return explain(walk, -errno, path, "");
	for (int i = 0; i < n; i++) {
		cleanup_free char *child =
			format_text("%s%s%s", path, *path ? "/" : "", list[i]->d_name);

		if (!r)
			r = child ? write_item(walk, fd, list[i]->d_name, child) : -ENOMEM;
		free(list[i]);
	}
	free(list);
	return r;
}

int dir_source_write(const char *path, int (*sink)(void *context, const void *bytes, size_t len),
		     void *context, struct problem *problem)
{
	struct walk walk = { .sink = sink, .context = context, .problem = problem, .root = path };
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return problem_set(problem, -errno, "dir:%s: %s", path, strerror(errno));
	walk.dev = st.st_dev;
	walk.piece = malloc(READ_BYTES);
	r = walk.piece ? write_item(&walk, fd, ".", "") : -ENOMEM;
	if (!r)
		r = tarwrite_end(sink, context);
	tdestroy(walk.links, free_link);
	free(walk.piece);
	return r;
}
