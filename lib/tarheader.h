/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw tar headers: the fields of a 512-byte block, the records of a pax header, and the one
 * change that thinning makes to them (POSIX.1-2001 pax, ustar, GNU and star dialects).
 *
 * Nothing here re-serialises a header: tar_resize() changes the digits of the size and of
 * the checksum where they stand, so that doing it twice gives the first bytes again.
 */
#pragma once

#include "lib/util.h"

struct problem;

enum {
	TAR_BLOCK = 512,
	/*
	 * Of all header blocks of one entry. Linux allows 64 KiB of xattrs and 4 KiB of path;
	 * a header beyond this is refused, not held in memory.
	 */
	TAR_HEADERS_MAX = 1024 * 1024,
};

struct tar_header {
	char type;
	uint64_t size_bytes; /* the field as it stands; see tar_type_has_data() */
};

/**
 * tar_header_parse() - check one block and read it.
 * Return: 0; -EBADMSG with @problem (wrong checksum, a size that is no number or negative).
 */
int tar_header_parse(const uint8_t block[static TAR_BLOCK], struct tar_header *out,
		     struct problem *problem) must_check;

/** tar_block_is_zero() - the end-of-archive mark. */
bool tar_block_is_zero(const uint8_t block[static TAR_BLOCK]);

/** tar_type_has_data() - false for links, devices, directories: their size means nothing. */
bool tar_type_has_data(char type);

/** tar_padded() - @size_bytes rounded up to whole blocks. */
static inline uint64_t tar_padded(uint64_t size_bytes)
{
	return (size_bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

/* One "LENGTH KEY=VALUE\n" of a pax header; both point into it. */
struct pax_record {
	const char *key, *value;
	size_t key_len, value_len;
};

/**
 * pax_next() - the record at *@off of the pax header @text.
 * Return: 1 with @out and *@off behind it; 0 at the end; -EBADMSG where it is malformed.
 */
int pax_next(const char *text, size_t len, size_t *off, struct pax_record *out) must_check;

/** pax_key_is() - is the record's key @key? */
bool pax_key_is(const struct pax_record *record, const char *key);

/** pax_value_size() - a value of decimal digits, at most INT64_MAX. Return: 0 or -EBADMSG. */
int pax_value_size(const struct pax_record *record, uint64_t *out) must_check;

/**
 * tar_resize() - change the size of an entry from @old_size to @new_size.
 * @raw: all header blocks of the entry, the extended ones first, as tarstream gives them.
 * Where a pax size record decides, its digits change, and those of the ustar field only if
 * it had said the same. The number of digits stays.
 * Return: 0; -ERANGE where the new size does not fit the place of the old one (@raw is then
 * undefined).
 */
int tar_resize(uint8_t *raw, size_t len, uint64_t old_size, uint64_t new_size) must_check;

/**
 * tar_resize_is_reversible() - would tar_resize() there and back give @raw bit for bit?
 * @resized: @len bytes; holds the resized headers when the answer is yes.
 * Return: 1, 0 or -ENOMEM.
 */
int tar_resize_is_reversible(const uint8_t *raw, size_t len, uint64_t old_size, uint64_t new_size,
			     uint8_t *resized) must_check;
