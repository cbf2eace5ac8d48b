/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing. Any thread. */
#include "fetchd/caller.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

static bool has_sigkill(const char *status, const char *field)
{
	const char *at = strstr(status, field);

	return at && (strtoull(at + strlen(field), NULL, 16) & (1ULL << (SIGKILL - 1)));
}

bool caller_is_dying(uint64_t pid)
{
	char path[64], status[4096];
	cleanup_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
	if (n < 0)
		return errno == ENOENT || errno == ESRCH;
	status[n] = '\0';
	return has_sigkill(status, "\nSigPnd:\t") || has_sigkill(status, "\nShdPnd:\t");
}
