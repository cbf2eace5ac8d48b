/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the walk over a stub directory. Directories of the twin repeat mode, owner, times
 * and attributes, since the upper one wins where overlayfs merges two. A directory without
 * a stub below it is left out of the twin.
 */
#include "client/dirtwin.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "lib/log.h"

#define OVERLAY_XATTR "trusted.overlay."

enum { DEPTH_MAX = 4096, LIST_BYTES_MAX = 64 * 1024 };

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static int failed(struct problem *problem, int error, const char *name)
{
	char shown[300];

	log_escape(shown, sizeof(shown), name, strlen(name));
	return problem_set(problem, error, "'%s': %s", shown, strerror(-error));
}

/* ---- fingerprint ---- */

/* Sums of hashes, so that the order of readdir() does not matter. */
struct sum {
	uint64_t words[4];
};

static int add_entry(struct sum *sum, const struct stat *st, uint64_t parent, const char *name)
{
	struct digest digest;
	uint64_t words[4];
	char text[512];
	int n = snprintf(text, sizeof(text), "%llu %llu %llu %lld.%09ld %lld %s",
			 (unsigned long long)parent, (unsigned long long)st->st_dev,
			 (unsigned long long)st->st_ino, (long long)st->st_ctim.tv_sec,
			 st->st_ctim.tv_nsec, (long long)st->st_size, name);
	int r = digest_compute(DIGEST_SHA256, text, (size_t)n, &digest);

	memcpy(words, digest.bytes, sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		sum->words[i] += words[i];
	return r;
}

static int sum_dir(int dirfd, uint64_t ino, int depth, struct sum *sum, struct problem *problem)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = depth < DEPTH_MAX ? open_dir_at(dirfd, ".", &dir) : -ELOOP;

	while (!r && (entry = readdir(dir))) {
		struct stat st;

		if (is_dots(entry->d_name))
			continue;
		if (fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			return failed(problem, -errno, entry->d_name);
		r = add_entry(sum, &st, ino, entry->d_name);
		if (!r && S_ISDIR(st.st_mode)) {
			cleanup_close int fd =
				openat(dirfd, entry->d_name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			r = fd < 0 ? failed(problem, -errno, entry->d_name)
				   : sum_dir(fd, st.st_ino, depth + 1, sum, problem);
		}
	}
	return r;
}

int dirtwin_fingerprint(int dirfd, struct digest *out, struct problem *problem)
{
	struct sum sum = { .words = { 0 } };
	struct stat st;
	int r = fstat(dirfd, &st) ? -errno : add_entry(&sum, &st, 0, "");

	if (!r)
		r = sum_dir(dirfd, st.st_ino, 0, &sum, problem);
	return r ? r : digest_compute(DIGEST_SHA256, sum.words, sizeof(sum.words), out);
}

/* ---- twin ---- */

struct walk {
	int root_fd; /* of the twin */
	struct tree *tree;
	struct problem *problem;
	struct link *links; /* stubs with several names */
};

struct link {
	dev_t dev;
	ino_t ino;
	char *path; /* in the twin */
	struct link *next;
};

static int make_stub(struct walk *walk, int dirfd, int twinfd, const char *name,
		     const struct stat *st, const struct stub *stub, const char *path)
{
	struct link *link = walk->links;
	int fd, r;

	while (st->st_nlink > 1 && link && (link->dev != st->st_dev || link->ino != st->st_ino))
		link = link->next;
	if (st->st_nlink > 1 && link)
		return linkat(walk->root_fd, link->path, twinfd, name, 0) ? -errno : 0;
	fd = openat(twinfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)stub->size_bytes)
		    ? -errno
		    : tree_copy_metadata(dirfd, name, twinfd, name, st);
	if (!r)
		r = tree_make_metacopy(fd, stub);
	if (close(fd) && !r)
		r = -errno;
	if (!r)
		r = tree_note_stub(walk->tree, stub);
	if (r || st->st_nlink < 2)
		return r;
	link = calloc(1, sizeof(*link));
	if (!link)
		return -ENOMEM;
	link->dev = st->st_dev;
	link->ino = st->st_ino;
	link->path = strdup(path);
	link->next = walk->links;
	walk->links = link;
	return link->path ? 0 : -ENOMEM;
}

static int make_dir(struct walk *walk, int dirfd, int twinfd, const char *path, int depth);

static int make_subdir(struct walk *walk, int dirfd, int twinfd, const char *name,
		       const struct stat *st, const char *path, int depth)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int twin = -1;
	int r;

	if (fd < 0 || mkdirat(twinfd, name, 0700))
		return -errno;
	twin = openat(twinfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (twin < 0)
		return -errno;
	r = make_dir(walk, fd, twin, path, depth + 1);
	if (r)
		return r;
	/* Empty: no stub below it, so the original alone is what is shown. */
	if (!unlinkat(twinfd, name, AT_REMOVEDIR))
		return 0;
	return tree_copy_metadata(dirfd, name, twinfd, name, st);
}

/* Would overlayfs take it for something else than what it is? */
static int check_entry(int dirfd, const char *name, const struct stat *st, struct problem *problem)
{
	cleanup_free char *path = format_text("/proc/self/fd/%d/%s", dirfd, name);
	cleanup_free char *names = malloc(LIST_BYTES_MAX);
	char shown[300];
	ssize_t len;

	if (!path || !names)
		return -ENOMEM;
	log_escape(shown, sizeof(shown), name, strlen(name));
	if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0))
		return problem_set(problem, -EINVAL,
				   "'%s' is a device 0,0, which overlayfs takes for a whiteout; "
				   "--frontend=fuse can show it",
				   shown);
	len = llistxattr(path, names, LIST_BYTES_MAX);
	for (const char *p = names; p < names + len; p += strlen(p) + 1) {
		if (!strncmp(p, OVERLAY_XATTR, strlen(OVERLAY_XATTR)))
			return problem_set(problem, -EINVAL,
					   "'%s' has the attribute %s, which would steer "
					   "overlayfs; --frontend=fuse can show it",
					   shown, p);
	}
	return len < 0 && errno != ENOTSUP ? -errno : 0;
}

