/* SPDX-License-Identifier: Apache-2.0 */
/* intinode mount, intinode umount. */
#include <limits.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "client/bringup.h"
#include "client/commands.h"
#include "client/frontend.h"
#include "client/prepare.h"

const char mount_details[] =
	"Show an image, or a directory that contains stubs, at MNT. Files are fetched when they\n"
	"are opened; intinode-fetchd has to run. Without --upper the mount is read-only.\n"
	"\n"
	"  intinode mount docker://registry.example/app:1.0-thin /mnt\n"
	"  intinode mount --upper /srv/up --work /srv/work oci:images:app-thin /mnt\n"
	"  intinode mount --source docker://registry.example/app /srv/stub-tree /mnt\n"
	"  intinode mount --restore          after a reboot: all of them again, from local data\n";

const char umount_details[] =
	"Unmount what 'intinode mount' has mounted at MNT. What is in the cache stays.\n"
	"\n"
	"  intinode umount /mnt\n"
	"  intinode umount --lazy /mnt       although a program has files open there\n";

struct mount_command {
	const char *frontend, *socket, *source, *upper, *work, *platform;
	bool restore, quiet;
};

/* An empty directory that nothing is mounted on. */
static int check_mountpoint(const char *path, struct problem *problem)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = path_is_mountpoint(path);

	if (r > 0)
		return problem_set(
			problem, -EBUSY,
			"%s: something is mounted there; 'intinode umount %s' or another directory",
			path, path);
	dir = r < 0 ? NULL : opendir(path);
	if (!dir)
		return problem_set(problem, r < 0 ? r : -errno,
				   "%s: %s; a mount point is an empty directory", path,
				   strerror(r < 0 ? -r : errno));
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			return problem_set(problem, -ENOTEMPTY,
					   "%s is not empty; what is in it would be hidden", path);
	}
	return 0;
}

static int absolute(const char *path, char **out, struct problem *problem)
{
	*out = realpath(path, NULL);
	return *out ? 0 : problem_set(problem, -errno, "%s: %s", path, strerror(errno));
}

static int check_upper(const char *upper, const char *work, struct problem *problem)
{
	struct stat a, b;

	if (stat(upper, &a) || stat(work, &b))
		return problem_set(problem, -errno, "--upper %s, --work %s: %s", upper, work,
				   strerror(errno));
	if (!S_ISDIR(a.st_mode) || !S_ISDIR(b.st_mode))
		return problem_set(problem, -ENOTDIR, "--upper and --work must be directories");
	if (a.st_dev != b.st_dev || a.st_ino == b.st_ino)
		return problem_set(problem, -EINVAL,
				   "--upper and --work must be two directories of one file system");
	return 0;
}

static int mount_one(const struct mount_command *options, const char *what, const char *where,
		     struct problem *problem)
{
	cleanup_free char *mountpoint = NULL, *upper = NULL, *work = NULL;
	struct host host = { .layers_fd = -1 };
	struct prepare_options prepare_options = {
		.what = what,
		.source = options->source,
		.platform = options->platform,
		.quiet = options->quiet,
		.registry = &registry_options,
	};
	json_t *record = NULL;
	int r;

	if (!options->upper != !options->work)
		return problem_set(problem, -EINVAL, "--upper and --work go together");
	r = frontend_choose(options->frontend, &prepare_options.frontend, problem);
	if (!r) {
		r = absolute(where, &mountpoint, problem);
		if (r == -ENOENT)
			r = problem_set(problem, r, "%s: %s; make it with 'mkdir -p %s'", where,
					strerror(-r), where);
	}
	if (!r)
		r = check_mountpoint(mountpoint, problem);
	if (!r && options->upper) {
		r = absolute(options->upper, &upper, problem);
		if (!r)
			r = absolute(options->work, &work, problem);
		if (!r)
			r = check_upper(upper, work, problem);
	}
	if (!r)
		r = host_open(options->socket, &host, problem);
	if (r)
		return r;
	prepare_options.mountpoint = mountpoint;
	prepare_options.upper = upper;
	prepare_options.work = work;
	r = prepare(&host, &prepare_options, &record, problem);
	if (!r)
		r = bringup(&host, record, BRINGUP_NEW, problem);
	json_decref(record);
	host_close(&host);
	return r;
}

