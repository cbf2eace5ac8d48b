/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Owns the stub grammar: a strict JSON reader for at most 200 bytes.
 *
 * The one hard idea: strings are decoded into a fixed arena, so that keys are
 * compared as JSON defines them ("d\u0069gest" is "digest") and a duplicate cannot
 * hide behind an escape. Bounds come from the 200 bytes: no key table can overflow.
 * Any context, also the kernel.
 */
#include "lib/stub.h"

#ifndef __KERNEL__
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"
#endif

static const char magic[] = "intinode ";

enum {
	MAGIC_LEN = sizeof(magic) - 1,
	/* Each key costs at least five bytes: "":0, */
	KEYS_MAX = STUB_SIZE_MAX / 5,
	FOUND_DIGEST = 1,
	FOUND_SIZE = 2,
	FOUND_URLS = 4,
};

struct text {
	const char *bytes; /* in the arena, NUL-terminated */
	size_t len;
};

struct reader {
	const char *p, *end;
	char arena[2 *
		   STUB_SIZE_MAX]; /* every string decoded: never longer than its source + NUL */
	size_t used;
	struct text keys[KEYS_MAX];
	unsigned int n_keys;
};

static void skip_space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool accept_char(struct reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

static bool read_hex4(struct reader *r, uint32_t *out)
{
	uint32_t value = 0;

	if (r->end - r->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char c = *r->p++;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint32_t)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value << 4 | (uint32_t)(c - 'A' + 10);
		else
			return false;
	}
	*out = value;
	return true;
}

static void put_utf8(struct reader *r, uint32_t c)
{
	char *out = r->arena;

	if (c < 0x80) {
		out[r->used++] = (char)c;
	} else if (c < 0x800) {
		out[r->used++] = (char)(0xc0 | c >> 6);
		out[r->used++] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		out[r->used++] = (char)(0xe0 | c >> 12);
		out[r->used++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[r->used++] = (char)(0x80 | (c & 0x3f));
	} else {
		out[r->used++] = (char)(0xf0 | c >> 18);
		out[r->used++] = (char)(0x80 | (c >> 12 & 0x3f));
		out[r->used++] = (char)(0x80 | (c >> 6 & 0x3f));
		out[r->used++] = (char)(0x80 | (c & 0x3f));
	}
}

/* Behind "\u". A NUL is refused: no key, digest or URL has one. */
static bool read_unicode(struct reader *r)
{
	uint32_t c, low;

	if (!read_hex4(r, &c) || c == 0 || (c >= 0xdc00 && c < 0xe000))
		return false;
	if (c >= 0xd800 && c < 0xdc00) {
		if (!accept_char(r, '\\') || !accept_char(r, 'u') || !read_hex4(r, &low))
			return false;
		if (low < 0xdc00 || low >= 0xe000)
			return false;
		c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
	}
	put_utf8(r, c);
	return true;
}

static bool read_escape(struct reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c;

	if (r->p >= r->end)
		return false;
	c = *r->p++;
	if (c == 'u')
		return read_unicode(r);
	for (size_t i = 0; i < sizeof(from) - 1; i++) {
		if (from[i] == c) {
			r->arena[r->used++] = to[i];
			return true;
		}
	}
	return false;
}

/* One well-formed UTF-8 sequence of two bytes or more (RFC 3629: no overlong, no surrogates). */
static bool read_multibyte(struct reader *r)
{
	const unsigned char *p = (const unsigned char *)r->p;
	size_t left = (size_t)(r->end - r->p), n;
	unsigned char low = 0x80, high = 0xbf;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return false;
	if (p[0] == 0xe0)
		low = 0xa0;
	if (p[0] == 0xed)
		high = 0x9f;
	if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xf4)
		high = 0x8f;
	if (left < n || p[1] < low || p[1] > high)
		return false;
	for (size_t i = 2; i < n; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return false;
	}
	memcpy(r->arena + r->used, r->p, n);
	r->used += n;
	r->p += n;
	return true;
}

static bool read_string(struct reader *r, struct text *out)
{
	size_t start = r->used;

	if (!accept_char(r, '"'))
		return false;
	for (;;) {
		unsigned char c;

		if (r->p >= r->end)
			return false;
		c = (unsigned char)*r->p;
		if (c == '"') {
			r->p++;
			break;
		}
		if (c < 0x20)
			return false;
		if (c >= 0x80) {
			if (!read_multibyte(r))
				return false;
		} else {
			r->p++;
			if (c != '\\')
				r->arena[r->used++] = (char)c;
			else if (!read_escape(r))
				return false;
		}
	}
	out->bytes = r->arena + start;
	out->len = r->used - start;
	r->arena[r->used++] = '\0';
	return true;
}

static bool text_is(const struct text *text, const char *word)
{
	return text->len == strlen(word) && !memcmp(text->bytes, word, text->len);
}

