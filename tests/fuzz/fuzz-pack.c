/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a packed file: no crash, no more memory than a frame, no more content than it says.
 */
#include <string.h>
#include <sys/mman.h>

#include "server/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_from(int fd, const struct pack_info *info, uint64_t off)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	static char piece[64 * 1024];
	uint64_t total = 0;
	ssize_t n;

	if (unpacker_new(fd, info, off, &unpacker))
		return;
	while ((n = unpacker_read(unpacker, piece, sizeof(piece))) > 0)
		total += (uint64_t)n;
	if (total > info->size_bytes - off)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct pack_info info;

	if (fd < 0 || write_all(fd, data, size) || pack_stat(fd, size, &info))
		return 0;
	if (!info.size_bytes || info.frames_bytes >= size)
		abort();
	read_from(fd, &info, 0);
	read_from(fd, &info, info.size_bytes / 2);
	if (info.size_bytes <= 1024 * 1024) {
		cleanup_free char *all = malloc(info.size_bytes);

		if (all)
			(void)!unpack_all(fd, &info, all);
	}
	return 0;
}
