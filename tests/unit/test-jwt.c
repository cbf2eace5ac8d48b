/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of a token service, right and wrong, signed here. */
#include "tests/unit/test.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "server/access.h"
#include "server/jwt.h"

enum { NOW_S = 1000000 };

static const struct jwt_expect expect = { .issuer = "issuer",
					  .audience = "registry",
					  .now_s = NOW_S };

#define CLAIMS "{\"iss\":\"issuer\",\"aud\":\"registry\",\"exp\":1000100,\"access\":[]}"
#define HEADER "{\"alg\":\"EdDSA\"}"

static EVP_PKEY *key, *other;
static struct jwt_keys *keys;

static char *pem_of(EVP_PKEY *of)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes, *text;
	long len;

	assert_int_equal(PEM_write_bio_PUBKEY(bio, of), 1);
	len = BIO_get_mem_data(bio, &bytes);
	text = strndup(bytes, (size_t)len);
	BIO_free(bio);
	return text;
}

static int make_keys(void **state)
{
	struct problem problem = { "" };
	char *text;

	(void)state;
	key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	other = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	text = pem_of(key);
	assert_int_equal(jwt_keys_parse(text, strlen(text), &keys, &problem), 0);
	free(text);
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	jwt_keys_free(keys);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	return 0;
}

static void add_base64(char *out, const void *bytes, size_t len)
{
	char *end = out + strlen(out);
	int n = EVP_EncodeBlock((unsigned char *)end, bytes, (int)len);

	while (n > 0 && end[n - 1] == '=')
		end[--n] = '\0';
	for (; *end; end++)
		*end = *end == '+' ? '-' : *end == '/' ? '_' : *end;
}

static void add_dot(char *out)
{
	size_t len = strlen(out);

	out[len] = '.';
	out[len + 1] = '\0';
}

static void make_token(char *out, const char *header, const char *claims, EVP_PKEY *with)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char signature[512];
	size_t len = sizeof(signature);

	*out = '\0';
	add_base64(out, header, strlen(header));
	add_dot(out);
	add_base64(out, claims, strlen(claims));
	assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, with), 1);
	assert_int_equal(
		EVP_DigestSign(context, signature, &len, (unsigned char *)out, strlen(out)), 1);
	EVP_MD_CTX_free(context);
	add_dot(out);
	add_base64(out, signature, len);
}

static int verify(const char *token)
{
	struct problem problem = { "" };
	json_t *claims = NULL;
	int64_t expires_s;
	int r = jwt_verify(keys, token, &expect, &claims, &expires_s, &problem);

	assert_true(r ? problem.text[0] && !claims : claims != NULL);
	json_decref(claims);
	return r;
}

static int verify_made(const char *header, const char *claims, EVP_PKEY *with)
{
	char token[4096];

	make_token(token, header, claims, with);
	return verify(token);
}

static void a_token_of_our_key_is_taken_and_of_another_is_not(void **state)
{
	(void)state;
	assert_int_equal(verify_made(HEADER, CLAIMS, key), 0);
	assert_int_equal(verify_made(HEADER, CLAIMS, other), -EACCES);
}

/* Not one that is changed in one place, wherever; nor a part of one. */
static void no_byte_of_a_token_may_be_another(void **state)
{
	char token[4096];
	size_t len;

	(void)state;
	make_token(token, HEADER, CLAIMS, key);
	len = strlen(token);
	for (size_t i = 0; i < len; i++) {
		char was = token[i];

		/* The last character's spare bits are nobody's. */
		if (i == len - 1)
			break;
		token[i] = was == 'A' ? 'B' : 'A';
		if (!verify(token))
			fail_msg("byte %zu", i);
		token[i] = '\0';
		if (!verify(token))
			fail_msg("cut at %zu", i);
		token[i] = was;
	}
	assert_int_equal(verify(token), 0);
}

