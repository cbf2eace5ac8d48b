/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how new tar entries are spelled (POSIX.1-2001, "pax Interchange Format"). Any thread. */
#include "lib/tarwrite.h"

#include <string.h>

#include "lib/tarheader.h"

struct ustar {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12], mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[8];
	char uname[32], gname[32];
	char major[8], minor[8];
	char prefix[155];
	char rest[12];
};

_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a tar header is one block");

static const uint8_t zeros[2 * TAR_BLOCK];

struct records {
	char *text; /* owned */
	size_t len;
};

static size_t decimal_len(size_t value)
{
	size_t n = 1;

	while (value >= 10) {
		value /= 10;
		n++;
	}
	return n;
}

static int add_record(struct records *records, const char *key, const char *key2, const void *value,
		      size_t value_len)
{
	size_t body = 1 + strlen(key) + strlen(key2) + 1 + value_len + 1, len = body;
	char *grown, *p;

	/* The length counts its own digits. */
	while (len != body + decimal_len(len))
		len = body + decimal_len(len);
	if (records->len + len > TAR_HEADERS_MAX - 4 * TAR_BLOCK)
		return -E2BIG;
	grown = realloc(records->text, records->len + len + 1);
	if (!grown)
		return -ENOMEM;
	records->text = grown;
	p = grown + records->len;
	p += snprintf(p, len + 1, "%zu %s%s=", len, key, key2);
	memcpy(p, value, value_len);
	p[value_len] = '\n';
	records->len += len;
	return 0;
}

static int add_number(struct records *records, const char *key, uint64_t value)
{
	char text[24];

	return add_record(records, key, "", text,
			  (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)value));
}

static bool is_utf8(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	while (*p) {
		unsigned int n = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
		uint32_t c = *p++ & (n == 0 ? 0x7fU : 0x3fU >> n);

		if (n && p[-1] < 0xc2)
			return false;
		for (unsigned int i = 0; i < n; i++, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3fU);
		}
		if ((n == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
		    (n == 3 && (c < 0x10000 || c > 0x10ffff)))
			return false;
	}
	return true;
}

static bool is_ascii(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text >= 0x80)
			return false;
	}
	return true;
}

static bool put_text(char *field, size_t size, const char *text)
{
	size_t len = strlen(text);

	memcpy(field, text, len < size ? len : size);
	return len <= size && is_ascii(text);
}

/* Return: did it fit? What does not goes into a pax record, and the field stays 0. */
static bool put_octal(char *field, size_t size, uint64_t value)
{
	bool fits = value >> (3 * (size - 1)) == 0;

	if (!fits)
		value = 0;
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
	return fits;
}

static int add_mtime(struct records *records, const struct tar_new_entry *entry)
{
	long long sec = entry->mtime_sec;
	unsigned int nsec = entry->mtime_nsec;
	char text[48];
	int n;

	if (nsec && sec < 0) {
		/* -1.25 s is stored as -2 s and 750,000,000 ns. */
		n = snprintf(text, sizeof(text), "-%lld.%09u", -(sec + 1), 1000000000 - nsec);
	} else if (nsec) {
		n = snprintf(text, sizeof(text), "%lld.%09u", sec, nsec);
	} else {
		n = snprintf(text, sizeof(text), "%lld", sec);
	}
	while (nsec && text[n - 1] == '0')
		n--;
	return add_record(records, "mtime", "", text, (size_t)n);
}

/* Fill the header; what it cannot say goes into @records. */
static int fill(const struct tar_new_entry *entry, struct ustar *header, struct records *records)
{
	const char *link = entry->link ? entry->link : "";
	int r = 0;

	if (!is_utf8(entry->path) || !is_utf8(link))
		r = add_record(records, "hdrcharset", "", "BINARY", 6);
	if (!put_text(header->name, sizeof(header->name), entry->path) && !r)
		r = add_record(records, "path", "", entry->path, strlen(entry->path));
	if (!put_text(header->link, sizeof(header->link), link) && !r)
		r = add_record(records, "linkpath", "", link, strlen(link));
	put_octal(header->mode, sizeof(header->mode), entry->mode & 07777);
	if (!put_octal(header->uid, sizeof(header->uid), entry->uid) && !r)
		r = add_number(records, "uid", entry->uid);
	if (!put_octal(header->gid, sizeof(header->gid), entry->gid) && !r)
		r = add_number(records, "gid", entry->gid);
	if (!put_octal(header->size, sizeof(header->size), entry->size_bytes) && !r)
		r = add_number(records, "size", entry->size_bytes);
	if ((!put_octal(header->mtime, sizeof(header->mtime), (uint64_t)entry->mtime_sec) ||
	     entry->mtime_nsec) &&
	    !r)
		r = add_mtime(records, entry);
	put_octal(header->major, sizeof(header->major), entry->major);
	put_octal(header->minor, sizeof(header->minor), entry->minor);
	for (size_t i = 0; !r && i < entry->n_xattrs; i++)
		r = add_record(records, "SCHILY.xattr.", entry->xattrs[i].name,
			       entry->xattrs[i].value, entry->xattrs[i].len);
	header->type = entry->type;
	return r;
}

static int write_block(struct ustar *header, tar_sink sink, void *context)
{
	const uint8_t *p = (const uint8_t *)header;
	unsigned int sum = 0;

	memcpy(header->magic, "ustar\00000", 8);
	memset(header->checksum, ' ', sizeof(header->checksum));
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += p[i];
	snprintf(header->checksum, sizeof(header->checksum), "%06o", sum);
	return sink(context, header, sizeof(*header));
}

static int write_records(const struct records *records, tar_sink sink, void *context)
{
	struct ustar header = { .type = 'x' };
	int r;

	put_text(header.name, sizeof(header.name), "PaxHeader");
	put_octal(header.mode, sizeof(header.mode), 0644);
	put_octal(header.uid, sizeof(header.uid), 0);
	put_octal(header.gid, sizeof(header.gid), 0);
	put_octal(header.size, sizeof(header.size), records->len);
	put_octal(header.mtime, sizeof(header.mtime), 0);
	r = write_block(&header, sink, context);
	if (!r)
		r = sink(context, records->text, records->len);
	return r ? r : tarwrite_padding(records->len, sink, context);
}

int tarwrite_header(const struct tar_new_entry *entry, tar_sink sink, void *context)
{
	struct ustar header = { .type = 0 };
	struct records records = { .text = NULL };
	int r = fill(entry, &header, &records);

	if (!r && records.len)
		r = write_records(&records, sink, context);
	if (!r)
		r = write_block(&header, sink, context);
	free(records.text);
	return r;
}

int tarwrite_padding(uint64_t size_bytes, tar_sink sink, void *context)
{
	size_t len = (size_t)(tar_padded(size_bytes) - size_bytes);

	return len ? sink(context, zeros, len) : 0;
}

int tarwrite_end(tar_sink sink, void *context)
{
	return sink(context, zeros, sizeof(zeros));
}
