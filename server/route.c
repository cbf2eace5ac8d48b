/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of request targets. Any thread, no allocation. */
#include "server/route.h"

#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Decode %XX in place. In a path, nothing may be decoded that could change how the path is
 * split or read a second time; in a query only NUL is refused.
 */
static bool decode(char *text, bool is_path)
{
	char *out = text;

	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '%') {
			int high = hex_value(p[1]);
			int low = high < 0 ? -1 : hex_value(p[2]);

			if (low < 0)
				return false;
			c = (unsigned char)(high << 4 | low);
			p += 2;
			if (c == 0 || (is_path && (c < 0x21 || c > 0x7e || strchr("/.%\\", c))))
				return false;
		} else if (c == '+' && !is_path) {
			c = ' ';
		}
		*out++ = (char)c;
	}
	*out = '\0';
	return true;
}

static bool parse_query(char *text, struct route *out)
{
	while (text && *text) {
		char *next = strchr(text, '&'), *value;

		if (next)
			*next++ = '\0';
		if (*text) {
			if (out->n_query == ROUTE_QUERY_MAX)
				return false;
			value = strchr(text, '=');
			if (value)
				*value++ = '\0';
			if (!decode(text, false) || (value && !decode(value, false)))
				return false;
			out->query[out->n_query].key = text;
			out->query[out->n_query++].value = value ? value : "";
		}
		text = next;
	}
	return true;
}

const char *route_query(const struct route *route, const char *key)
{
	for (unsigned int i = 0; i < route->n_query; i++) {
		if (!strcmp(route->query[i].key, key))
			return route->query[i].value;
	}
	return NULL;
}

bool route_is_monitor(const struct route *route)
{
	return route->endpoint == ENDPOINT_METRICS || route->endpoint == ENDPOINT_HEALTH ||
	       route->endpoint == ENDPOINT_READY;
}

int route_tags(const struct route *route, const char *tags[static ROUTE_TAGS_MAX])
{
	int n = 0;

	for (unsigned int i = 0; i < route->n_query; i++) {
		const char *value = route->query[i].value;

		if (strcmp(route->query[i].key, "tag"))
			continue;
		if (!tag_is_valid(value, strlen(value)))
			return -EINVAL;
		if (n == ROUTE_TAGS_MAX)
			return -E2BIG;
		tags[n++] = value;
	}
	return n;
}

/* Where @text (of *@len bytes) ends in @suffix, cut it off. */
static bool cut_suffix(const char *text, size_t *len, const char *suffix)
{
	size_t n = strlen(suffix);

	if (*len < n || memcmp(text + *len - n, suffix, n))
		return false;
	*len -= n;
	return true;
}

static int parse_digest(const char *text, struct route *out, enum api_error *error,
			const char **why)
{
	int r = digest_parse(text, strlen(text), &out->digest);

	if (!r) {
		out->has_digest = true;
		return 0;
	}
	*error = API_DIGEST_INVALID;
	*why = r == -ENOTSUP
		       ? "this digest algorithm is not supported: use sha256 or sha512"
		       : "a digest is sha256: and 64, or sha512: and 128, lower-case hex digits";
	return -EINVAL;
}

static int parse_upload_id(const char *text, struct route *out, enum api_error *error,
			   const char **why)
{
	if (strlen(text) != UPLOAD_ID_LEN || strspn(text, "0123456789abcdef") != UPLOAD_ID_LEN) {
		*error = API_BLOB_UPLOAD_UNKNOWN;
		*why = "there is no such upload";
		return -EINVAL;
	}
	memcpy(out->upload, text, UPLOAD_ID_LEN + 1);
	return 0;
}

static int parse_manifest_reference(const char *text, struct route *out, enum api_error *error,
				    const char **why)
{
	size_t len = strlen(text);

	if (strchr(text, ':'))
		return parse_digest(text, out, error, why);
	if (!tag_is_valid(text, len)) {
		*error = API_MANIFEST_INVALID;
		*why = "a tag is 1 to 128 of A-Z a-z 0-9 _ . - and starts with none of . -";
		return -EINVAL;
	}
	memcpy(out->tag, text, len + 1);
	return 0;
}

/* The last segment decides; a repository name may itself have a part called "blobs". */
static int parse_repository_path(const char *path, struct route *out, enum api_error *error,
				 const char **why)
{
	const char *slash = strrchr(path, '/'), *last;
	size_t len;
	int r = 0;

	if (!slash)
		return -ENOENT;
	last = slash + 1;
	len = (size_t)(slash - path);
	if (cut_suffix(path, &len, "/blobs/uploads")) {
		out->endpoint = *last ? ENDPOINT_UPLOAD : ENDPOINT_UPLOADS;
		r = *last ? parse_upload_id(last, out, error, why) : 0;
	} else if (cut_suffix(path, &len, "/blobs")) {
		out->endpoint = strcmp(last, "uploads") ? ENDPOINT_BLOB : ENDPOINT_UPLOADS;
		if (out->endpoint == ENDPOINT_BLOB)
			r = parse_digest(last, out, error, why);
	} else if (cut_suffix(path, &len, "/manifests")) {
		out->endpoint = ENDPOINT_MANIFEST;
		r = parse_manifest_reference(last, out, error, why);
	} else if (cut_suffix(path, &len, "/referrers")) {
		out->endpoint = ENDPOINT_REFERRERS;
		r = parse_digest(last, out, error, why);
	} else if (!strcmp(last, "list") && cut_suffix(path, &len, "/tags")) {
		out->endpoint = ENDPOINT_TAGS;
	} else {
		return -ENOENT;
	}
	if (len > REPOSITORY_MAX || !repository_is_valid(path, len)) {
		*error = API_NAME_INVALID;
		*why = "a repository name is lower-case letters, digits and . _ - between them, "
		       "in parts divided by /, at most 255 characters";
		return -EINVAL;
	}
	memcpy(out->repository, path, len);
	out->repository[len] = '\0';
	return r;
}

static int parse_monitor_path(const char *path, struct route *out)
{
	if (!strcmp(path, "/metrics"))
		out->endpoint = ENDPOINT_METRICS;
	else if (!strcmp(path, "/healthz"))
		out->endpoint = ENDPOINT_HEALTH;
	else if (!strcmp(path, "/readyz"))
		out->endpoint = ENDPOINT_READY;
	else
		return -ENOENT;
	return 0;
}

int route_parse(char *target, struct route *out, enum api_error *error, const char **why)
{
	char *query = strchr(target, '?');

	memset(out, 0, sizeof(*out));
	*error = API_UNSUPPORTED;
	*why = "there is no such endpoint";
	if (query)
		*query++ = '\0';
	if (!decode(target, true)) {
		*error = API_NAME_INVALID;
		*why = "the path has an escape that no name can need";
		return -EINVAL;
	}
	if (!parse_query(query, out)) {
		*why = "the query cannot be read, or has too many parameters";
		return -EINVAL;
	}
	if (!strcmp(target, "/v2") || !strcmp(target, "/v2/")) {
		out->endpoint = ENDPOINT_BASE;
		return 0;
	}
	if (strncmp(target, "/v2/", 4))
		return parse_monitor_path(target, out);
	if (!strcmp(target + 4, "_catalog")) {
		out->endpoint = ENDPOINT_CATALOG;
		return 0;
	}
	return parse_repository_path(target + 4, out, error, why);
}
