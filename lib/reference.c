/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the grammar of image references. No I/O. Any thread. */
#include "lib/reference.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_is_valid(const char *p, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t start = i;

		while (i < len && is_lower_alnum(p[i]))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;
		if (p[i] == '.') {
			i++;
		} else if (p[i] == '_') {
			i++;
			if (i < len && p[i] == '_')
				i++;
		} else if (p[i] == '-') {
			while (i < len && p[i] == '-')
				i++;
		} else {
			return false;
		}
	}
}

bool repository_is_valid(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	if (len == 0 || len > REPOSITORY_MAX)
		return false;
	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));

		if (!component_is_valid(p, (size_t)((slash ? slash : end) - p)))
			return false;
		if (!slash)
			return true;
		p = slash + 1;
	}
}

bool tag_is_valid(const char *text, size_t len)
{
	if (len == 0 || len > TAG_MAX || !(is_alnum(text[0]) || text[0] == '_'))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_alnum(text[i]) && text[i] != '_' && text[i] != '.' && text[i] != '-')
			return false;
	}
	return true;
}

static bool port_is_valid(const char *text, size_t len)
{
	unsigned int port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

static bool ipv6_is_valid(const char *text, size_t len)
{
	char buffer[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (len == 0 || len >= sizeof(buffer))
		return false;
	memcpy(buffer, text, len);
	buffer[len] = '\0';
	return inet_pton(AF_INET6, buffer, &address) == 1;
}

/* Labels of letters, digits and inner hyphens, as in a DNS name; also covers IPv4. */
static bool name_is_valid(const char *text, size_t len)
{
	bool label_start = true;

	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' || text[i] == '-') {
			if (label_start || (text[i] == '.' && text[i - 1] == '-'))
				return false;
			label_start = text[i] == '.';
		} else if (is_alnum(text[i])) {
			label_start = false;
		} else {
			return false;
		}
	}
	return !label_start && text[len - 1] != '-';
}

bool host_is_valid(const char *text, size_t len)
{
	const char *end = text + len, *name_end, *colon;

	if (len == 0 || len > HOST_MAX)
		return false;
	if (text[0] == '[') {
		name_end = memchr(text, ']', len);
		if (!name_end || !ipv6_is_valid(text + 1, (size_t)(name_end - text - 1)))
			return false;
		if (name_end + 1 == end)
			return true;
		return name_end[1] == ':' &&
		       port_is_valid(name_end + 2, (size_t)(end - name_end - 2));
	}
	colon = memchr(text, ':', len);
	name_end = colon ? colon : end;
	if (!name_is_valid(text, (size_t)(name_end - text)))
		return false;
	return !colon || port_is_valid(colon + 1, (size_t)(end - colon - 1));
}

