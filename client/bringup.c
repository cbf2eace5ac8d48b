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

struct image_place {
	char *path;  /* owned: RUN/images/ID */
	int lock_fd; /* owned: held while the image is mounted or unmounted */
};

static void image_place_close(struct image_place *place)
{
	free(place->path);
	if (place->lock_fd >= 0)
		close(place->lock_fd);
}

static int image_place_open(const struct host *host, const char *id, struct image_place *place,
			    struct problem *problem)
{
	cleanup_free char *lock = format_text("%s/images/%s.lock", host->run, id);
	cleanup_free char *dir = format_text("%s/images", host->run);
	int r;

	place->lock_fd = -1;
	place->path = format_text("%s/images/%s", host->run, id);
	if (!lock || !dir || !place->path)
		return -ENOMEM;
	r = make_dirs(dir, 0711);
	if (!r) {
		place->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (place->lock_fd < 0 || flock(place->lock_fd, LOCK_EX))
			r = -errno;
	}
	return r ? problem_set(problem, r, "%s: %s", lock, strerror(-r)) : 0;
}

static int mount_image(struct host *host, const struct frontend *frontend, json_t *record,
		       const struct image_place *place, const char *miss, bool *mounted,
		       struct problem *problem)
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

	if (r > 0)
		return 0;
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

int bringup(struct host *host, json_t *record, struct problem *problem)
{
	const char *id = json_get_string(record, "id"), *image = json_get_string(record, "image");
	const char *name = json_get_string(record, "frontend");
	struct image_place place = { .lock_fd = -1 };
	cleanup_free char *miss = NULL;
	const struct frontend *frontend;
	bool mounted = false;
	int r;

	if (!id || !image || !name || !json_get_string(record, "mountpoint"))
		return problem_set(problem, -EINVAL, "the record of this mount is damaged");
	r = frontend_choose(name, &frontend, problem);
	if (!r)
		r = image_place_open(host, image, &place, problem);
	if (!r)
		r = host_register(host, record, &miss, problem);
	if (!r) {
		r = mount_image(host, frontend, record, &place, miss, &mounted, problem);
		if (!r)
			r = show(record, place.path, problem);
		if (r && mounted)
			unmount_image(frontend, &place);
		if (r && host_unregister(host, id, NULL))
			log_warning("fetchd still lists the mount %s", id);
	}
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
	struct image_place place = { .lock_fd = -1 };
	const struct frontend *frontend = NULL;
	int used, r;

	if (!id || !image || !name)
		return problem_set(problem, -EINVAL, "the record of this mount is damaged");
	frontend = !strcmp(name, frontend_overlay.name) ? &frontend_overlay : &frontend_fuse;
	r = image_place_open(host, image, &place, problem);
	if (!r)
		r = unmount_point(json_get_string(record, "mountpoint"), lazy, problem);
	if (!r) {
		used = image_is_used(host, id, image, problem);
		if (used == 0 && path_is_mountpoint(place.path) > 0)
			unmount_image(frontend, &place);
		r = used < 0 ? used : host_unregister(host, id, problem);
	}
	image_place_close(&place);
	return r;
}
