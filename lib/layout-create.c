/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the beginning and the end of writing to an OCI layout: what is created, the stage, and
 * what is undone when nothing came of it. Any thread.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/layout-internal.h"
#include "lib/log.h"

#define STAGE_PREFIX ".intinode-"

/* Stages whose writer is gone: the lock of a stage dies with its process. */
static void remove_old_stages(struct layout *layout)
{
	int fd = openat(layout->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_close int stage = -1;

		if (strncmp(entry->d_name, STAGE_PREFIX, strlen(STAGE_PREFIX)))
			continue;
		stage = openat(layout->dir_fd, entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (stage < 0 || flock(stage, LOCK_EX | LOCK_NB))
			continue;
		if (remove_tree_at(layout->dir_fd, entry->d_name))
			log_warning("OCI layout %s: %s, left from an interrupted run, could not "
				    "be removed",
				    layout->path, entry->d_name);
	}
}

/* Lock held: nobody takes a stage for an old one between mkdir and flock. */
static int make_stage(struct layout *layout)
{
	static atomic_uint serial;

	snprintf(layout->stage_name, sizeof(layout->stage_name), STAGE_PREFIX "%d-%u",
		 (int)getpid(), serial++);
	if (mkdirat(layout->dir_fd, layout->stage_name, 0700))
		return -errno;
	layout->stage_fd = openat(layout->dir_fd, layout->stage_name,
				  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (layout->stage_fd < 0)
		return -errno;
	return flock(layout->stage_fd, LOCK_EX | LOCK_NB) ? -errno : 0;
}

static int write_missing(struct layout *layout, const char *name, const char *text)
{
	if (!faccessat(layout->dir_fd, name, F_OK, 0))
		return 0;
	return layout_write_file(layout, name, text, strlen(text));
}

static int create_files(struct layout *layout)
{
	int r;

	if (mkdirat(layout->dir_fd, "blobs", 0755) && errno != EEXIST)
		return -errno;
	r = write_missing(layout, "index.json",
			  "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_INDEX
			  "\",\"manifests\":[]}");
	/* Last, since it is what makes the directory a layout. */
	layout->made_layout = faccessat(layout->dir_fd, "oci-layout", F_OK, 0) != 0;
	if (!r)
		r = write_missing(layout, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	return r;
}

/* A directory that holds other things is not ours to write into. */
static int check_creatable(struct layout *layout, struct problem *problem)
{
	int fd = openat(layout->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!faccessat(layout->dir_fd, "oci-layout", F_OK, 0))
		return layout_check_version(layout, problem);
	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, "blobs") &&
		    strncmp(name, "index.json", 10) &&
		    strncmp(name, STAGE_PREFIX, strlen(STAGE_PREFIX)))
			return problem_set(problem, -ENOTEMPTY,
					   "%s is neither empty nor an OCI layout; name a new or "
					   "empty directory",
					   layout->path);
	}
	return 0;
}

static int prepare_writing(struct layout *layout, struct problem *problem)
{
	int r;

	if (flock(layout->dir_fd, LOCK_EX))
		return layout_explain(layout, -errno, "lock", problem);
	r = check_creatable(layout, problem);
	if (r)
		return r;
	remove_old_stages(layout);
	r = create_files(layout);
	if (!r)
		r = make_stage(layout);
	flock(layout->dir_fd, LOCK_UN);
	return r ? layout_explain(layout, r, "write", problem) : 0;
}

static bool has_stages(struct layout *layout)
{
	int fd = openat(layout->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (!strncmp(entry->d_name, STAGE_PREFIX, strlen(STAGE_PREFIX)))
			return true;
	}
	return !dir;
}

/* Lock held. What another writer is about to use stays. */
static void remove_new_layout(struct layout *layout)
{
	if (has_stages(layout) || unlinkat(layout->dir_fd, "blobs", AT_REMOVEDIR))
		return;
	unlinkat(layout->dir_fd, "oci-layout", 0);
	unlinkat(layout->dir_fd, "index.json", 0);
	if (layout->made_dir)
		rmdir(layout->path);
}

void layout_end_writing(struct layout *layout)
{
	close(steal_fd(&layout->stage_fd));
	if (remove_tree_at(layout->dir_fd, layout->stage_name))
		log_warning("OCI layout %s: %s could not be removed", layout->path,
			    layout->stage_name);
	if (!layout->made_layout || layout->is_published || flock(layout->dir_fd, LOCK_EX))
		return;
	remove_new_layout(layout);
	flock(layout->dir_fd, LOCK_UN);
}

int layout_create(const char *path, struct layout **out, struct problem *problem)
{
	struct layout *layout = layout_new(path);
	int r;

	if (!layout)
		return -ENOMEM;
	layout->made_dir = !mkdir(path, 0755);
	if (!layout->made_dir && errno != EEXIST) {
		r = problem_set(problem, -errno, "OCI layout %s: %s", path, strerror(errno));
		layout_close(layout);
		return r;
	}
	layout->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout->dir_fd < 0)
		r = problem_set(problem, -errno, "OCI layout %s: %s", path, strerror(errno));
	else
		r = prepare_writing(layout, problem);
	if (r) {
		layout_close(layout);
		return r;
	}
	*out = layout;
	return 0;
}
