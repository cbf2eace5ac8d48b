/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate: any bytes. What is taken is bounded, and means the same when written anew. */
#include <assert.h>
#include <string.h>

#include "lib/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As a quoted string. */
static void write_param(FILE *out, const char *separator, const char *name, const char *value)
{
	if (!*value)
		return;
	fprintf(out, "%s%s=\"", separator, name);
	for (; *value; value++)
		fprintf(out, "%s%c", *value == '"' || *value == '\\' ? "\\" : "", *value);
	fputc('"', out);
}

/* A challenge with a realm, as a header. */
static void write_again(const struct challenge *challenge)
{
	struct challenge again[CHALLENGES_MAX];
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert(out);
	fputs(challenge->scheme == CHALLENGE_BASIC ? "Basic" : "Bearer", out);
	write_param(out, " ", "realm", challenge->realm);
	write_param(out, ", ", "service", challenge->service);
	write_param(out, ",", "scope", challenge->scope);
	write_param(out, " , ", "error", challenge->error);
	fclose(out);
	if (len > CHALLENGE_HEADER_MAX)
		return;
	if (challenge_parse(text, len, again) != 1)
		abort();
	assert(again[0].scheme == challenge->scheme);
	assert(!strcmp(again[0].realm, challenge->realm));
	assert(!strcmp(again[0].service, challenge->service));
	assert(!strcmp(again[0].scope, challenge->scope));
	assert(!strcmp(again[0].error, challenge->error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct challenge challenges[CHALLENGES_MAX];
	int n = challenge_parse((const char *)data, size, challenges);

	assert(n <= CHALLENGES_MAX);
	for (int i = 0; i < n; i++) {
		if (challenges[i].scheme != CHALLENGE_OTHER && *challenges[i].realm)
			write_again(&challenges[i]);
	}
	return 0;
}
