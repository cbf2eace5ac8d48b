/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the layout of tar header blocks. No state, no I/O. Any thread.
 *
 * The hard idea: a number is changed inside the run of digits it already occupies, whatever
 * stands before and behind it. So every dialect's padding and terminator survives, and the
 * way back needs no memory of the way there.
 */
#include "lib/tarheader.h"

#include <assert.h>
#include <string.h>

#include "lib/log.h"

enum {
	SIZE_OFF = 124,
	SIZE_LEN = 12,
	CHECKSUM_OFF = 148,
	CHECKSUM_LEN = 8,
	TYPE_OFF = 156,
	BASE256_POSITIVE = 0x80,
};

/* The first run of digits in a field that holds else only blanks and NULs before it. */
static bool find_digits(const uint8_t *field, size_t len, unsigned int base, size_t *start,
			size_t *end)
{
	size_t i = 0;

	while (i < len && field[i] == ' ')
		i++;
	*start = i;
	while (i < len && field[i] >= '0' && field[i] < '0' + base)
		i++;
	*end = i;
	return *end > *start;
}

/* Blanks, digits, then nothing but blanks and NULs. An empty field is 0, as all readers take it. */
static int parse_octal(const uint8_t *field, size_t len, uint64_t *out)
{
	size_t start, end;
	uint64_t value = 0;

	find_digits(field, len, 8, &start, &end);
	for (size_t i = start; i < end; i++)
		value = value * 8 + (uint64_t)(field[i] - '0');
	for (size_t i = end; i < len; i++) {
		if (field[i] != ' ' && field[i] != '\0')
			return -EBADMSG;
	}
	*out = value;
	return 0;
}

/* Twelve digits of octal have 36 bits; base-256 has 95, of which 63 are a file size. */
static int parse_size(const uint8_t *field, uint64_t *out)
{
	uint64_t value = 0;

	if (!(field[0] & 0x80))
		return parse_octal(field, SIZE_LEN, out);
	if (field[0] != BASE256_POSITIVE || field[1] || field[2] || field[3] || field[4] & 0x80)
		return -EBADMSG;
	for (size_t i = 4; i < SIZE_LEN; i++)
		value = value << 8 | field[i];
	*out = value;
	return 0;
}

static int write_digits(uint8_t *digits, size_t n, unsigned int base, uint64_t value)
{
	for (size_t i = n; i-- > 0; value /= base)
		digits[i] = (uint8_t)('0' + value % base);
	return value ? -ERANGE : 0;
}

static int write_size(uint8_t *field, uint64_t value)
{
	size_t start, end;

	if (field[0] & 0x80) {
		for (size_t i = SIZE_LEN; i-- > 4; value >>= 8)
			field[i] = (uint8_t)value;
		return 0;
	}
	if (!find_digits(field, SIZE_LEN, 8, &start, &end))
		return -ERANGE;
	return write_digits(field + start, end - start, 8, value);
}

/* The checksum counts its own field as blanks; some old writers summed signed bytes. */
static void compute_checksums(const uint8_t *block, uint64_t *plain, int64_t *with_sign)
{
	*plain = 0;
	*with_sign = 0;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = block[i];

		if (i >= CHECKSUM_OFF && i < CHECKSUM_OFF + CHECKSUM_LEN)
			c = ' ';
		*plain += c;
		*with_sign += (int8_t)c;
	}
}

bool tar_block_is_zero(const uint8_t block[static TAR_BLOCK])
{
	return block[0] == 0 && !memcmp(block, block + 1, TAR_BLOCK - 1);
}

bool tar_type_has_data(char type)
{
	return !memchr("123456", type, 6);
}

int tar_header_parse(const uint8_t block[static TAR_BLOCK], struct tar_header *out,
		     struct problem *problem)
{
	uint64_t stored, plain, size;
	int64_t with_sign;

	compute_checksums(block, &plain, &with_sign);
	if (parse_octal(block + CHECKSUM_OFF, CHECKSUM_LEN, &stored) ||
	    (stored != plain && (int64_t)stored != with_sign))
		return problem_set(problem, -EBADMSG,
				   "not a tar header: its checksum does not match");
	if (parse_size(block + SIZE_OFF, &size))
		return problem_set(problem, -EBADMSG,
				   "the size in the tar header is not a number of bytes");
	out->type = (char)block[TYPE_OFF];
	out->size_bytes = size;
	return 0;
}

