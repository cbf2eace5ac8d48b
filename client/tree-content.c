/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how the bytes of regular files get into the tree, holes kept. */
#include "client/tree-internal.h"

#include <string.h>

static int pwrite_all(int fd, const void *bytes, size_t len, off_t off)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = pwrite(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A file that may be a stub: at most STUB_SIZE_MAX bytes, so it is read first. */
static int write_small(struct tree *tree, const struct tree_entry *entry, int fd, struct stub *stub,
		       bool *is_stub)
{
	char text[STUB_SIZE_MAX];
	size_t size = (size_t)entry->st.st_size;
	const void *bytes;
	size_t len;
	off_t off;
	int r;

	if (size > sizeof(text))
		return -EBADMSG;
	memset(text, 0, sizeof(text));
	while ((r = entry->read(entry->context, &bytes, &len, &off)) > 0) {
		if (off < 0 || (size_t)off > size || len > size - (size_t)off)
			return -EBADMSG;
		memcpy(text + off, bytes, len);
	}
	if (r < 0)
		return r;
	*is_stub = stub_parse(text, size, stub);
	r = *is_stub ? tree_note_stub(tree, stub) : 0;
	if (r)
		return r;
	if (*is_stub && tree->kind == TREE_TWIN)
		return ftruncate(fd, (off_t)stub->size_bytes) ? -errno : 0;
	return pwrite_all(fd, text, size, 0);
}

int tree_write_content(struct tree *tree, const struct tree_entry *entry, int fd, struct stub *stub,
		       bool *is_stub)
{
	const void *bytes;
	size_t len;
	off_t off;
	int r;

	if (entry->st.st_size <= STUB_SIZE_MAX)
		return write_small(tree, entry, fd, stub, is_stub);
	while ((r = entry->read(entry->context, &bytes, &len, &off)) > 0) {
		r = pwrite_all(fd, bytes, len, off);
		if (r)
			return r;
	}
	/* A hole at the end. */
	return r < 0 ? r : ftruncate(fd, entry->st.st_size) ? -errno : 0;
}
