/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay front end: overlayfs with data-only layers, and how it is mounted.
 *
 * Layers go in one by one with fsconfig(2) where the kernel can ("lowerdir+", "datadir+",
 * Linux 6.8), which knows no limit of length and no quoting. Before that (6.6, 6.7), all of
 * them go into one option, by short relative names.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "client/frontend.h"
#include "lib/log.h"

enum { KERNEL_MAJOR = 6, KERNEL_MINOR = 6 };

/* What the kernel has to say about a mount that failed, "e overlay: …". */
static int fs_problem(int fs, int error, const char *what, struct problem *problem)
{
	char message[512], text[PROBLEM_MAX] = "";
	size_t len = 0;
	ssize_t n;

	while ((n = read(fs, message, sizeof(message) - 1)) > 0 && len < sizeof(text) - 1) {
		message[n] = '\0';
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? "; " : "",
					n > 2 ? message + 2 : message);
	}
	return problem_set(problem, error, "%s: %s%s%s%s", what, strerror(-error),
			   text[0] ? " (the kernel says: " : "", text, text[0] ? ")" : "");
}

static int set_option(int fs, const char *key, const char *value, struct problem *problem)
{
	char what[128];

	if (!fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0))
		return 0;
	snprintf(what, sizeof(what), "overlay option %s", key);
	return fs_problem(fs, -errno, what, problem);
}

static int finish_mount(int fs, unsigned int attrs, const char *path, struct problem *problem)
{
	cleanup_close int mount_fd = -1;

	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return fs_problem(fs, -errno, "overlay mount", problem);
	mount_fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	if (mount_fd < 0)
		return fs_problem(fs, -errno, "overlay mount", problem);
	if (move_mount(mount_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH))
		return problem_set(problem, -errno, "mounting at %s: %s", path, strerror(errno));
	return 0;
}

/* ---- the image ---- */

static int set_layers(int fs, const struct image_mount *image, struct problem *problem)
{
	size_t n = json_array_size(image->layers);
	int r = 0;

	for (size_t i = n; !r && i-- > 0;) {
		cleanup_free char *path =
			format_text("%s/layers/%s/tree", image->host->state,
				    json_string_value(json_array_get(image->layers, i)));

		r = path ? set_option(fs, "lowerdir+", path, problem) : -ENOMEM;
	}
	if (!r && image->lower)
		r = set_option(fs, "lowerdir+", image->lower, problem);
	if (!r)
		r = set_option(fs, "datadir+", image->host->cache, problem);
	if (!r)
		r = set_option(fs, "datadir+", image->miss, problem);
	return r;
}

/* Before Linux 6.8: "lowerdir=a:b::cache::miss" in one page, as seen from STATE/layers. */
static int mount_in_one_string(const struct image_mount *image, struct problem *problem)
{
	size_t n = json_array_size(image->layers), size = (size_t)sysconf(_SC_PAGESIZE), len;
	cleanup_free char *data = malloc(size);
	cleanup_close int old = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (!data || old < 0)
		return -ENOMEM;
	len = (size_t)snprintf(data, size, "metacopy=on,redirect_dir=on,lowerdir=");
	for (size_t i = n; len < size && i-- > 0;)
		len += (size_t)snprintf(data + len, size - len, "%s/tree%s",
					json_string_value(json_array_get(image->layers, i)),
					i ? ":" : "");
	if (len < size && image->lower)
		len += (size_t)snprintf(data + len, size - len, ":%s", image->lower);
	if (len < size)
		len += (size_t)snprintf(data + len, size - len, "::%s::%s", image->host->cache,
					image->miss);
	if (len >= size)
		return problem_set(
			problem, -E2BIG,
			"%zu layers are too many for one mount on this kernel; Linux 6.8 can do it",
			n);
	if (fchdir(image->host->layers_fd))
		return -errno;
	if (mount("intinode", image->path, "overlay", MS_RDONLY, data))
		r = problem_set(problem, -errno, "overlay mount at %s: %s", image->path,
				strerror(errno));
	if (fchdir(old) && !r)
		r = -errno;
	return r;
}

static int overlay_mount(const struct image_mount *image, struct problem *problem)
{
	cleanup_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return problem_set(problem, -errno, "overlayfs: %s", strerror(errno));
	r = set_option(fs, "source", "intinode", problem);
	if (!r)
		r = set_option(fs, "ro", NULL, problem);
	if (!r)
		r = set_option(fs, "metacopy", "on", problem);
	if (!r)
		r = set_option(fs, "redirect_dir", "on", problem);
	if (r)
		return r;
	r = set_layers(fs, image, problem);
	if (r == -EINVAL)
		return mount_in_one_string(image, problem);
	return r ? r : finish_mount(fs, MOUNT_ATTR_RDONLY, image->path, problem);
}

static int overlay_umount(const char *path)
{
	return umount2(path, UMOUNT_NOFOLLOW) ? -errno : 0;
}

static int overlay_describe(struct problem *why_not)
{
	cleanup_close int fs = -1;
	struct utsname name;
	int major, minor;

	if (geteuid() != 0)
		return problem_set(why_not, -EPERM, "it needs root");
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		return problem_set(why_not, -errno,
				   "this kernel has no overlayfs (%s); try 'modprobe overlay'",
				   strerror(errno));
	if (uname(&name) || sscanf(name.release, "%d.%d", &major, &minor) != 2)
		return problem_set(why_not, -ENOTSUP, "this kernel's version is not known");
	if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
		return problem_set(why_not, -ENOTSUP,
				   "Linux %d.%d has no data-only layers; %d.%d and later have",
				   major, minor, KERNEL_MAJOR, KERNEL_MINOR);
	return 0;
}

const struct frontend frontend_overlay = {
	.name = "overlay",
	.summary = "overlayfs with data-only layers; native speed, root, Linux 6.6 and up",
	.twins = true,
	.describe = overlay_describe,
	.mount = overlay_mount,
	.umount = overlay_umount,
};

/* ---- a writable layer ---- */

int frontend_overlay_writable(const char *image_path, const char *upper, const char *work,
			      const char *mountpoint, struct problem *problem)
{
	cleanup_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return problem_set(problem, -errno, "overlayfs: %s", strerror(errno));
	r = set_option(fs, "source", "intinode", problem);
	/* Whole files above, never data-less ones: a commit of the upper layer is then right. */
	if (!r)
		r = set_option(fs, "metacopy", "off", problem);
	if (!r && set_option(fs, "lowerdir+", image_path, problem))
		r = set_option(fs, "lowerdir", image_path, problem);
	if (!r)
		r = set_option(fs, "upperdir", upper, problem);
	if (!r)
		r = set_option(fs, "workdir", work, problem);
	return r ? r : finish_mount(fs, 0, mountpoint, problem);
}
