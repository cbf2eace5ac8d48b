/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of tokens and their keys. No allocation outlives a call but for the keys. */
#include "server/jwt.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "lib/log.h"

enum { ES256_BYTES = 64, ES256_DER_MAX = 80 };

struct jwt_keys {
	EVP_PKEY *keys[JWT_KEYS_MAX]; /* owned */
	size_t n;
};

static const struct algorithm {
	const char *name;
	int key_type;
	const EVP_MD *(*hash)(void); /* NULL: the algorithm has its own */
} algorithms[] = {
	{ "RS256", EVP_PKEY_RSA, EVP_sha256 }, { "RS384", EVP_PKEY_RSA, EVP_sha384 },
	{ "RS512", EVP_PKEY_RSA, EVP_sha512 }, { "ES256", EVP_PKEY_EC, EVP_sha256 },
	{ "EdDSA", EVP_PKEY_ED25519, NULL },
};

/* A key from one PEM block; NULL for a block of another kind. */
static EVP_PKEY *key_of(const char *name, const unsigned char *bytes, long len)
{
	EVP_PKEY *key = NULL;
	X509 *certificate;

	if (!strcmp(name, "PUBLIC KEY"))
		return d2i_PUBKEY(NULL, &bytes, len);
	if (!strcmp(name, "CERTIFICATE")) {
		certificate = d2i_X509(NULL, &bytes, len);
		if (certificate)
			key = X509_get_pubkey(certificate);
		X509_free(certificate);
	}
	return key;
}

/* All or none: a key that is left out would be noticed when its tokens are refused. */
static int read_keys(BIO *bio, struct jwt_keys *keys, struct problem *problem)
{
	unsigned char *bytes;
	char *name, *header;
	long size;

	while (PEM_read_bio(bio, &name, &header, &bytes, &size)) {
		EVP_PKEY *key = keys->n < JWT_KEYS_MAX ? key_of(name, bytes, size) : NULL;

		if (key)
			keys->keys[keys->n++] = key;
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(bytes);
		if (!key)
			return problem_set(problem, -EINVAL,
					   "PEM block %zu is neither a certificate nor a public "
					   "key, or is behind the %dth",
					   keys->n + 1, JWT_KEYS_MAX);
	}
	if (!keys->n || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return problem_set(problem, -EINVAL,
				   "it holds something else than certificates and public keys in "
				   "PEM form");
	return 0;
}

int jwt_keys_parse(const char *text, size_t len, struct jwt_keys **out, struct problem *problem)
{
	BIO *bio = len <= JWT_KEY_FILE_MAX ? BIO_new_mem_buf(text, (int)len) : NULL;
	struct jwt_keys *keys = calloc(1, sizeof(*keys));
	int r;

	if (!keys || !bio) {
		BIO_free(bio);
		free(keys);
		return -ENOMEM;
	}
	r = read_keys(bio, keys, problem);
	BIO_free(bio);
	ERR_clear_error();
	if (r)
		jwt_keys_free(keys);
	else
		*out = keys;
	return r;
}

int jwt_keys_load(const char *path, struct jwt_keys **out, struct problem *problem)
{
	cleanup_free char *text = NULL;
	struct problem why = { "" };
	size_t len;
	int r = read_file_at(AT_FDCWD, path, JWT_KEY_FILE_MAX, &text, &len);

	if (!r)
		r = jwt_keys_parse(text, len, out, &why);
	return r ? problem_set(problem, r, "%s: %s", path, problem_text(&why, r)) : 0;
}

void jwt_keys_free(struct jwt_keys *keys)
{
	if (!keys)
		return;
	for (size_t i = 0; i < keys->n; i++)
		EVP_PKEY_free(keys->keys[i]);
	free(keys);
}

size_t jwt_keys_count(const struct jwt_keys *keys)
{
	return keys->n;
}

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* RFC 4648, 5, without padding. Allocated, with a NUL behind. */
static int decode(const char *text, size_t len, unsigned char **out, size_t *out_len)
{
	unsigned char *bytes;
	unsigned int bits = 0, n_bits = 0;
	size_t n = 0;

	if (len % 4 == 1)
		return -EBADMSG;
	bytes = malloc(len / 4 * 3 + 4);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		int value = base64url_value(text[i]);

		if (value < 0) {
			free(bytes);
			return -EBADMSG;
		}
		bits = bits << 6 | (unsigned int)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			bytes[n++] = (unsigned char)(bits >> n_bits);
		}
	}
	bytes[n] = '\0';
	*out = bytes;
	*out_len = n;
	return 0;
}

static int decode_json(const char *text, size_t len, json_t **out)
{
	cleanup_free unsigned char *bytes = NULL;
	cleanup_json json_t *value = NULL;
	size_t n;
	int r = decode(text, len, &bytes, &n);

	if (!r)
		r = json_parse((char *)bytes, n, &value, NULL);
	if (!r && !json_is_object(value))
		r = -EBADMSG;
	if (!r)
		*out = steal_ptr(value);
	return r;
}

/* JWS has the two numbers side by side, OpenSSL wants DER. Return: its length, or 0. */
static int es256_to_der(const unsigned char *raw, size_t len,
			unsigned char der[static ES256_DER_MAX])
{
	unsigned char *p = der;
	ECDSA_SIG *sig;
	BIGNUM *r, *s;
	int n = 0;

	if (len != ES256_BYTES)
		return 0;
	sig = ECDSA_SIG_new();
	r = BN_bin2bn(raw, 32, NULL);
	s = BN_bin2bn(raw + 32, 32, NULL);
	if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
		r = s = NULL; /* the signature's now */
		n = i2d_ECDSA_SIG(sig, NULL) <= ES256_DER_MAX ? i2d_ECDSA_SIG(sig, &p) : 0;
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return n > 0 ? n : 0;
}

