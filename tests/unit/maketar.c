/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/maketar.h"

#include <string.h>

void tar_set_checksum(uint8_t *block, const char *style, bool with_sign)
{
	char text[16];
	int sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += with_sign ? (int8_t)block[i] : block[i];
	if (style) {
		snprintf(text, sizeof(text), !strcmp(style, "%07o") ? "%07o" : "%6o  ",
			 (unsigned int)sum);
		memcpy(block + 148, text, 8);
	} else {
		snprintf(text, sizeof(text), "%06o", (unsigned int)sum);
		memcpy(block + 148, text, 7);
	}
}

void tar_header_make(uint8_t *block, const struct new_header *h, uint64_t size)
{
	memset(block, 0, TAR_BLOCK);
	memcpy(block, h->name, strnlen(h->name, 100));
	memcpy(block + 100, "0000644", 8);
	memcpy(block + 108, "0000000", 8);
	memcpy(block + 116, "0000000", 8);
	if (h->size_field)
		memcpy(block + 124, h->size_field, 12);
	else
		snprintf((char *)block + 124, 12, "%011llo", (unsigned long long)size);
	memcpy(block + 136, "14000000000", 12);
	block[156] = (uint8_t)h->type;
	memcpy(block + 257, "ustar\00000", 8);
	if (h->sparse_more)
		block[482] = 1;
	tar_set_checksum(block, h->checksum_style, false);
}

void tar_add_padding(struct bytes *tar, char fill)
{
	char pad[TAR_BLOCK];

	memset(pad, fill, sizeof(pad));
	bytes_add(tar, pad, (TAR_BLOCK - tar->len % TAR_BLOCK) % TAR_BLOCK);
}

void tar_add_entry(struct bytes *tar, const struct new_header *h, const void *data, size_t len)
{
	uint8_t block[TAR_BLOCK];

	tar_header_make(block, h, len);
	bytes_add(tar, block, sizeof(block));
	bytes_add(tar, data, len);
	tar_add_padding(tar, 0);
}

char *tar_text(size_t len)
{
	char *text = malloc(len + 1);

	if (!text)
		abort();
	for (size_t i = 0; i < len; i++)
		text[i] = "the quick brown fox\n"[i % 20];
	return text;
}

void tar_add_text(struct bytes *tar, const char *name, size_t len)
{
	cleanup_free char *text = tar_text(len);

	tar_add_entry(tar, &(struct new_header){ .name = name, .type = '0' }, text, len);
}

void tar_add_end(struct bytes *tar)
{
	static const uint8_t zeros[2 * TAR_BLOCK];

	bytes_add(tar, zeros, sizeof(zeros));
}

void tar_add_extension(struct bytes *tar, char type, const char *text)
{
	tar_add_entry(tar, &(struct new_header){ .name = "ext", .type = type }, text, strlen(text));
}