static int restore(const char *socket, struct problem *problem)
{
	struct host host = { .layers_fd = -1 };
	json_t *mounts = NULL, *record;
	int r = host_open(socket, &host, problem), failed = 0;
	size_t i;

	if (!r)
		r = host_mounts(&host, &mounts, problem);
	json_array_foreach(mounts, i, record) {
		const char *mountpoint = json_get_string(record, "mountpoint") ?: "";
		struct problem why = { "" };
		int one = bringup(&host, record, BRINGUP_AGAIN, &why);

		if (one < 0) {
			log_error("%s: %s", mountpoint, problem_text(&why, one));
			failed = one;
		} else if (!one) {
			log_info("%s: mounted again", mountpoint);
		}
	}
	json_decref(mounts);
	host_close(&host);
	return r || !failed ? r : problem_set(problem, failed, "not every mount could be restored");
}

int command_mount(const struct command *command, int argc, char **argv)
{
	struct mount_command options = { .frontend = "auto" };
	const struct option_row rows[] = {
		{ OPTION_TEXT, "frontend", "NAME", "auto (default), overlay or fuse",
		  &options.frontend, 0, 0, NULL },
		{ OPTION_TEXT, "upper", "DIR", "make the mount writable: changes go here",
		  &options.upper, 0, 0, NULL },
		{ OPTION_TEXT, "work", "DIR", "overlayfs's work directory, beside --upper",
		  &options.work, 0, 0, NULL },
		{ OPTION_TEXT, "source", "REF",
		  "fetch from there: docker://HOST/REPO, oci:DIR or s3://BUCKET/PREFIX",
		  &options.source, 0, 0, NULL },
		{ OPTION_TEXT, "platform", "OS/ARCH", "of an index (default: this machine's)",
		  &options.platform, 0, 0, NULL },
		{ OPTION_FLAG, "restore", NULL, "mount again what was mounted before a reboot",
		  &options.restore, 0, 0, NULL },
		{ OPTION_FLAG, "quiet", NULL, "no progress", &options.quiet, 0, 0, NULL },
		{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
		  &options.socket, 0, 0, NULL },
		{ OPTION_GROUP, NULL, NULL, NULL, NULL, 0, 0, options_registry },
		{ OPTION_END, NULL, NULL, NULL, NULL, 0, 0, NULL },
	};
	struct problem problem = { "" };
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 0, 2, &operands, &n);

	if (r >= 0)
		return r;
	if (options.restore ? n != 0 : n != 2) {
		log_error("mount: give an image or directory and a mount point, or --restore; try "
			  "'intinode mount --help'");
		return EXIT_USAGE;
	}
	/* pax headers have names in UTF-8, and libarchive hands them out in the locale's form. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		log_warning("there is no locale C.UTF-8; names that are not ASCII may be refused");
	r = options.restore ? restore(options.socket, &problem)
			    : mount_one(&options, operands[0], operands[1], &problem);
	return r ? options_fail(r, &problem) : EXIT_OK;
}

static int umount_one(const char *socket, const char *where, bool lazy, struct problem *problem)
{
	cleanup_free char *mountpoint = realpath(where, NULL);
	struct host host = { .layers_fd = -1 };
	json_t *mounts = NULL, *record, *found = NULL;
	size_t i;
	int r = host_open(socket, &host, problem);

	if (!r)
		r = host_mounts(&host, &mounts, problem);
	json_array_foreach(mounts, i, record) {
		const char *path = json_get_string(record, "mountpoint");

		if (path && !strcmp(path, mountpoint ? mountpoint : where))
			found = record;
	}
	if (!r && !found)
		r = problem_set(problem, -ENOENT,
				"%s is not mounted by intinode; 'intinode status' lists what is",
				where);
	if (!r)
		r = bringdown(&host, found, lazy, problem);
	json_decref(mounts);
	host_close(&host);
	return r;
}

int command_umount(const struct command *command, int argc, char **argv)
{
	const char *socket = NULL;
	bool lazy = false;
	const struct option_row rows[] = {
		{ OPTION_FLAG, "lazy", NULL, "detach it now, also when it is in use", &lazy, 0, 0,
		  NULL },
		{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
		  &socket, 0, 0, NULL },
		{ OPTION_END, NULL, NULL, NULL, NULL, 0, 0, NULL },
	};
	struct problem problem = { "" };
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 1, 64, &operands, &n);

	if (r >= 0)
		return r;
	for (int i = 0; i < n; i++) {
		r = umount_one(socket, operands[i], lazy, &problem);
		if (r)
			return options_fail(r, &problem);
	}
	return EXIT_OK;
}