static void what_a_token_says_of_its_signature_is_not_believed(void **state)
{
	static const char *const headers[] = {
		"{\"alg\":\"none\"}",
		"{\"alg\":\"HS256\"}",
		"{\"alg\":\"RS256\"}",
		"{\"alg\":\"ES256\"}",
		"{\"alg\":\"eddsa\"}",
		"{\"alg\":1}",
		"{}",
		"{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		if (verify_made(headers[i], CLAIMS, key) != -EACCES)
			fail_msg("%s", headers[i]);
	}
	assert_int_equal(verify_made("[]", CLAIMS, key), -EBADMSG);
	assert_int_equal(verify_made("{\"alg\":\"EdDSA\",\"alg\":\"none\"}", CLAIMS, key),
			 -EBADMSG);
	assert_int_equal(verify_made("{\"alg\":\"EdDSA\",\"kid\":\"x\",\"jwk\":{}}", CLAIMS, key),
			 0);
}

static void issuer_and_audience_must_be_ours(void **state)
{
	(void)state;
	assert_int_equal(verify_made(HEADER, "{\"aud\":\"registry\",\"exp\":1000100}", key),
			 -EACCES);
	assert_int_equal(verify_made(HEADER, "{\"iss\":\"issuer\",\"exp\":1000100}", key), -EACCES);
	assert_int_equal(verify_made(HEADER,
				     "{\"iss\":\"issuer\",\"aud\":[\"x\",1],\"exp\":1000100}", key),
			 -EACCES);
	assert_int_equal(
		verify_made(HEADER,
			    "{\"iss\":\"issuer\",\"aud\":[\"x\",\"registry\"],\"exp\":1000100}",
			    key),
		0);
}