static bool is_digit(const struct reader *r)
{
	return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

/* A JSON number of any form, for keys that are ignored. */
static bool skip_number(struct reader *r)
{
	accept_char(r, '-');
	if (!is_digit(r))
		return false;
	if (!accept_char(r, '0')) {
		while (is_digit(r))
			r->p++;
	}
	if (accept_char(r, '.')) {
		if (!is_digit(r))
			return false;
		while (is_digit(r))
			r->p++;
	}
	if (accept_char(r, 'e') || accept_char(r, 'E')) {
		if (!accept_char(r, '+'))
			accept_char(r, '-');
		if (!is_digit(r))
			return false;
		while (is_digit(r))
			r->p++;
	}
	return true;
}

/* A plain integer in 0 .. 2^63 - 1: no sign, fraction, exponent or leading zero. */
static bool read_size(struct reader *r, uint64_t *out)
{
	uint64_t value = 0;

	if (!is_digit(r))
		return false;
	if (*r->p == '0') {
		r->p++;
	} else {
		while (is_digit(r)) {
			uint64_t digit = (uint64_t)(*r->p++ - '0');

			if (value > ((uint64_t)INT64_MAX - digit) / 10)
				return false;
			value = value * 10 + digit;
		}
	}
	if (r->p < r->end && (is_digit(r) || *r->p == '.' || *r->p == 'e' || *r->p == 'E'))
		return false;
	*out = value;
	return true;
}

static bool accept_word(struct reader *r, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len))
		return false;
	r->p += len;
	return true;
}

static bool read_bool(struct reader *r, bool *out)
{
	if (accept_word(r, "true"))
		*out = true;
	else if (accept_word(r, "false"))
		*out = false;
	else
		return false;
	return true;
}

/* Remembers a key of the object whose keys begin at @first; false when it is there already. */
static bool add_key(struct reader *r, unsigned int first, const struct text *key)
{
	for (unsigned int i = first; i < r->n_keys; i++) {
		if (r->keys[i].len == key->len && !memcmp(r->keys[i].bytes, key->bytes, key->len))
			return false;
	}
	if (r->n_keys == KEYS_MAX)
		return false;
	r->keys[r->n_keys++] = *key;
	return true;
}

static bool read_key(struct reader *r, unsigned int first, struct text *key)
{
	skip_space(r);
	if (!read_string(r, key) || !add_key(r, first, key))
		return false;
	skip_space(r);
	if (!accept_char(r, ':'))
		return false;
	skip_space(r);
	return true;
}

static bool skip_scalar(struct reader *r)
{
	struct text ignored;

	if (r->p >= r->end)
		return false;
	if (*r->p == '"')
		return read_string(r, &ignored);
	if (accept_word(r, "true") || accept_word(r, "false") || accept_word(r, "null"))
		return true;
	return skip_number(r);
}

/* The value of an unknown key: a scalar, or an object or array of scalars (depth 2). */
static bool skip_value(struct reader *r)
{
	unsigned int first = r->n_keys;
	struct text key;
	bool object;
	char close;

	if (r->p >= r->end)
		return false;
	if (*r->p != '{' && *r->p != '[')
		return skip_scalar(r);
	object = *r->p++ == '{';
	close = object ? '}' : ']';
	skip_space(r);
	if (accept_char(r, close))
		return true;
	for (;;) {
		if (object && !read_key(r, first, &key))
			return false;
		skip_space(r);
		if (!skip_scalar(r))
			return false;
		skip_space(r);
		if (accept_char(r, close))
			break;
		if (!accept_char(r, ','))
			return false;
	}
	r->n_keys = first;
	return true;
}

