/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the grammar of WWW-Authenticate. No I/O; any thread.
 *
 * The hard idea: a comma separates parameters and challenges alike. What follows it is a
 * parameter if it is a token with '=' behind it, else the next scheme.
 */
#include "lib/challenge.h"

#include <string.h>
#include <strings.h>

struct cursor {
	const char *p, *end;
};

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct cursor *cursor)
{
	while (cursor->p < cursor->end && (*cursor->p == ' ' || *cursor->p == '\t'))
		cursor->p++;
}

static void skip_commas(struct cursor *cursor)
{
	while (cursor->p < cursor->end &&
	       (*cursor->p == ' ' || *cursor->p == '\t' || *cursor->p == ','))
		cursor->p++;
}

static size_t read_token(struct cursor *cursor, const char **start)
{
	*start = cursor->p;
	while (cursor->p < cursor->end && is_token_char(*cursor->p))
		cursor->p++;
	return (size_t)(cursor->p - *start);
}

/* @out may be NULL: read over it. Return: 0 or -EBADMSG. */
static int read_quoted(struct cursor *cursor, char *out, size_t size)
{
	size_t n = 0;

	for (cursor->p++; cursor->p < cursor->end; cursor->p++) {
		unsigned char c = (unsigned char)*cursor->p;

		if (c == '"') {
			cursor->p++;
			if (out)
				out[n] = '\0';
			return 0;
		}
		if (c == '\\') {
			if (++cursor->p == cursor->end)
				return -EBADMSG;
			c = (unsigned char)*cursor->p;
		}
		if ((c < 0x20 && c != '\t') || c == 0x7f || (out && n + 1 >= size))
			return -EBADMSG;
		if (out)
			out[n++] = (char)c;
	}
	return -EBADMSG;
}

static int read_plain(struct cursor *cursor, char *out, size_t size)
{
	const char *start = cursor->p;
	size_t len;

	while (cursor->p<cursor->end && * cursor->p> 0x20 && *cursor->p < 0x7f &&
	       *cursor->p != ',' && *cursor->p != '"')
		cursor->p++;
	len = (size_t)(cursor->p - start);
	if (len == 0 || (out && len >= size))
		return -EBADMSG;
	if (out) {
		memcpy(out, start, len);
		out[len] = '\0';
	}
	return 0;
}

static int read_param(struct cursor *cursor, const char *name, size_t name_len,
		      struct challenge *challenge)
{
	const struct {
		const char *name;
		char *value;
		size_t size;
	} params[] = {
		{ "realm", challenge->realm, sizeof(challenge->realm) },
		{ "service", challenge->service, sizeof(challenge->service) },
		{ "scope", challenge->scope, sizeof(challenge->scope) },
		{ "error", challenge->error, sizeof(challenge->error) },
	};
	char *value = NULL;
	size_t size = 0;

	for (size_t i = 0; i < ARRAY_SIZE(params); i++) {
		if (name_len == strlen(params[i].name) &&
		    !strncasecmp(name, params[i].name, name_len)) {
			value = params[i].value;
			size = params[i].size;
		}
	}
	if (value && *value)
		return -EBADMSG;
	if (cursor->p < cursor->end && *cursor->p == '"')
		return read_quoted(cursor, value, size);
	return read_plain(cursor, value, size);
}

/* "Negotiate YII==": one opaque word up to a comma. Leaves the cursor where it is not one. */
static bool skip_token68(struct cursor *cursor)
{
	const char *p = cursor->p;

	while (p < cursor->end && (is_token_char(*p) || *p == '/' || *p == '+'))
		p++;
	if (p == cursor->p)
		return false;
	while (p < cursor->end && *p == '=')
		p++;
	while (p < cursor->end && (*p == ' ' || *p == '\t'))
		p++;
	if (p < cursor->end && *p != ',')
		return false;
	cursor->p = p;
	return true;
}

static int read_params(struct cursor *cursor, struct challenge *challenge)
{
	bool first = true;

	for (;; first = false) {
		struct cursor at = *cursor;
		const char *name;
		size_t len;
		int r;

		skip_commas(&at);
		/* Parameters are separated by commas; be strict about that. */
		if (!first && at.p < at.end && !memchr(cursor->p, ',', (size_t)(at.p - cursor->p)))
			return -EBADMSG;
		if (first && skip_token68(cursor))
			return 0;
		len = read_token(&at, &name);
		skip_space(&at);
		if (len == 0 || at.p == at.end || *at.p != '=')
			return 0;
		at.p++;
		skip_space(&at);
		r = read_param(&at, name, len, challenge);
		if (r)
			return r;
		*cursor = at;
	}
}

int challenge_parse(const char *text, size_t len, struct challenge out[static CHALLENGES_MAX])
{
	struct cursor cursor = { text, text + len };
	int n = 0;

	if (len > CHALLENGE_HEADER_MAX)
		return -EBADMSG;
	while (n < CHALLENGES_MAX) {
		struct challenge *challenge = &out[n];
		const char *scheme;
		size_t scheme_len;
		int r;

		skip_commas(&cursor);
		if (cursor.p == cursor.end)
			break;
		*challenge = (struct challenge){ .scheme = CHALLENGE_OTHER };
		scheme_len = read_token(&cursor, &scheme);
		if (scheme_len == 0)
			return -EBADMSG;
		if (cursor.p < cursor.end && *cursor.p != ' ' && *cursor.p != '\t' &&
		    *cursor.p != ',')
			return -EBADMSG;
		if (scheme_len == 5 && !strncasecmp(scheme, "Basic", 5))
			challenge->scheme = CHALLENGE_BASIC;
		else if (scheme_len == 6 && !strncasecmp(scheme, "Bearer", 6))
			challenge->scheme = CHALLENGE_BEARER;
		skip_space(&cursor);
		if (cursor.p < cursor.end && *cursor.p != ',') {
			r = read_params(&cursor, challenge);
			if (r)
				return r;
		}
		n++;
	}
	return n;
}