bool host_is_loopback(const char *host)
{
	size_t len = strcspn(host, ":");
	struct in_addr address;
	char buffer[16];

	if (!strncmp(host, "[::1]", 5))
		return true;
	if (len == 9 && !strncasecmp(host, "localhost", 9))
		return true;
	if (len >= sizeof(buffer))
		return false;
	memcpy(buffer, host, len);
	buffer[len] = '\0';
	return inet_pton(AF_INET, buffer, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

void reference_free(struct reference *reference)
{
	free(reference->host);
	free(reference->repository);
	free(reference->tag);
	free(reference->path);
	*reference = (struct reference){ .host = NULL };
}

static int parse_docker(const char *text, struct reference *ref, struct problem *problem)
{
	static const char example[] = "docker://registry.example:5000/team/app:1.0";
	const char *slash = strchr(text, '/'), *at, *colon, *end;

	if (!slash || !host_is_valid(text, (size_t)(slash - text)) ||
	    (!memchr(text, '.', (size_t)(slash - text)) &&
	     !memchr(text, ':', (size_t)(slash - text)) && strncasecmp(text, "localhost/", 10)))
		return problem_set(
			problem, -EINVAL,
			"docker:// needs a registry host before the repository, as in %s", example);
	ref->host = strndup(text, (size_t)(slash - text));
	if (!ref->host)
		return -ENOMEM;
	for (char *p = ref->host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	text = slash + 1;
	end = text + strlen(text);
	at = strchr(text, '@');
	if (at) {
		if (digest_parse(at + 1, strlen(at + 1), &ref->digest))
			return problem_set(problem, -EINVAL,
					   "behind '@' a digest is needed: sha256: and 64 "
					   "lower-case hex digits");
		ref->has_digest = true;
		end = at;
	}
	colon = memchr(text, ':', (size_t)(end - text));
	if (colon) {
		if (!tag_is_valid(colon + 1, (size_t)(end - colon - 1)))
			return problem_set(
				problem, -EINVAL,
				"a tag is 1 to 128 letters, digits, '_', '.' and '-', as in %s",
				example);
		ref->tag = strndup(colon + 1, (size_t)(end - colon - 1));
		end = colon;
	} else if (!ref->has_digest) {
		ref->tag = strdup("latest");
	}
	if (!repository_is_valid(text, (size_t)(end - text)))
		return problem_set(problem, -EINVAL,
				   "a repository is lower-case letters and digits, separated by "
				   "'.', '_', '-' and '/', as in %s",
				   example);
	ref->repository = strndup(text, (size_t)(end - text));
	return ref->repository && (ref->tag || ref->has_digest) ? 0 : -ENOMEM;
}

/* PATH[:TAG]. As skopeo does it: the first colon separates, so a path has none. */
static int parse_oci(const char *text, struct reference *ref, struct problem *problem)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);

	if (len == 0)
		return problem_set(problem, -EINVAL, "the path is missing, as in oci:DIR:TAG");
	ref->path = strndup(text, len);
	if (!ref->path)
		return -ENOMEM;
	if (!colon || !colon[1])
		return 0;
	for (const char *p = colon + 1; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return problem_set(problem, -EINVAL, "the tag has a control character");
	}
	ref->tag = strdup(colon + 1);
	return ref->tag ? 0 : -ENOMEM;
}

static int parse_dir(const char *text, struct reference *ref, struct problem *problem)
{
	if (!*text)
		return problem_set(problem, -EINVAL, "the path is missing, as in dir:/srv/root");
	ref->path = strdup(text);
	return ref->path ? 0 : -ENOMEM;
}

static const struct {
	const char *prefix;
	enum reference_transport transport;
	int (*parse)(const char *text, struct reference *ref, struct problem *problem);
} transports[] = {
	{ "docker://", REFERENCE_DOCKER, parse_docker },
	{ "oci-archive:", REFERENCE_OCI_ARCHIVE, parse_oci },
	{ "oci:", REFERENCE_OCI, parse_oci },
	{ "dir:", REFERENCE_DIR, parse_dir },
};

int reference_parse(const char *text, struct reference *out, struct problem *problem)
{
	char shown[256];

	log_escape(shown, sizeof(shown), text, strlen(text));
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++) {
		cleanup_reference struct reference ref = { .transport = transports[i].transport };
		size_t len = strlen(transports[i].prefix);
		int r;

		if (strncmp(text, transports[i].prefix, len))
			continue;
		r = transports[i].parse(text + len, &ref, problem);
		if (r)
			return problem_prefix(problem, r, "image name '%s'", shown);
		*out = ref;
		ref = (struct reference){ .host = NULL };
		return 0;
	}
	return problem_set(
		problem, -EINVAL,
		"image name '%s': it must begin with docker://HOST/, oci:, oci-archive: or dir:",
		shown);
}

char *reference_format(const struct reference *ref)
{
	char digest[DIGEST_TEXT_SIZE];
	const char *tag = ref->tag ? ref->tag : "";

	switch (ref->transport) {
	case REFERENCE_DOCKER:
		return format_text("docker://%s/%s%s%s%s%s", ref->host, ref->repository,
				   *tag ? ":" : "", tag, ref->has_digest ? "@" : "",
				   ref->has_digest ? digest_format(&ref->digest, digest) : "");
	case REFERENCE_OCI:
		return format_text("oci:%s%s%s", ref->path, *tag ? ":" : "", tag);
	case REFERENCE_OCI_ARCHIVE:
		return format_text("oci-archive:%s%s%s", ref->path, *tag ? ":" : "", tag);
	case REFERENCE_DIR:
		return format_text("dir:%s", ref->path);
	}
	return NULL;
}

const char *reference_version(const struct reference *ref, char buffer[static DIGEST_TEXT_SIZE])
{
	return ref->has_digest ? digest_format(&ref->digest, buffer) : ref->tag;
}
