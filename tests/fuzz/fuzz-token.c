/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: any bytes. None is taken, since the key that could sign one is nowhere; but what stands
 * in the corpus as a token of RFC 8037's key is, until one byte changes.
 */
#include <assert.h>
#include <string.h>

#include "lib/log.h"
#include "server/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The public key of RFC 8037, appendix A. */
static const char key_text[] = "-----BEGIN PUBLIC KEY-----\n"
			       "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
			       "-----END PUBLIC KEY-----\n";

static void verify(const struct jwt_keys *keys, const char *token)
{
	const struct jwt_expect expect = { .audience = "registry", .now_s = 1000 };
	struct problem problem = { "" };
	json_t *claims = NULL;
	int64_t expires_s = 0;
	int r = jwt_verify(keys, token, &expect, &claims, &expires_s, &problem);

	if (r) {
		assert(!claims && (r == -ENOMEM || problem.text[0]));
		return;
	}
	assert(json_is_object(claims) && strlen(token) <= JWT_SIZE_MAX);
	assert(expires_s > expect.now_s - JWT_LEEWAY_S);
	json_decref(claims);
}

/* Claims of any form grant something or not. */
static void read_claims(const char *text, size_t len)
{
	cleanup_json json_t *claims = NULL;

	if (json_parse(text, len, &claims, NULL))
		return;
	if (jwt_grants(claims, "repository", "a", "pull"))
		assert(memmem(text, len, "access", 6) || memchr(text, '\\', len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);
	struct jwt_keys *keys = NULL, *others = NULL;
	struct problem problem = { "" };

	if (!text || jwt_keys_parse(key_text, strlen(key_text), &keys, &problem))
		abort();
	verify(keys, text);
	jwt_keys_free(keys);
	read_claims((const char *)data, size);
	if (!jwt_keys_parse((const char *)data, size, &others, &problem))
		jwt_keys_free(others);
	return 0;
}