static bool read_digest(struct reader *r, struct stub *stub)
{
	static const char prefix[] = "sha256:";
	enum { PREFIX_LEN = sizeof(prefix) - 1 };
	struct text text;

	if (!read_string(r, &text) || text.len != PREFIX_LEN + 2 * STUB_SHA256_BYTES ||
	    memcmp(text.bytes, prefix, PREFIX_LEN))
		return false;
	for (size_t i = 0; i < 2 * STUB_SHA256_BYTES; i++) {
		char c = text.bytes[PREFIX_LEN + i];
		uint8_t nibble;

		if (c >= '0' && c <= '9')
			nibble = (uint8_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			nibble = (uint8_t)(c - 'a' + 10);
		else
			return false;
		stub->sha256[i / 2] = (uint8_t)(stub->sha256[i / 2] << 4 | nibble);
	}
	return true;
}

static bool read_urls(struct reader *r, struct stub *stub)
{
	size_t used = 0;
	struct text url;

	if (!accept_char(r, '['))
		return false;
	skip_space(r);
	if (accept_char(r, ']'))
		return true;
	for (;;) {
		skip_space(r);
		if (!read_string(r, &url))
			return false;
		memcpy(stub->urls + used, url.bytes, url.len + 1);
		used += url.len + 1;
		stub->n_urls++;
		skip_space(r);
		if (accept_char(r, ']'))
			return true;
		if (!accept_char(r, ','))
			return false;
	}
}

static bool read_compression(struct reader *r, struct stub *stub)
{
	struct text text;

	if (!read_string(r, &text))
		return false;
	if (text_is(&text, "zstd"))
		stub->compression = STUB_COMPRESSION_ZSTD;
	else if (text_is(&text, "gzip"))
		stub->compression = STUB_COMPRESSION_GZIP;
	else
		return false;
	return true;
}

static bool read_member(struct reader *r, const struct text *key, struct stub *stub,
			unsigned int *found)
{
	if (text_is(key, "digest")) {
		*found |= FOUND_DIGEST;
		return read_digest(r, stub);
	}
	if (text_is(key, "size")) {
		*found |= FOUND_SIZE;
		return read_size(r, &stub->size_bytes);
	}
	if (text_is(key, "urls")) {
		*found |= FOUND_URLS;
		return read_urls(r, stub);
	}
	if (text_is(key, "compressed"))
		return read_bool(r, &stub->compressed);
	if (text_is(key, "compression_algo"))
		return read_compression(r, stub);
	if (text_is(key, "compressed_size"))
		return read_size(r, &stub->compressed_size_bytes);
	return skip_value(r);
}

bool stub_parse(const void *text, size_t len, struct stub *out)
{
	struct reader r = { .p = text, .end = (const char *)text + len };
	struct stub stub = { .n_urls = 0 };
	unsigned int found = 0;
	struct text key;

	if (len < STUB_SIZE_MIN || len > STUB_SIZE_MAX || memcmp(text, magic, MAGIC_LEN))
		return false;
	r.p += MAGIC_LEN;
	if (r.end[-1] == '\n')
		r.end--;
	if (!accept_char(&r, '{'))
		return false;
	do {
		if (!read_key(&r, 0, &key) || !read_member(&r, &key, &stub, &found))
			return false;
		skip_space(&r);
	} while (accept_char(&r, ','));
	if (!accept_char(&r, '}') || r.p != r.end)
		return false;
	if (found != (FOUND_DIGEST | FOUND_SIZE | FOUND_URLS))
		return false;
	*out = stub;
	return true;
}

#ifndef __KERNEL__

static bool url_is_plain(const char *url)
{
	for (const char *p = url; *p; p++) {
		if (*p < 0x21 || *p > 0x7e || *p == '"' || *p == '\\')
			return false;
	}
	return true;
}

static size_t format_with_urls(const struct stub *stub, unsigned int n_urls, char *out, size_t size)
{
	static const char *const algo[] = { NULL, "zstd", "gzip" };
	const char *url = stub->urls;
	char hex[2 * STUB_SHA256_BYTES + 1];
	int n;

	for (size_t i = 0; i < STUB_SHA256_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", stub->sha256[i]);
	n = snprintf(out, size, "%s{\"digest\":\"sha256:%s\",\"size\":%llu,\"urls\":[", magic, hex,
		     (unsigned long long)stub->size_bytes);
	for (unsigned int i = 0; i < n_urls && (size_t)n < size; i++) {
		if (!url_is_plain(url))
			return size;
		n += snprintf(out + n, size - (size_t)n, "%s\"%s\"", i ? "," : "", url);
		url += strlen(url) + 1;
	}
	if ((size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, "]");
	if (stub->compressed && (size_t)n < size) {
		n += snprintf(out + n, size - (size_t)n, ",\"compressed\":true");
		if (stub->compression && (size_t)n < size)
			n += snprintf(out + n, size - (size_t)n, ",\"compression_algo\":\"%s\"",
				      algo[stub->compression]);
		if (stub->compressed_size_bytes && (size_t)n < size)
			n += snprintf(out + n, size - (size_t)n, ",\"compressed_size\":%llu",
				      (unsigned long long)stub->compressed_size_bytes);
	}
	if ((size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, "}\n");
	return (size_t)n;
}

size_t stub_format(const struct stub *stub, char out[static STUB_SIZE_MAX])
{
	/* Without URLs the longest stub is far below the limit, so the loop ends. */
	char text[STUB_SIZE_MAX + 1];
	unsigned int n_urls = stub->n_urls;
	size_t len;

	while ((len = format_with_urls(stub, n_urls, text, sizeof(text))) > STUB_SIZE_MAX)
		n_urls--;
	memcpy(out, text, len);
	return len;
}

bool stub_set_url(struct stub *stub, const char *url)
{
	size_t len = strlen(url);
	char text[STUB_SIZE_MAX + 1];

	stub->n_urls = 0;
	if (len >= sizeof(stub->urls))
		return false;
	memcpy(stub->urls, url, len + 1);
	if (format_with_urls(stub, 1, text, sizeof(text)) > STUB_SIZE_MAX)
		return false;
	stub->n_urls = 1;
	return true;
}

int stub_read_at(int dirfd, const char *path, uint64_t size_bytes, struct stub *out)
{
	cleanup_close int fd = -1;
	char text[STUB_SIZE_MAX + 1];
	ssize_t n;

	if (size_bytes < STUB_SIZE_MIN || size_bytes > STUB_SIZE_MAX)
		return 0;
	fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	n = read_full(fd, text, sizeof(text));
	if (n < 0)
		return (int)n;
	return stub_parse(text, (size_t)n, out);
}

#endif
