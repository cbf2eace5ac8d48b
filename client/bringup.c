/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the order of mounting and unmounting, and what is undone when a step fails. */
#include "client/bringup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "client/frontend.h"
#include "lib/log.h"

/* Where a record's mounts are. Two locks, always taken in this order. */
struct image_place {
	char *path;	   /* owned: RUN/images/ID */
	int point_lock_fd; /* owned: held while something happens at the mount point */
	int lock_fd;	   /* owned: held while the image is mounted or unmounted */
};

static const struct image_place image_place_none = { .point_lock_fd = -1, .lock_fd = -1 };

static void image_place_close(struct image_place *place)
{
	free(place->path);
	if (place->lock_fd >= 0)
		close(place->lock_fd);
	if (place->point_lock_fd >= 0)
		close(place->point_lock_fd);
}

/* RUN/images/NAME.lock */
static int take_lock(const struct host *host, const char *name, int *fd, struct problem *problem)
{
	cleanup_free char *path = format_text("%s/images/%s.lock", host->run, name);

	if (!path)
		return -ENOMEM;
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0 || flock(*fd, LOCK_EX))
		return problem_set(problem, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int image_place_open(const struct host *host, const json_t *record,
			    struct image_place *place, struct problem *problem)
{
	const char *id = json_get_string(record, "id"), *image = json_get_string(record, "image");
	cleanup_free char *dir = format_text("%s/images", host->run);
	int r;

	*place = image_place_none;
	place->path = format_text("%s/images/%s", host->run, image);
	if (!dir || !place->path)
		return -ENOMEM;
	r = make_dirs(dir, 0711);
	if (r)
		return problem_set(problem, r, "%s: %s", dir, strerror(-r));
	r = take_lock(host, id, &place->point_lock_fd, problem);
	return r ? r : take_lock(host, image, &place->lock_fd, problem);
}

/* An image that can no longer give what is not in the cache is taken away for a good one. */
static int drop_stale_image(const struct image_place *place, bool fresh_miss)
{
	if (!fresh_miss && !mountpoint_is_dead(place->path))
		return 0;
	log_warning("%s: what served this mount is gone; it is mounted anew", place->path);
	return umount2(place->path, UMOUNT_NOFOLLOW | MNT_DETACH) ? -errno : 1;
}

static int mount_image(struct host *host, const struct frontend *frontend, json_t *record,
		       const struct image_place *place, const char *miss, bool fresh_miss,
		       bool *mounted, struct problem *problem)
{
	const struct image_mount image = {
		.host = host,
		.id = json_get_string(record, "image"),
		.path = place->path,
		.layers = json_object_get(record, "layers"),
		.lower = json_get_string(record, "lower"),
		.miss = miss,
	};
	int r = path_is_mountpoint(place->path);

	if (r > 0) {
		r = drop_stale_image(place, fresh_miss);
		if (r == 0)
			return 0;
		r = r > 0 ? 0 : r;
	}
	if (r == -ENOENT)
		r = make_dirs(place->path, 0755);
	if (r)
		return problem_set(problem, r, "%s: %s", place->path, strerror(-r));
	r = frontend->mount(&image, problem);
	*mounted = r == 0;
	return r;
}

static int show(const json_t *record, const char *image_path, struct problem *problem)
{
	const char *mountpoint = json_get_string(record, "mountpoint");
	const char *upper = json_get_string(record, "upper");
	const char *work = json_get_string(record, "work");

	if (upper && work)
		return frontend_overlay_writable(image_path, upper, work, mountpoint, problem);
	if (mount(image_path, mountpoint, NULL, MS_BIND, NULL))
		return problem_set(problem, -errno, "mounting at %s: %s", mountpoint,
				   strerror(errno));
	return 0;
}

static void unmount_image(const struct frontend *frontend, const struct image_place *place)
{
	int r = frontend->umount(place->path);

	if (r)
		log_warning("%s stays mounted: %s", place->path, strerror(-r));
	else
		rmdir(place->path);
}

/* Does a read-only mount show another file system than the image's present one? */
static bool shows_another(const json_t *record, const char *image_path)
{
	struct statx point, image;

	if (json_get_string(record, "upper"))
		return false;
	return !statx(AT_FDCWD, json_get_string(record, "mountpoint"),
		      AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &point) &&
	       !statx(AT_FDCWD, image_path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &image) &&
	       (point.stx_dev_major != image.stx_dev_major ||
		point.stx_dev_minor != image.stx_dev_minor);
}

/* Only with the image mounted. Return: 0, 1 when all was there, negative errno. */
static int show_unless_there(const json_t *record, const struct image_place *place, bool mounted,
			     struct problem *problem)
{
	const char *mountpoint = json_get_string(record, "mountpoint");
	int r = path_is_mountpoint(mountpoint);

	if (r > 0) {
		if (!mountpoint_is_ours(mountpoint) ||
		    (!mounted && !shows_another(record, place->path)))
			return 1;
		r = umount2(mountpoint, UMOUNT_NOFOLLOW | MNT_DETACH) ? -errno : 0;
	}
	if (r)
		return problem_set(problem, r, "%s: %s", mountpoint, strerror(-r));
	return show(record, place->path, problem);
}

static int bringup_locked(struct host *host, const struct frontend *frontend, json_t *record,
			  const struct image_place *place, enum bringup_kind kind,
			  struct problem *problem)
{
	const char *mountpoint = json_get_string(record, "mountpoint");
	bool mounted = false, fresh_miss = false;
	cleanup_free char *miss = NULL;
	int r;

	if (kind == BRINGUP_NEW && path_is_mountpoint(mountpoint) > 0)
		return problem_set(problem, -EBUSY, "%s: something was mounted there meanwhile",
				   mountpoint);
	r = host_register(host, record, &miss, &fresh_miss, problem);
	if (r)
		return r;
	r = mount_image(host, frontend, record, place, miss, fresh_miss, &mounted, problem);
	if (!r)
		r = show_unless_there(record, place, mounted, problem);
	if (r < 0 && mounted)
		unmount_image(frontend, place);
	if (r < 0 && kind == BRINGUP_NEW &&
	    host_unregister(host, json_get_string(record, "id"), NULL))
		log_warning("fetchd still lists the mount at %s", mountpoint);
	return r;
}

int bringup(struct host *host, json_t *record, enum bringup_kind kind, struct problem *problem)
{
	const char *name = json_get_string(record, "frontend");
	struct image_place place = image_place_none;
	const struct frontend *frontend;
	int r;

	if (!json_get_string(record, "id") || !json_get_string(record, "image") || !name ||
	    !json_get_string(record, "mountpoint"))
		return problem_set(problem, -EINVAL, "the record of this mount is damaged");
	r = frontend_choose(name, &frontend, problem);
	if (!r)
		r = image_place_open(host, record, &place, problem);
	if (!r)
		r = bringup_locked(host, frontend, record, &place, kind, problem);
	image_place_close(&place);
	return r;
}

/* Is another registered mount using this image? Return: 1, 0 or negative errno. */
static int image_is_used(struct host *host, const char *id, const char *image,
			 struct problem *problem)
{
	cleanup_json json_t *mounts = NULL;
	const json_t *mount;
	size_t i;
	int r = host_mounts(host, &mounts, problem);

	if (r)
		return r;
	json_array_foreach(mounts, i, mount) {
		const char *other = json_get_string(mount, "image");
		const char *other_id = json_get_string(mount, "id");

		if (other && other_id && !strcmp(other, image) && strcmp(other_id, id))
			return 1;
	}
	return 0;
}

static int unmount_point(const char *mountpoint, bool lazy, struct problem *problem)
{
	if (path_is_mountpoint(mountpoint) > 0 && !mountpoint_is_ours(mountpoint)) {
		log_warning("%s: something else is mounted there now, and stays; only the record "
			    "goes",
			    mountpoint);
		return 0;
	}
	if (!umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	/* Not mounted (any more, or not yet after a reboot): only to be forgotten. */
	if (errno == EINVAL || errno == ENOENT)
		return 0;
	if (errno == EBUSY)
		return problem_set(problem, -EBUSY,
				   "%s is in use ('fuser -vm %s' shows by whom); --lazy detaches "
				   "it all the same",
				   mountpoint, mountpoint);
	return problem_set(problem, -errno, "unmounting %s: %s", mountpoint, strerror(errno));
}

int bringdown(struct host *host, const json_t *record, bool lazy, struct problem *problem)
{
	const char *id = json_get_string(record, "id"), *image = json_get_string(record, "image");
	const char *name = json_get_string(record, "frontend");
	const char *mountpoint = json_get_string(record, "mountpoint");
	struct image_place place = image_place_none;
	const struct frontend *frontend = NULL;
	int used, r;

	if (!id || !image || !name || !mountpoint)
		return problem_set(problem, -EINVAL, "the record of this mount is damaged");
	frontend = !strcmp(name, frontend_overlay.name) ? &frontend_overlay : &frontend_fuse;
	r = image_place_open(host, record, &place, problem);
	if (!r)
		r = unmount_point(mountpoint, lazy, problem);
	if (!r) {
		used = image_is_used(host, id, image, problem);
		if (used == 0 && path_is_mountpoint(place.path) > 0)
			unmount_image(frontend, &place);
		r = used < 0 ? used : host_unregister(host, id, problem);
	}
	image_place_close(&place);
	return r;
}
