/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns nothing. A file system that is reconfigured drops its unused names and inodes, also when
 * nothing is changed (fs/super.c, reconfigure_super()).
 */
#include "fetchd/overlays.h"

#include <fcntl.h>
#include <mntent.h>
#include <string.h>
#include <sys/syscall.h>

#include "lib/log.h"
#include "lib/util.h"

#ifndef SYS_fsconfig
#define SYS_fsconfig 431 /* Linux 5.2; the same for all architectures, as the next */
#endif
#ifndef SYS_fspick
#define SYS_fspick 433
#endif

enum {
	OVERLAYS_MAX = 4096,
	FSPICK_CLOEXEC_FLAG = 1,
	FSPICK_NO_AUTOMOUNT_FLAG = 4,
	FSCONFIG_RECONFIGURE = 7,
};

static int forget(const char *path)
{
	cleanup_close int fd = (int)syscall(SYS_fspick, AT_FDCWD, path,
					    FSPICK_CLOEXEC_FLAG | FSPICK_NO_AUTOMOUNT_FLAG);

	if (fd < 0 || syscall(SYS_fsconfig, fd, FSCONFIG_RECONFIGURE, NULL, NULL, 0))
		return -errno;
	return 0;
}

/* Those that were mounted last come first: they may hold what is in the others. */
void overlays_forget(const char *directory)
{
	char *paths[OVERLAYS_MAX];
	FILE *file = setmntent("/proc/self/mounts", "re");
	char buffer[64 * 1024]; /* many layers make long lines */
	struct mntent entry;
	size_t n = 0;
	int r;

	while (file && n < OVERLAYS_MAX && getmntent_r(file, &entry, buffer, sizeof(buffer))) {
		if (strcmp(entry.mnt_type, "overlay") != 0 || !strstr(entry.mnt_opts, directory))
			continue;
		paths[n] = strdup(entry.mnt_dir);
		n += paths[n] != NULL;
	}
	if (file)
		endmntent(file);
	while (n) {
		r = forget(paths[--n]);
		if (r)
			log_debug("overlay %s keeps what it knows: %s", paths[n], strerror(-r));
		free(paths[n]);
	}
}