/* Each at the last second, and one behind. */
static void a_token_is_good_for_its_time_and_a_minute(void **state)
{
	static const struct {
		int64_t not_before_s, expiry_s;
		int result;
	} cases[] = {
		{ 0, NOW_S + 1, 0 },
		{ 0, NOW_S - JWT_LEEWAY_S + 1, 0 },
		{ 0, NOW_S - JWT_LEEWAY_S, -ETIME },
		{ NOW_S + JWT_LEEWAY_S, NOW_S + 100, 0 },
		{ NOW_S + JWT_LEEWAY_S + 1, NOW_S + 100, -ETIME },
		{ 0, -1, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char claims[256];

		snprintf(claims, sizeof(claims),
			 "{\"iss\":\"issuer\",\"aud\":\"registry\",\"nbf\":%lld,\"exp\":%lld}",
			 (long long)cases[i].not_before_s, (long long)cases[i].expiry_s);
		assert_int_equal(verify_made(HEADER, claims, key), cases[i].result);
	}
	assert_int_equal(verify_made(HEADER, "{\"iss\":\"issuer\",\"aud\":\"registry\"}", key),
			 -EBADMSG);
	assert_int_equal(
		verify_made(HEADER, "{\"iss\":\"issuer\",\"aud\":\"registry\",\"exp\":\"1000100\"}",
			    key),
		-EBADMSG);
}

static void too_long_a_token_is_refused(void **state)
{
	char *text = calloc(1, JWT_SIZE_MAX + 2);

	(void)state;
	memset(text, 'A', JWT_SIZE_MAX + 1);
	assert_int_equal(verify(text), -EBADMSG);
	text[10] = text[20] = '.';
	assert_int_equal(verify(text), -EBADMSG);
	free(text);
}

static bool grants(const char *text, const char *type, const char *name, const char *action)
{
	cleanup_json json_t *claims = NULL;

	assert_int_equal(json_parse(text, strlen(text), &claims, NULL), 0);
	return jwt_grants(claims, type, name, action);
}

static void a_token_grants_what_it_says_and_no_more(void **state)
{
	static const char text[] =
		"{\"access\":[7,{\"type\":\"repository\",\"name\":\"a/"
		"b\",\"actions\":[1,\"pull\"]},"
		"{\"type\":\"repository\",\"name\":\"c\",\"actions\":[\"*\"]},"
		"{\"type\":\"registry\",\"name\":\"catalog\",\"actions\":[\"*\"]}]}";

	(void)state;
	assert_true(grants(text, "repository", "a/b", "pull"));
	assert_false(grants(text, "repository", "a/b", "push"));
	assert_false(grants(text, "repository", "a", "pull"));
	assert_true(grants(text, "repository", "c", "delete"));
	assert_false(grants(text, "repository", "catalog", "*"));
	assert_true(grants(text, "registry", "catalog", "*"));
	assert_false(grants("{}", "repository", "a", "pull"));
	assert_false(grants("{\"access\":{}}", "repository", "a", "pull"));
	assert_false(grants("{\"access\":[{\"type\":\"repository\",\"name\":\"a\","
			    "\"actions\":\"pull\"}]}",
			    "repository", "a", "pull"));
	assert_false(grants("{\"access\":[{\"type\":\"repository\",\"name\":\"*\","
			    "\"actions\":[\"pull\"]}]}",
			    "repository", "a", "pull"));
}

static void a_file_of_keys_is_taken_whole_or_not(void **state)
{
	struct problem problem = { "" };
	char *good = pem_of(key), *text = NULL;
	struct jwt_keys *got = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	long len;

	(void)state;
	assert_true(asprintf(&text, "comment\n%s\n%s", good, good) > 0);
	assert_int_equal(jwt_keys_parse(text, strlen(text), &got, &problem), 0);
	jwt_keys_free(got);
	free(text);
	/* The second one is cut. */
	assert_true(asprintf(&text, "%s%.40s", good, good) > 0);
	assert_int_equal(jwt_keys_parse(text, strlen(text), &got, &problem), -EINVAL);
	free(text);
	assert_int_equal(jwt_keys_parse("", 0, &got, &problem), -EINVAL);
	/* A private key has no place there. */
	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	len = BIO_get_mem_data(bio, &text);
	assert_int_equal(jwt_keys_parse(text, (size_t)len, &got, &problem), -EINVAL);
	BIO_free(bio);
	free(good);
}

/* What a token may cost on the thread that has many connections. */
static void with_many_keys_a_token_is_tried_elsewhere(void **state)
{
	char path[] = "/tmp/test-jwt.XXXXXX";
	const struct access_options options = { .realm = "x",
						.token_realm = "https://x/",
						.token_service = "registry",
						.token_keys = path };
	cleanup_free char *text = pem_of(key);
	cleanup_close int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (int n = 1; n <= JWT_KEYS_QUICK + 1; n++) {
		FILE *file = fopen(path, "we");
		struct rules rules = { .rules = NULL };
		struct problem problem = { "" };
		struct login login = { .again = NULL };
		struct access *access = NULL;
		struct access_state *now;
		struct identity who;

		assert_non_null(file);
		for (int i = 0; i < n; i++)
			fputs(text, file);
		fclose(file);
		assert_int_equal(access_new(&options, &rules, &access, &problem), 0);
		now = access_get(access);
		assert_int_equal(access_identify(now, "Bearer a.b.c", NULL, NULL, &who, &problem),
				 n > JWT_KEYS_QUICK ? -EAGAIN : -EACCES);
		assert_int_equal(access_identify(now, "Bearer a.b.c", NULL, &login, &who, &problem),
				 -EACCES);
		access_state_unref(now);
		access_free(access);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_of_our_key_is_taken_and_of_another_is_not),
		cmocka_unit_test(no_byte_of_a_token_may_be_another),
		cmocka_unit_test(what_a_token_says_of_its_signature_is_not_believed),
		cmocka_unit_test(issuer_and_audience_must_be_ours),
		cmocka_unit_test(a_token_is_good_for_its_time_and_a_minute),
		cmocka_unit_test(too_long_a_token_is_refused),
		cmocka_unit_test(a_token_grants_what_it_says_and_no_more),
		cmocka_unit_test(a_file_of_keys_is_taken_whole_or_not),
		cmocka_unit_test(with_many_keys_a_token_is_tried_elsewhere),
	};

	return cmocka_run_group_tests_name("jwt", tests, make_keys, free_keys);
}
