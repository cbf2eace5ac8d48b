/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the limits that JSON from outside is read with. Any thread. */
#include "lib/json.h"

#include <string.h>

#include "lib/log.h"

/*
 * jansson recurses up to 2,048 levels and its limit is fixed at build time, and it has none of
 * values: so both are counted over the text before it is parsed.
 */
static int check_limits(const char *text, size_t len, struct problem *problem)
{
	unsigned int depth = 0, n_containers = 0, n_commas = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == ',') {
			n_commas++;
		} else if (c == '{' || c == '[') {
			n_containers++;
			if (++depth > JSON_DEPTH_MAX)
				return problem_set(problem, -EBADMSG,
						   "JSON nested deeper than %d levels",
						   JSON_DEPTH_MAX);
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	if (n_containers > JSON_CONTAINERS_MAX || n_commas > JSON_VALUES_MAX)
		return problem_set(problem, -EBADMSG,
				   "JSON of more than %d values, or %d objects and arrays",
				   JSON_VALUES_MAX, JSON_CONTAINERS_MAX);
	return 0;
}

int json_parse(const char *text, size_t len, json_t **out, struct problem *problem)
{
	json_error_t error;
	json_t *value;
	int r = check_limits(text, len, problem);

	if (r)
		return r;
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!value) {
		char shown[JSON_ERROR_TEXT_LENGTH * 2];

		if (json_error_code(&error) == json_error_out_of_memory)
			return -ENOMEM;
		log_escape(shown, sizeof(shown), error.text, strlen(error.text));
		return problem_set(problem, -EBADMSG, "not valid JSON at line %d, column %d: %s",
				   error.line, error.column, shown);
	}
	*out = value;
	return 0;
}

const char *json_get_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

int json_get_size(const json_t *object, const char *key, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);

	if (!value)
		return -ENOENT;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return -EINVAL;
	*out = (uint64_t)json_integer_value(value);
	return 0;
}
