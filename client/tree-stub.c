/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what a tree knows of its stubs: overlayfs form, tables, hints. */
#include "client/tree-internal.h"

#include <string.h>
#include <sys/xattr.h>

#include "lib/json.h"

static int note_hints(struct tree *tree, const struct stub *stub)
{
	const char *url = stub->urls;

	for (unsigned int i = 0; i < stub->n_urls; i++, url += strlen(url) + 1) {
		size_t k = 0;

		while (k < tree->n_hints && strcmp(tree->hints[k], url))
			k++;
		if (k < tree->n_hints || k == TREE_HINTS_MAX)
			continue;
		tree->hints[k] = strdup(url);
		if (!tree->hints[k])
			return -ENOMEM;
		tree->n_hints++;
	}
	return 0;
}

int tree_note_stub(struct tree *tree, const struct stub *stub)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	int r;

	memcpy(digest.bytes, stub->sha256, SHA256_BYTES);
	r = stubtable_add(tree->table, &digest, stub->size_bytes);
	if (r)
		return r;
	tree->n_stubs++;
	tree->stub_bytes += stub->size_bytes;
	return note_hints(tree, stub);
}

int tree_make_metacopy(int fd, const struct stub *stub)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	char redirect[DIGEST_TEXT_SIZE + 16], hex[DIGEST_TEXT_SIZE];

	memcpy(digest.bytes, stub->sha256, SHA256_BYTES);
	snprintf(redirect, sizeof(redirect), "/sha256/%s", digest_format_hex(&digest, hex));
	if (fsetxattr(fd, OVERLAY_XATTR "metacopy", "", 0, 0) ||
	    fsetxattr(fd, OVERLAY_XATTR "redirect", redirect, strlen(redirect), 0))
		return -errno;
	return 0;
}

uint64_t tree_stub_count(const struct tree *tree)
{
	return tree->n_stubs;
}

uint64_t tree_stub_bytes(const struct tree *tree)
{
	return tree->stub_bytes;
}

int tree_write_tables(struct tree *tree, int dirfd)
{
	cleanup_json json_t *urls = json_array();
	cleanup_free char *text = NULL;
	int r;

	for (size_t i = 0; i < tree->n_hints; i++)
		json_array_append_new(urls, json_string(tree->hints[i]));
	text = json_dumps(urls, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	r = write_file_durably_at(dirfd, "urls", text, strlen(text), 0644);
	return r ? r : stubtable_write(tree->table, dirfd, "stubs");
}
