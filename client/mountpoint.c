/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing: questions to the kernel about mounts. Any thread. */
#include "client/mountpoint.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { ANSWER_MS = 2000, EXIT_DEAD = 3 };

int path_is_mountpoint(const char *path)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &stx))
		return errno == ENOTCONN ? 1 : -errno;
	return !!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue" */
static bool line_is_ours(char *line)
{
	char *type = strstr(line, " - "), *source;

	if (!type)
		return false;
	type += strlen(" - ");
	source = strchr(type, ' ');
	if (!source)
		return false;
	*source++ = '\0';
	source[strcspn(source, " ")] = '\0';
	return !strcmp(type, "fuse.intinode") ||
	       (!strcmp(type, "overlay") && !strcmp(source, "intinode"));
}

bool mountpoint_is_ours(const char *path)
{
	cleanup_fclose FILE *mounts = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct statx stx;
	size_t size = 0;

	if (!mounts ||
	    statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx))
		return false;
	while (getline(&line, &size, mounts) > 0) {
		if (strtoull(line, NULL, 10) == stx.stx_mnt_id)
			return line_is_ours(line);
	}
	return false;
}

static _Noreturn void ask(const char *path)
{
	struct statx stx;

	/* A process that hangs must not keep the caller's locks. */
	close_range(STDERR_FILENO + 1, ~0U, 0);
	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx) &&
	    (errno == ENOTCONN || errno == ECONNABORTED))
		_exit(EXIT_DEAD);
	_exit(0);
}

/* In a process of its own: nothing else can stop waiting for a daemon that hangs. */
bool mountpoint_is_dead(const char *path)
{
	pid_t pid = fork();
	struct pollfd child = { .events = POLLIN };
	bool dead = false;
	int status;

	if (pid < 0)
		return false;
	if (!pid)
		ask(path);
	child.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (child.fd >= 0 && poll(&child, 1, ANSWER_MS) == 1 && waitpid(pid, &status, 0) == pid)
		dead = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DEAD;
	else
		kill(pid, SIGKILL);
	if (child.fd >= 0)
		close(child.fd);
	return dead;
}
