/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the form of requests to the running server. Any thread. */
#include "server/admin_request.h"

#include <string.h>

#include "lib/log.h"

static const char *const op_names[] = {
	[ADMIN_STAT] = "stat",
	[ADMIN_FSCK] = "fsck",
	[ADMIN_GC] = "gc",
};

enum member_type { MEMBER_BOOL, MEMBER_NUMBER };

static const struct member {
	const char *name;
	enum admin_op op;
	enum member_type type;
	size_t offset;
} members[] = {
	{ "repair", ADMIN_FSCK, MEMBER_BOOL, offsetof(struct admin_request, repair) },
	{ "quick", ADMIN_FSCK, MEMBER_BOOL, offsetof(struct admin_request, quick) },
	{ "rate", ADMIN_FSCK, MEMBER_NUMBER, offsetof(struct admin_request, rate) },
	{ "dry_run", ADMIN_GC, MEMBER_BOOL, offsetof(struct admin_request, dry_run) },
	{ "untagged_s", ADMIN_GC, MEMBER_NUMBER, offsetof(struct admin_request, untagged_s) },
};

static int read_op(const json_t *value, struct admin_request *out, struct problem *problem)
{
	const char *name = json_get_string(value, "op");

	for (size_t i = 0; name && i < ARRAY_SIZE(op_names); i++) {
		if (!strcmp(op_names[i], name)) {
			out->op = (enum admin_op)i;
			return 0;
		}
	}
	return problem_set(problem, -EINVAL, "\"op\" must be stat, fsck or gc");
}

static int read_member(const struct member *member, const json_t *value, struct admin_request *out,
		       struct problem *problem)
{
	char *field = (char *)out + member->offset;

	if (member->type == MEMBER_BOOL && json_is_boolean(value)) {
		*(bool *)field = json_is_true(value);
		return 0;
	}
	if (member->type == MEMBER_NUMBER && json_is_integer(value) &&
	    json_integer_value(value) >= 0) {
		*(uint64_t *)(void *)field = (uint64_t)json_integer_value(value);
		return 0;
	}
	return problem_set(problem, -EINVAL, "\"%s\" must be %s", member->name,
			   member->type == MEMBER_BOOL ? "true or false" : "a number, at least 0");
}

static int read_members(json_t *value, struct admin_request *out, struct problem *problem)
{
	const char *key;
	json_t *item;
	int r = 0;

	json_object_foreach(value, key, item) {
		size_t i = 0;

		if (!strcmp(key, "op"))
			continue;
		while (i < ARRAY_SIZE(members) &&
		       (members[i].op != out->op || strcmp(members[i].name, key)))
			i++;
		if (i == ARRAY_SIZE(members))
			return problem_set(problem, -EINVAL,
					   "%s has a member that is not known here; are the "
					   "command and the server of the same version?",
					   op_names[out->op]);
		r = read_member(&members[i], item, out, problem);
		if (r)
			return r;
	}
	out->has_untagged = json_object_get(value, "untagged_s") != NULL;
	return 0;
}

int admin_request_parse(const char *text, size_t len, struct admin_request *out,
			struct problem *problem)
{
	cleanup_json json_t *value = NULL;
	struct admin_request request = { .op = ADMIN_STAT };
	int r;

	if (len > ADMIN_REQUEST_MAX)
		return problem_set(problem, -EINVAL, "a request has %d bytes at most",
				   ADMIN_REQUEST_MAX);
	r = json_parse(text, len, &value, problem);
	if (r)
		return r == -ENOMEM ? r : -EINVAL;
	r = read_op(value, &request, problem);
	if (!r)
		r = read_members(value, &request, problem);
	if (!r)
		*out = request;
	return r;
}

json_t *admin_request_json(const struct admin_request *request)
{
	cleanup_json json_t *value = json_pack("{s:s}", "op", op_names[request->op]);
	int r = value ? 0 : -1;

	for (size_t i = 0; !r && i < ARRAY_SIZE(members); i++) {
		const char *field = (const char *)request + members[i].offset;

		if (members[i].op != request->op ||
		    (!strcmp(members[i].name, "untagged_s") && !request->has_untagged))
			continue;
		r = json_object_set_new(
			value, members[i].name,
			members[i].type == MEMBER_BOOL
				? json_boolean(*(const bool *)field)
				: json_integer((json_int_t) *
					       (const uint64_t *)(const void *)field));
	}
	return r ? NULL : steal_ptr(value);
}