static int make_entry(struct walk *walk, int dirfd, int twinfd, const char *name,
		      const char *parent, int depth)
{
	cleanup_free char *path = format_text("%s%s%s", parent, *parent ? "/" : "", name);
	struct stub stub;
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	r = check_entry(dirfd, name, &st, walk->problem);
	if (r)
		return r;
	if (S_ISDIR(st.st_mode))
		return make_subdir(walk, dirfd, twinfd, name, &st, path, depth);
	if (!S_ISREG(st.st_mode))
		return 0;
	r = stub_read_at(dirfd, name, (uint64_t)st.st_size, &stub);
	return r > 0 ? make_stub(walk, dirfd, twinfd, name, &st, &stub, path) : r;
}

static int make_dir(struct walk *walk, int dirfd, int twinfd, const char *path, int depth)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = depth < DEPTH_MAX ? open_dir_at(dirfd, ".", &dir) : -ELOOP;

	while (!r && (entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		r = make_entry(walk, dirfd, twinfd, entry->d_name, path, depth);
		if (r && walk->problem && !walk->problem->text[0])
			failed(walk->problem, r, entry->d_name);
	}
	return r;
}

int dirtwin_make(int dirfd, int twinfd, struct tree *tree, struct problem *problem)
{
	struct walk walk = { .root_fd = twinfd, .tree = tree, .problem = problem };
	struct link *link;
	struct stat st;
	int r = fstat(dirfd, &st) ? -errno : make_dir(&walk, dirfd, twinfd, "", 0);

	while ((link = walk.links)) {
		walk.links = link->next;
		free(link->path);
		free(link);
	}
	return r ? r : tree_copy_metadata(dirfd, ".", twinfd, ".", &st);
}
