/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table of error codes. Any thread. */
#include "server/errors.h"

#include "lib/json.h"

static const struct {
	const char *code;
	unsigned int status;
} errors[] = {
	[API_BLOB_UNKNOWN] = { "BLOB_UNKNOWN", 404 },
	[API_BLOB_UPLOAD_INVALID] = { "BLOB_UPLOAD_INVALID", 400 },
	[API_BLOB_UPLOAD_UNKNOWN] = { "BLOB_UPLOAD_UNKNOWN", 404 },
	[API_DIGEST_INVALID] = { "DIGEST_INVALID", 400 },
	[API_MANIFEST_BLOB_UNKNOWN] = { "MANIFEST_BLOB_UNKNOWN", 404 },
	[API_MANIFEST_INVALID] = { "MANIFEST_INVALID", 400 },
	[API_MANIFEST_UNKNOWN] = { "MANIFEST_UNKNOWN", 404 },
	[API_NAME_INVALID] = { "NAME_INVALID", 400 },
	[API_NAME_UNKNOWN] = { "NAME_UNKNOWN", 404 },
	[API_SIZE_INVALID] = { "SIZE_INVALID", 400 },
	[API_UNAUTHORIZED] = { "UNAUTHORIZED", 401 },
	[API_DENIED] = { "DENIED", 403 },
	[API_UNSUPPORTED] = { "UNSUPPORTED", 405 },
	[API_TOOMANYREQUESTS] = { "TOOMANYREQUESTS", 429 },
	[API_UNAVAILABLE] = { "UNAVAILABLE", 503 },
	[API_UNKNOWN] = { "UNKNOWN", 500 },
};

const char *api_error_code(enum api_error error)
{
	return errors[error].code;
}

unsigned int api_error_status(enum api_error error)
{
	return errors[error].status;
}

char *api_error_json(enum api_error error, const char *message)
{
	cleanup_json json_t *value = json_pack("{s:[{s:s,s:s,s:n}]}", "errors", "code",
					       errors[error].code, "message", message, "detail");

	return value ? json_dumps(value, JSON_COMPACT) : NULL;
}

enum api_error api_error_from_errno(int error, unsigned int *status)
{
	switch (error) {
	case -ENOSPC:
	case -EDQUOT:
		*status = 507;
		return API_UNKNOWN;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -EAGAIN:
		*status = 503;
		return API_UNAVAILABLE;
	default:
		*status = 500;
		return API_UNKNOWN;
	}
}
