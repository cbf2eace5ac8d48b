/* SPDX-License-Identifier: Apache-2.0 */
/* Owns what is read of a request: its headers, its framing, its collected body. */
#include "server/request.h"

#include <string.h>
#include <strings.h>

const char *request_header(const struct request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

void request_drop_body(struct request *request)
{
	if (!request->body)
		return;
	request->services->body_memory -= request->body_size;
	free(steal_ptr(request->body));
	request->body_len = request->body_size = 0;
}

/* It doubles with what came: a length that is only announced takes no memory from others. */
static size_t body_size_for(const struct request *request, size_t need, size_t max)
{
	size_t size = request->body_size ? request->body_size * 2 : 16 * 1024;

	if (request->has_length && request->length < max)
		max = (size_t)request->length;
	if (size > max)
		size = max;
	return size < need ? need : size;
}

int request_collect(struct request *request, const char *bytes, size_t len, size_t max)
{
	size_t need = request->body_len + len;

	if (need > max)
		return -EFBIG;
	if (need > request->body_size) {
		struct services *services = request->services;
		size_t size = body_size_for(request, need, max);
		size_t more = size - request->body_size;
		char *body;

		if (atomic_fetch_add(&services->body_memory, more) + more >
		    services->body_memory_max) {
			services->body_memory -= more;
			return -ENOMEM;
		}
		body = realloc(request->body, size);
		if (!body) {
			services->body_memory -= more;
			return -ENOMEM;
		}
		request->body = body;
		request->body_size = size;
	}
	memcpy(request->body + request->body_len, bytes, len);
	request->body_len += len;
	return 0;
}

/*
 * What is said once or not at all. Of two, another reader before us, such as a proxy that checks
 * who asks, could take the one that we do not look at.
 */
#define SINGLE(name)                   \
	{                              \
		name, sizeof(name) - 1 \
	}
static const struct {
	const char *name;
	size_t len;
} singles[] = {
	SINGLE("Host"),
	SINGLE("Content-Length"),
	SINGLE("Transfer-Encoding"),
	SINGLE("Authorization"),
	SINGLE("Content-Encoding"),
	SINGLE("Content-Range"),
	SINGLE("Content-Type"),
	SINGLE("Range"),
	SINGLE("Expect"),
	SINGLE("If-Match"),
	SINGLE("If-None-Match"),
	SINGLE("If-Range"),
	SINGLE("If-Modified-Since"),
	SINGLE("If-Unmodified-Since"),
};

struct framing {
	unsigned int n[ARRAY_SIZE(singles)];
	bool check_folds, is_odd, repeated;
	const char *length, *coding;
};

/*
 * The library takes "Transfer-Encoding :" for a header of that name with a space, and so for
 * none that matters, where others see a coding.
 */
static bool is_header_name(const char *name)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return *name && !name[strspn(name, token)];
}

/* A lone CR ends a line for some, and is a part of the value for the library. */
static bool is_header_value(const char *value)
{
	for (; *value; value++) {
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == '\x7f')
			return false;
	}
	return true;
}

/*
 * libmicrohttpd 0.9.75 joins a folded line to the header's name: "Auth: x" and "orization" are an
 * Authorization for it and for nobody else. The name has then left its place before the value.
 */
static bool is_folded(const char *key, const char *value)
{
	const char *p = key + strlen(key) + 1;

	while (p < value && (*p == ' ' || *p == '\t'))
		p++;
	return p != value;
}

static enum MHD_Result count_framing(void *cls, enum MHD_ValueKind kind, const char *key,
				     const char *value)
{
	struct framing *framing = cls;
	size_t len = strlen(key);

	(void)kind;
	if (!is_header_name(key) || !is_header_value(value) ||
	    (framing->check_folds && is_folded(key, value)))
		framing->is_odd = true;
	else if (!strcasecmp(key, "Content-Length"))
		framing->length = value;
	else if (!strcasecmp(key, "Transfer-Encoding"))
		framing->coding = value;
	for (size_t i = 0; i < ARRAY_SIZE(singles); i++) {
		if (len == singles[i].len && !strcasecmp(key, singles[i].name) && framing->n[i]++)
			framing->repeated = true;
	}
	return MHD_YES;
}

bool request_read_framing(struct request *request, const char *version)
{
	struct framing framing = { .check_folds = !strcmp(MHD_get_version(), "0.9.75") };
	char *end;

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_framing, &framing);
	if (framing.is_odd || framing.repeated || (framing.length && framing.coding))
		return false;
	if (framing.coding &&
	    (strcasecmp(framing.coding, "chunked") || !strcmp(version, MHD_HTTP_VERSION_1_0)))
		return false;
	if (framing.length) {
		if (!*framing.length || framing.length[strspn(framing.length, "0123456789")])
			return false;
		errno = 0;
		request->length = strtoull(framing.length, &end, 10);
		if (errno || request->length > (uint64_t)INT64_MAX)
			return false;
		request->has_length = true;
	}
	request->has_body = framing.coding || request->length > 0;
	return true;
}