/* LENGTH is decimal and counts the whole record, itself and the newline included. */
int pax_next(const char *text, size_t len, size_t *off, struct pax_record *out)
{
	const char *p = text + *off, *end = text + len, *equals;
	size_t record_len = 0, n = 0;

	if (p == end)
		return 0;
	while (p + n < end && p[n] >= '0' && p[n] <= '9') {
		record_len = record_len * 10 + (size_t)(p[n] - '0');
		if (record_len > len)
			return -EBADMSG;
		n++;
	}
	if (n == 0 || p + n == end || p[n] != ' ' || record_len > (size_t)(end - p) ||
	    record_len < n + 4 || p[record_len - 1] != '\n')
		return -EBADMSG;
	out->key = p + n + 1;
	equals = memchr(out->key, '=', record_len - n - 2);
	if (!equals || equals == out->key)
		return -EBADMSG;
	out->key_len = (size_t)(equals - out->key);
	out->value = equals + 1;
	out->value_len = (size_t)(p + record_len - 1 - out->value);
	*off += record_len;
	return 1;
}

bool pax_key_is(const struct pax_record *record, const char *key)
{
	return record->key_len == strlen(key) && !memcmp(record->key, key, record->key_len);
}

int pax_value_size(const struct pax_record *record, uint64_t *out)
{
	uint64_t value = 0;

	if (record->value_len == 0)
		return -EBADMSG;
	for (size_t i = 0; i < record->value_len; i++) {
		char c = record->value[i];

		if (c < '0' || c > '9' || value > (INT64_MAX - 9) / 10)
			return -EBADMSG;
		value = value * 10 + (uint64_t)(c - '0');
	}
	*out = value;
	return 0;
}

/* Change the size record of one pax header. Return: 1 done, 0 it has none, -ERANGE. */
static int resize_pax(uint8_t *text, size_t len, uint64_t new_size)
{
	struct pax_record record;
	size_t off = 0;

	while (pax_next((char *)text, len, &off, &record) > 0) {
		uint8_t *digits;

		if (!pax_key_is(&record, "size"))
			continue;
		digits = text + (record.value - (char *)text);
		return write_digits(digits, record.value_len, 10, new_size) ?: 1;
	}
	return 0;
}

int tar_resize(uint8_t *raw, size_t len, uint64_t old_size, uint64_t new_size)
{
	uint64_t plain, field_size;
	bool by_pax = false;
	int64_t with_sign;
	size_t start, end, off = 0;
	uint8_t *block;
	int r;

	assert(len >= TAR_BLOCK && len % TAR_BLOCK == 0);
	while (off + TAR_BLOCK < len) {
		uint64_t ext_size = 0;

		block = raw + off;
		if (parse_size(block + SIZE_OFF, &ext_size) ||
		    ext_size > len - TAR_BLOCK - off - TAR_BLOCK)
			return -ERANGE;
		if (block[TYPE_OFF] == 'x') {
			r = resize_pax(block + TAR_BLOCK, ext_size, new_size);
			if (r < 0)
				return r;
			by_pax |= r > 0;
		}
		off += TAR_BLOCK + tar_padded(ext_size);
	}
	block = raw + len - TAR_BLOCK;
	if (parse_size(block + SIZE_OFF, &field_size))
		return -ERANGE;
	if (by_pax && field_size != old_size)
		return 0;
	r = write_size(block + SIZE_OFF, new_size);
	if (r)
		return r;
	compute_checksums(block, &plain, &with_sign);
	if (!find_digits(block + CHECKSUM_OFF, CHECKSUM_LEN, 8, &start, &end))
		return -ERANGE;
	return write_digits(block + CHECKSUM_OFF + start, end - start, 8, plain);
}

int tar_resize_is_reversible(const uint8_t *raw, size_t len, uint64_t old_size, uint64_t new_size,
			     uint8_t *resized)
{
	cleanup_free uint8_t *back = malloc(len);

	if (!back)
		return -ENOMEM;
	memcpy(resized, raw, len);
	if (tar_resize(resized, len, old_size, new_size))
		return 0;
	memcpy(back, resized, len);
	return !tar_resize(back, len, new_size, old_size) && !memcmp(back, raw, len);
}