static bool key_verifies(EVP_PKEY *key, const struct algorithm *algorithm, const char *text,
			 size_t len, const unsigned char *signature, size_t signature_len)
{
	EVP_MD_CTX *context;
	bool right;

	if (EVP_PKEY_get_base_id(key) != algorithm->key_type)
		return false;
	context = EVP_MD_CTX_new();
	right = context &&
		EVP_DigestVerifyInit(context, NULL, algorithm->hash ? algorithm->hash() : NULL,
				     NULL, key) == 1 &&
		EVP_DigestVerify(context, signature, signature_len, (const unsigned char *)text,
				 len) == 1;
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return right;
}

/* Is @signature (base64url) that of @text by one of our keys? */
static int check_signature(const struct jwt_keys *keys, const json_t *header, const char *text,
			   size_t len, const char *signature)
{
	cleanup_free unsigned char *raw = NULL;
	const char *name = json_get_string(header, "alg");
	const struct algorithm *algorithm = NULL;
	unsigned char der[ES256_DER_MAX];
	const unsigned char *bytes;
	size_t n;
	int r = decode(signature, strlen(signature), &raw, &n);

	if (r)
		return r;
	for (size_t i = 0; name && i < ARRAY_SIZE(algorithms); i++) {
		if (!strcmp(algorithms[i].name, name))
			algorithm = &algorithms[i];
	}
	if (!algorithm || json_object_get(header, "crit"))
		return -EACCES;
	bytes = raw;
	if (algorithm->key_type == EVP_PKEY_EC) {
		n = (size_t)es256_to_der(raw, n, der);
		bytes = der;
	}
	for (size_t i = 0; n && i < keys->n; i++) {
		if (key_verifies(keys->keys[i], algorithm, text, len, bytes, n))
			return 0;
	}
	return -EACCES;
}

static bool names_audience(const json_t *claims, const char *wanted)
{
	const json_t *audience = json_object_get(claims, "aud");
	size_t i;
	json_t *one;

	if (json_is_string(audience))
		return !strcmp(json_string_value(audience), wanted);
	json_array_foreach(audience, i, one) {
		if (json_is_string(one) && !strcmp(json_string_value(one), wanted))
			return true;
	}
	return false;
}

/* NumericDate; *@out stays as it is where there is none. Return: false when it is no time. */
static bool read_time(const json_t *claims, const char *key, int64_t *out)
{
	const json_t *value = json_object_get(claims, key);

	if (!value)
		return true;
	if (!json_is_number(value) || json_number_value(value) < 0 ||
	    json_number_value(value) > 1e15)
		return false;
	*out = (int64_t)json_number_value(value);
	return true;
}

static int check_claims(const json_t *claims, const struct jwt_expect *expect, int64_t *expires_s,
			struct problem *problem)
{
	const char *issuer = json_get_string(claims, "iss");
	int64_t not_before_s = 0, expiry_s = -1;

	if (expect->issuer && (!issuer || strcmp(issuer, expect->issuer)))
		return problem_set(problem, -EACCES, "the token has another issuer");
	if (expect->audience && !names_audience(claims, expect->audience))
		return problem_set(problem, -EACCES, "the token is for another service");
	if (!read_time(claims, "nbf", &not_before_s) || !read_time(claims, "exp", &expiry_s) ||
	    expiry_s < 0)
		return problem_set(problem, -EBADMSG,
				   "the token does not say until when it is good");
	if (expect->now_s + JWT_LEEWAY_S < not_before_s)
		return problem_set(problem, -ETIME, "the token is not good yet");
	if (expect->now_s - JWT_LEEWAY_S >= expiry_s)
		return problem_set(problem, -ETIME, "the token has expired");
	*expires_s = expiry_s;
	return 0;
}

int jwt_verify(const struct jwt_keys *keys, const char *token, const struct jwt_expect *expect,
	       json_t **claims, int64_t *expires_s, struct problem *problem)
{
	cleanup_json json_t *header = NULL, *body = NULL;
	const char *first, *second;
	int r;

	if (strnlen(token, JWT_SIZE_MAX + 1) > JWT_SIZE_MAX)
		return problem_set(problem, -EBADMSG, "the token is too long");
	first = strchr(token, '.');
	second = first ? strchr(first + 1, '.') : NULL;
	if (!second)
		return problem_set(problem, -EBADMSG, "that is no token");
	r = decode_json(token, (size_t)(first - token), &header);
	if (!r)
		r = check_signature(keys, header, token, (size_t)(second - token), second + 1);
	if (r)
		return problem_set(problem, r,
				   r == -EACCES ? "no key of ours signed the token"
						: "that is no token");
	r = decode_json(first + 1, (size_t)(second - first - 1), &body);
	if (r)
		return problem_set(problem, r, "the token holds no claims");
	r = check_claims(body, expect, expires_s, problem);
	if (!r)
		*claims = steal_ptr(body);
	return r;
}

bool jwt_grants(const json_t *claims, const char *type, const char *name, const char *action)
{
	size_t i, k;
	json_t *entry, *one;

	json_array_foreach(json_object_get(claims, "access"), i, entry) {
		const char *entry_type = json_get_string(entry, "type");
		const char *entry_name = json_get_string(entry, "name");

		if (!entry_type || !entry_name || strcmp(entry_type, type) ||
		    strcmp(entry_name, name))
			continue;
		json_array_foreach(json_object_get(entry, "actions"), k, one) {
			const char *text = json_string_value(one);

			if (text && (!strcmp(text, action) || !strcmp(text, "*")))
				return true;
		}
	}
	return false;
}
