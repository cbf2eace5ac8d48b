/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table of front ends and the choice between them. */
#include "client/frontend.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "client/fuse.h"
#include "lib/log.h"

/* In the order of preference. */
static const struct frontend *const frontends[] = { &frontend_overlay, &frontend_fuse };

static int umount_plain(const char *path)
{
	return umount2(path, UMOUNT_NOFOLLOW) ? -errno : 0;
}

/* ---- fuse ---- */

static int fuse_describe(struct problem *why_not)
{
	if (!access("/dev/fuse", R_OK | W_OK))
		return 0;
	return problem_set(why_not, -errno, "/dev/fuse: %s; 'modprobe fuse' may help",
			   strerror(errno));
}

static int fuse_mount(const struct image_mount *image, struct problem *problem)
{
	cleanup_free char *log = format_text("%s.log", image->path);
	cleanup_free char *tree = NULL;
	struct fuse_frontend_options options = {
		.lower = image->lower,
		.log = log,
		.mountpoint = image->path,
		.cache = image->host->cache,
		.socket = image->host->socket,
		.mount_id = image->id,
		.allow_other = geteuid() == 0,
		.timeout_ms = image->timeout_ms ?: image->host->deadline_ms,
	};

	if (!image->lower) {
		const char *layer = json_string_value(json_array_get(image->layers, 0));

		tree = format_text("%s/layers/%s/tree", image->host->state, layer);
		options.lower = tree;
	}
	if (!log || !options.lower)
		return -ENOMEM;
	return fuse_frontend_spawn(&options, NULL, problem);
}

const struct frontend frontend_fuse = {
	.name = "fuse",
	.summary = "a FUSE file system; any kernel",
	.describe = fuse_describe,
	.mount = fuse_mount,
	.umount = umount_plain,
};

int frontend_choose(const char *name, const struct frontend **out, struct problem *problem)
{
	char reasons[PROBLEM_MAX] = "";
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(frontends); i++) {
		struct problem why_not = { "" };
		bool wanted = !strcmp(name, frontends[i]->name);
		int r;

		if (!wanted && strcmp(name, "auto"))
			continue;
		r = frontends[i]->describe(&why_not);
		if (!r) {
			*out = frontends[i];
			if (len)
				log_info("front end %s is used (%s)", frontends[i]->name, reasons);
			return 0;
		}
		if (wanted)
			return problem_set(problem, r, "front end %s cannot be used here: %s", name,
					   problem_text(&why_not, r));
		len += (size_t)snprintf(reasons + len, sizeof(reasons) - len, "%s%s: %s",
					len ? "; " : "", frontends[i]->name,
					problem_text(&why_not, r));
		if (len >= sizeof(reasons))
			len = sizeof(reasons) - 1;
	}
	if (len)
		return problem_set(problem, -ENOTSUP, "no front end can be used here: %s", reasons);
	return problem_set(problem, -EINVAL, "--frontend takes auto, overlay or fuse, not '%s'",
			   name);
}
