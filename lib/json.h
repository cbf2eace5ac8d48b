/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON from outside: one strict way in, typed access. Over jansson.
 */
#pragma once

#include <jansson.h>

#include "lib/util.h"

static inline void cleanup_jsonp(json_t **value)
{
	json_decref(*value);
}

#define cleanup_json __attribute__((cleanup(cleanup_jsonp)))

struct problem;

/*
 * A value of three bytes of text takes some 200 bytes of memory. As many as stand in a manifest of
 * 4 MiB are taken, and no more: of each descriptor one object, or two, and its members.
 */
enum { JSON_DEPTH_MAX = 32, JSON_CONTAINERS_MAX = 120000, JSON_VALUES_MAX = 400000 };

/**
 * json_parse() - strict: one value, no trailing bytes, no duplicate keys, within the limits above.
 * Untrusted input is fine; the caller bounds @len.
 * Return: 0, -EBADMSG (not such JSON; @problem says where) or -ENOMEM. *@out is owned.
 */
int json_parse(const char *text, size_t len, json_t **out, struct problem *problem) must_check;

/** json_get_string() - member @key, or NULL where it is missing or of another type. Borrowed. */
const char *json_get_string(const json_t *object, const char *key);

/** json_get_size() - a member that is an integer in 0 .. INT64_MAX. Return: 0, -ENOENT, -EINVAL. */
int json_get_size(const json_t *object, const char *key, uint64_t *out) must_check;
