/* SPDX-License-Identifier: Apache-2.0 */
/* Owns how answers are made. Any thread: a response is built apart from its connection. */
#include <stdarg.h>
#include <string.h>

#include "lib/log.h"
#include "server/request.h"

enum { MESSAGE_MAX = 512, HEADER_MAX = 2048 };

/* For when there is no memory to make an answer of. */
static char static_error[] = "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"out of memory, "
			     "try again\",\"detail\":null}]}";

bool request_is_answered(const struct request *request)
{
	return request->response || request->hot || request->failed;
}

/* A client of several registries hears that this one is the one that it meant. */
static void add_namespace(struct request *request)
{
	const char *asked = route_query(&request->route, "ns");

	if (asked && *asked && !strcmp(asked, request->services->namespace))
		MHD_add_response_header(request->response, "OCI-Namespace", asked);
}

void reply_response(struct request *request, unsigned int status, struct MHD_Response *response,
		    uint64_t bytes)
{
	if (request->response) {
		if (response)
			MHD_destroy_response(response);
		return;
	}
	if (!response) {
		bytes = strlen(static_error);
		status = 503;
		response = MHD_create_response_from_buffer(bytes, static_error,
							   MHD_RESPMEM_PERSISTENT);
		if (!response) {
			request->failed = true; /* the connection is closed */
			return;
		}
		MHD_add_response_header(response, "Content-Type", "application/json");
	}
	request->response = response;
	request->status = status;
	request->answer_bytes = bytes;
	MHD_add_response_header(response, "Docker-Distribution-API-Version", "registry/2.0");
	add_namespace(request);
}

void reply_header_text(struct request *request, const char *name, const char *value)
{
	if (request->response)
		MHD_add_response_header(request->response, name, value);
}

void reply_header(struct request *request, const char *name, const char *fmt, ...)
{
	char value[HEADER_MAX];
	va_list ap;
	int n;

	if (!request->response)
		return;
	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(value))
		reply_header_text(request, name, value);
}

void reply_text(struct request *request, unsigned int status, const char *content_type, char *text,
		size_t len)
{
	struct MHD_Response *response = NULL;

	if (text)
		response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(text);
	else
		MHD_add_response_header(response, "Content-Type", content_type);
	reply_response(request, status, response, len);
}

static void reply_error_message(struct request *request, enum api_error error, unsigned int status,
				const char *message)
{
	char shown[MESSAGE_MAX];
	char *text;

	log_escape(shown, sizeof(shown), message, strlen(message));
	text = api_error_json(error, shown);
	reply_text(request, status, "application/json", text, text ? strlen(text) : 0);
	if (status == 503 || status == 429)
		reply_header_text(request, "Retry-After", "1");
}

void reply_error(struct request *request, enum api_error error, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	reply_error_message(request, error, api_error_status(error), message);
}

void reply_error_status(struct request *request, enum api_error error, unsigned int status,
			const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	reply_error_message(request, error, status, message);
}

void reply_failure(struct request *request, int error, const char *what)
{
	char target[256];
	unsigned int status;
	enum api_error code = api_error_from_errno(error, &status);

	if (request->response)
		return;
	log_escape(target, sizeof(target), request->target, strlen(request->target));
	log_error("%s %s: %s: %s", request->method_name, target, what, strerror(-error));
	if (request->method & METHODS_CHANGING)
		store_note_failure(request->services->store, error);
	if (error == -EROFS)
		reply_error_message(request, API_UNAVAILABLE, 503,
				    "the registry is read-only for now; pulls work");
	else if (status == 507)
		reply_error_message(request, code, status,
				    "the registry's disk is full: nothing was stored; free some "
				    "space there and push again");
	else if (status == 503)
		reply_error_message(request, code, status, "the registry is busy, try again");
	else
		reply_error_message(request, code, status, "the registry failed; its log says why");
}

void reply_over_quota(struct request *request, const struct problem *why)
{
	reply_error_message(request, API_DENIED, 413, why->text);
}

void reply_empty(struct request *request, unsigned int status)
{
	reply_response(request, status,
		       MHD_create_response_from_buffer(0, static_error, MHD_RESPMEM_PERSISTENT), 0);
}

void reply_fd(struct request *request, unsigned int status, int fd, uint64_t off, uint64_t len)
{
	struct MHD_Response *response = NULL;

	if (len == 0) {
		close(fd);
		reply_empty(request, status);
		return;
	}
	response = MHD_create_response_from_fd_at_offset64(len, fd, off);
	if (!response)
		close(fd);
	request->is_file = response && request->method != METHOD_HEAD;
	reply_response(request, status, response, len);
}
