/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the text form of digests and the use of OpenSSL's EVP. Any thread. */
#include "lib/digest.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

struct hasher {
	enum digest_algorithm algorithm;
	EVP_MD_CTX *ctx; /* owned */
};

static const struct {
	const char *name;
	size_t size;
	const EVP_MD *(*md)(void);
} algorithms[] = {
	[DIGEST_SHA256] = { "sha256", 32, EVP_sha256 },
	[DIGEST_SHA512] = { "sha512", 64, EVP_sha512 },
};

size_t digest_size(enum digest_algorithm algorithm)
{
	return algorithms[algorithm].size;
}

const char *digest_algorithm_name(enum digest_algorithm algorithm)
{
	return algorithms[algorithm].name;
}

/* One more than the value; 0: no digit. */
static const uint8_t hex_digits[256] = {
	['0'] = 1,  ['1'] = 2,	['2'] = 3,  ['3'] = 4,	['4'] = 5,  ['5'] = 6,
	['6'] = 7,  ['7'] = 8,	['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
	['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

int digest_parse_hex(enum digest_algorithm algorithm, const char *hex, size_t len,
		     struct digest *out)
{
	struct digest digest = { .algorithm = algorithm };

	if (len != 2 * digest_size(algorithm))
		return -EINVAL;
	for (size_t i = 0; i < len; i += 2) {
		uint8_t high = hex_digits[(uint8_t)hex[i]], low = hex_digits[(uint8_t)hex[i + 1]];

		if (!high || !low)
			return -EINVAL;
		digest.bytes[i / 2] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	*out = digest;
	return 0;
}

/* algorithm ::= component (separator component)*, encoded ::= [a-zA-Z0-9=_-]+ */
static bool is_foreign_digest(const char *text, size_t name_len, size_t len)
{
	bool after_separator = true;

	for (size_t i = 0; i < name_len; i++) {
		char c = text[i];
		bool separator = strchr("+._-", c) != NULL && c != '\0';
		bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!letter && (!separator || after_separator))
			return false;
		after_separator = separator;
	}
	if (after_separator || len == name_len + 1)
		return false;
	for (size_t i = name_len + 1; i < len; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '=' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

int digest_parse(const char *text, size_t len, struct digest *out)
{
	const char *colon = memchr(text, ':', len);
	size_t name_len;

	if (!colon)
		return -EINVAL;
	name_len = (size_t)(colon - text);
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		if (strlen(algorithms[i].name) == name_len &&
		    !memcmp(text, algorithms[i].name, name_len))
			return digest_parse_hex((enum digest_algorithm)i, colon + 1,
						len - name_len - 1, out);
	}
	return is_foreign_digest(text, name_len, len) ? -ENOTSUP : -EINVAL;
}

char *digest_format_hex(const struct digest *digest, char out[static DIGEST_TEXT_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	size_t n = digest_size(digest->algorithm);

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[digest->bytes[i] >> 4];
		out[2 * i + 1] = hex[digest->bytes[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

char *digest_format(const struct digest *digest, char out[static DIGEST_TEXT_SIZE])
{
	char hex[DIGEST_TEXT_SIZE];

	snprintf(out, DIGEST_TEXT_SIZE, "%s:%s", algorithms[digest->algorithm].name,
		 digest_format_hex(digest, hex));
	return out;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algorithm == b->algorithm &&
	       !memcmp(a->bytes, b->bytes, digest_size(a->algorithm));
}

struct hasher *hasher_new(enum digest_algorithm algorithm)
{
	struct hasher *hasher = calloc(1, sizeof(*hasher));

	if (!hasher)
		return NULL;
	hasher->algorithm = algorithm;
	hasher->ctx = EVP_MD_CTX_new();
	if (!hasher->ctx || !EVP_DigestInit_ex(hasher->ctx, algorithms[algorithm].md(), NULL)) {
		hasher_free(hasher);
		return NULL;
	}
	return hasher;
}

void hasher_free(struct hasher *hasher)
{
	if (!hasher)
		return;
	EVP_MD_CTX_free(hasher->ctx);
	free(hasher);
}

void hasher_update(struct hasher *hasher, const void *bytes, size_t len)
{
	int ok = EVP_DigestUpdate(hasher->ctx, bytes, len);

	/* SHA-2 in software has no way to fail once initialised. */
	if (!ok)
		abort();
}

void hasher_final(struct hasher *hasher, struct digest *out)
{
	struct digest digest = { .algorithm = hasher->algorithm };

	if (!EVP_DigestFinal_ex(hasher->ctx, digest.bytes, NULL) ||
	    !EVP_DigestInit_ex(hasher->ctx, NULL, NULL))
		abort();
	*out = digest;
}

int digest_compute(enum digest_algorithm algorithm, const void *bytes, size_t len,
		   struct digest *out)
{
	struct digest digest = { .algorithm = algorithm };

	if (!EVP_Digest(bytes, len, digest.bytes, NULL, algorithms[algorithm].md(), NULL))
		return -ENOMEM;
	*out = digest;
	return 0;
}

int digest_compute_fd(enum digest_algorithm algorithm, int fd, struct digest *out,
		      uint64_t *size_bytes)
{
	cleanup_hasher struct hasher *hasher = hasher_new(algorithm);
	enum { PIECE_BYTES = 256 * 1024 };
	cleanup_free char *piece = malloc(PIECE_BYTES);
	off_t off = 0;

	if (!hasher || !piece)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(fd, piece, PIECE_BYTES, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		hasher_update(hasher, piece, (size_t)n);
		off += n;
	}
	hasher_final(hasher, out);
	if (size_bytes)
		*size_bytes = (uint64_t)off;
	return 0;
}
