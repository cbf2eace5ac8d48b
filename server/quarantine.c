/* SPDX-License-Identifier: Apache-2.0 */
/* Owns STORE/quarantine. Any thread; blocks for the disk. */
#include "server/quarantine.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/log.h"

enum { LABEL_MAX = 180 }; /* of a file name's 255 bytes */

static int put(struct store *store, int dirfd, const char *name, const char *label, bool stays)
{
	static atomic_uint serial;
	cleanup_close int quarantine = -1;
	char target[256];
	int r;

	if (mkdirat(store->root_fd, "quarantine", 0700) && errno != EEXIST)
		return -errno;
	quarantine = store_openat(store->root_fd, "quarantine", O_RDONLY | O_DIRECTORY, 0);
	if (quarantine < 0)
		return quarantine;
	snprintf(target, sizeof(target), "%lld-%d-%u-%.*s", (long long)time(NULL), (int)getpid(),
		 serial++, LABEL_MAX, label);
	for (char *p = target; *p; p++) {
		if (*p == '/')
			*p = '+';
	}
	if (stays ? linkat(dirfd, name, quarantine, target, 0)
		  : renameat(dirfd, name, quarantine, target))
		return -errno;
	for (size_t i = 0; i < STORE_REMOVAL_COUNTS; i++)
		store->removals[i]++; /* whatever it was: nobody may have it from memory */
	log_warning("quarantine: %s is now quarantine/%s", label, target);
	/* The new name first: a crash between the two must not lose the file. */
	r = fsync(quarantine) ? -errno : 0;
	if (!r && (fsync(dirfd) || fsync(store->root_fd)))
		r = -errno;
	return r;
}

int quarantine_move(struct store *store, int dirfd, const char *name, const char *label)
{
	return put(store, dirfd, name, label, false);
}

int quarantine_copy(struct store *store, int dirfd, const char *name, const char *label)
{
	return put(store, dirfd, name, label, true);
}

uint64_t quarantine_count(const struct store *store)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	uint64_t n = 0;

	if (open_dir_at(store->root_fd, "quarantine", &dir))
		return 0;
	while (!next_entry(dir, &entry) && entry)
		n += entry->d_name[0] != '.';
	return n;
}
