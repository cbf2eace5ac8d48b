/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the life of a request. libmicrohttpd calls http_on_request() from one of
 * its epoll threads: once when the headers are there, once for each piece of the body,
 * once at the end, and again after a worker resumed the connection. Nothing is answered
 * before the body was read, unless it is so large that reading it would be worse: then
 * the answer goes out at once and the connection is closed.
 */
#include "server/http_internal.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/log.h"
#include "server/authorize.h"
#include "server/connections.h"
#include "server/hot.h"
#include "server/metrics.h"
#include "server/operations.h"
#include "server/tls.h"

enum {
	TARGET_MAX = 16 * 1024,
	SPARE_TARGET = 511, /* who has room for such a target is used again */
};

static const struct {
	const char *name;
	enum method method;
} methods[] = {
	{ "GET", METHOD_GET }, { "HEAD", METHOD_HEAD },	  { "POST", METHOD_POST },
	{ "PUT", METHOD_PUT }, { "PATCH", METHOD_PATCH }, { "DELETE", METHOD_DELETE },
};

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* What a thread ended last is what it begins with next: there are many, and most are small. */
static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void make_spare_key(void)
{
	if (pthread_key_create(&spare_key, free))
		abort(); /* 1,024 are possible, and this is one of a handful */
}

static struct request *take_spare(void)
{
	struct request *request;

	pthread_once(&spare_once, make_spare_key);
	request = pthread_getspecific(spare_key);
	if (request)
		pthread_setspecific(spare_key, NULL);
	return request;
}

static void free_request(struct request *request)
{
	if (!request->is_spare || pthread_getspecific(spare_key) ||
	    pthread_setspecific(spare_key, request))
		free(request);
}

/* One allocation for all that each request needs. */
static struct request *new_request(const char *target)
{
	size_t len = strlen(target), kept = len > TARGET_MAX ? TARGET_MAX : len;
	bool is_spare = kept <= SPARE_TARGET;
	struct request *request = is_spare ? take_spare() : NULL;

	if (!request)
		request = malloc(sizeof(*request) + 2 * ((is_spare ? SPARE_TARGET : kept) + 1));
	if (!request)
		return NULL;
	memset(request, 0, sizeof(*request));
	request->is_spare = is_spare;
	request->is_too_long = len > kept;
	request->target = (char *)(request + 1);
	request->parsed = request->target + kept + 1;
	memcpy(request->target, target, kept);
	request->target[kept] = '\0';
	memcpy(request->parsed, request->target, kept + 1);
	return request;
}

/* Called when the request line is there. What it returns is *state of on_request(). */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct http_daemon *daemon = cls;
	struct server *server = daemon->server;
	struct request *request = new_request(target);

	if (!request)
		return NULL;
	request->server = server;
	request->services = server->services;
	request->connection = connection;
	request->on_monitor = daemon->is_monitor;
	request->entry = connections_find(connection);
	request->start_us = now_us();
	request->method_name = "?";
	return request;
}

int64_t request_age_ms(const struct request *request)
{
	return (now_us() - request->start_us) / 1000;
}

static void end_operation(struct request *request)
{
	const struct operation *operation = request->operation;

	request->operation = NULL;
	if (operation && operation->end)
		operation->end(request);
	request_drop_body(request);
}

static void log_access(struct request *request)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	char address[ADDRESS_TEXT_SIZE] = "-", target[768], bytes[24] = "-";
	int64_t us = now_us() - request->start_us;

	if (info)
		address_format(info->client_addr, address);
	if (request->answer_bytes != UINT64_MAX)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)request->answer_bytes);
	log_escape(target, sizeof(target), request->target, strlen(request->target));
	log_info("%s %s %s %u %s %lld.%03lldms", address, request->method_name, target,
		 request->status, bytes, (long long)us / 1000, (long long)us % 1000);
}

void http_on_completed(void *cls, struct MHD_Connection *connection, void **state,
		       enum MHD_RequestTerminationCode code)
{
	struct request *request = *state;
	struct http_daemon *daemon = cls;
	struct server *server = daemon->server;

	(void)connection;
	*state = NULL;
	if (!request)
		return;
	if (request->stage != STAGE_ANSWERED) /* the watchdog, or the client went away */
		request->status = connection_is_cut(request->entry) ? 408 : 499;
	if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		request->answer_bytes = UINT64_MAX; /* how many went out nobody knows */
	if (server->access_log && log_shows(LOG_LEVEL_INFO))
		log_access(request);
	metrics_count_request(&(struct metrics_request){
		.endpoint = request->route.endpoint,
		.is_routed = request->is_routed,
		.method = request->method,
		.status = request->status,
		.duration_us = (uint64_t)(now_us() - request->start_us),
		.received = request->body_bytes,
		.sent = request->answer_bytes == UINT64_MAX || request->method == METHOD_HEAD
				? 0
				: request->answer_bytes,
	});
	if (request->is_file)
		connection_push(request->entry);
	connection_set_state(request->entry, CONNECTION_IDLE);
	if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		log_debug("connection ended early (%d)", (int)code);
	end_operation(request);
	authorize_end(request);
	if (request->response)
		MHD_destroy_response(request->response);
	hot_entry_unref(request->hot);
	free(request->text);
	free_request(request);
}

/* The session or whatever else the operation holds is free before the client hears of it. */
static enum MHD_Result answer(struct request *request)
{
	enum MHD_Result r;

	if ((!request->response && !request->hot) ||
	    !connection_set_state(request->entry, CONNECTION_SENDING))
		return MHD_NO;
	end_operation(request);
	request->stage = STAGE_ANSWERED;
	connection_cork(request->entry, request->is_file);
	if (request->hot) {
		r = MHD_queue_response(request->connection, request->status,
				       hot_entry_response(request->hot));
		hot_entry_unref(steal_ptr(request->hot));
		return r;
	}
	if (request->server->draining)
		reply_header_text(request, "Connection", "close");
	r = MHD_queue_response(request->connection, request->status, request->response);
	MHD_destroy_response(steal_ptr(request->response));
	return r;
}

static void run_on_worker(struct job *job)
{
	struct request *request = container_of(job, struct request, job);
	struct MHD_Connection *connection = request->connection;
	struct server *server = request->server;

	request->operation->finish(request);
	MHD_resume_connection(connection);
	server->n_jobs--;
}

/* Return: false when the server stops and takes no more. */
static bool give_to_worker(struct request *request, enum request_stage stage,
			   void (*run)(struct job *job))
{
	struct server *server = request->server;

	connection_set_state(request->entry, CONNECTION_WORKING);
	server->n_jobs++;
	if (server->closing) {
		server->n_jobs--;
		reply_error(request, API_UNAVAILABLE, "the registry is stopping, try again");
		return false;
	}
	request->stage = stage;
	request->job.run = run;
	MHD_suspend_connection(request->connection);
	workers_submit(server->workers, &request->job);
	return true;
}

static enum MHD_Result finish(struct request *request)
{
	connection_set_state(request->entry, CONNECTION_WORKING);
	if (request_is_answered(request) || !request->operation || !request->operation->finish)
		return answer(request);
	if (!request->operation->on_worker) {
		request->operation->finish(request);
		return answer(request);
	}
	return give_to_worker(request, STAGE_WORKER, run_on_worker) ? MHD_YES : answer(request);
}

static void find_operation(struct request *request, const char *method_name)
{
	enum api_error error;
	const char *why;
	char allow[64];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, method_name))
			continue;
		request->method = methods[i].method;
		request->method_name = methods[i].name;
	}
	if (request->is_too_long) {
		reply_error_status(request, API_UNSUPPORTED, 414,
				   "the request's target is longer than %d bytes", TARGET_MAX);
		return;
	}
	r = route_parse(request->parsed, &request->route, &error, &why);
	if (!r && request->server->has_monitor &&
	    route_is_monitor(&request->route) != request->on_monitor) {
		r = -ENOENT;
		error = API_UNSUPPORTED;
		why = "there is no such endpoint on this address";
	}
	request->is_routed = !r;
	if (r) {
		reply_error_status(request, error,
				   r == -ENOENT		      ? 404
				   : error == API_UNSUPPORTED ? 400
							      : api_error_status(error),
				   "%s", why);
		return;
	}
	if (request->method)
		request->operation = operation_find(request->route.endpoint, request->method);
	if (request->operation)
		return;
	reply_error(request, API_UNSUPPORTED, "this endpoint does not know the method");
	operation_allow(request->route.endpoint, allow);
	reply_header_text(request, "Allow", allow);
}

/* While the store is read-only no change begins; it may become so again at any moment. */
static void refuse_changes(struct request *request)
{
	const char *reason = store_read_only_reason(request->services->store);

	if (reason && !request_is_answered(request) && request->operation &&
	    request->method & METHODS_CHANGING)
		reply_error(request, API_UNAVAILABLE,
			    "the registry is read-only for now: %s; pulls work", reason);
}

/* A body is stored as it comes: one that is coded would have another digest, or be a bomb. */
static void refuse_coding(struct request *request)
{
	const char *coding = request_header(request, "Content-Encoding");

	if (coding && !request_is_answered(request) && request->has_body &&
	    strcasecmp(coding, "identity"))
		reply_error_status(request, API_UNSUPPORTED, 415,
				   "send the content itself, without Content-Encoding");
}

/* Would reading the body only to drop it be worse than closing the connection? */
static bool answers_at_once(const struct request *request)
{
	return request->has_body && request_is_answered(request) &&
	       (request->length > BODY_DRAIN_MAX || request_header(request, "Expect"));
}

/* Over a limit of connections: a clear answer, and one connection less. */
static bool is_welcome(struct request *request)
{
	enum connection_verdict verdict = connection_verdict(request->entry);

	if (verdict == CONNECTION_WELCOME)
		return true;
	if (verdict == CONNECTION_OVER_TOTAL)
		reply_error(request, API_UNAVAILABLE, "too many connections, try again");
	else
		reply_error(request, API_TOOMANYREQUESTS,
			    "too many connections from your address, close some or try again");
	reply_header_text(request, "Connection", "close");
	connections_count_refused(request->entry);
	return false;
}

/* A worker's verification that this request waited for is done. */
static void authorize_again(struct login *login)
{
	struct request *request = container_of(login, struct request, login);

	workers_submit(request->server->workers, &request->job);
}

static void authorize_on_worker(struct job *job)
{
	struct request *request = container_of(job, struct request, job);
	struct MHD_Connection *connection = request->connection;
	struct server *server = request->server;

	if (authorize(request, true) == AUTHORIZATION_WAITS)
		return; /* it may be another worker's by now */
	MHD_resume_connection(connection);
	server->n_jobs--;
}

static enum MHD_Result begin(struct request *request)
{
	request->stage = STAGE_BODY;
	if (!connection_set_state(request->entry, CONNECTION_BODY))
		return MHD_NO;
	refuse_changes(request);
	refuse_coding(request);
	if (!request_is_answered(request) && request->operation && request->operation->begin)
		request->operation->begin(request);
	if (answers_at_once(request))
		return answer(request);
	return MHD_YES;
}

static enum MHD_Result on_headers(struct request *request, const char *method_name,
				  const char *version)
{
	request->stage = STAGE_BODY;
	if (!connection_set_state(request->entry, CONNECTION_BODY))
		return MHD_NO;
	if (!is_welcome(request))
		return answer(request);
	if (!request_read_framing(request, version)) {
		reply_error_status(request, API_UNSUPPORTED, 400,
				   "the request's length is said wrongly, a header that "
				   "counts once is there twice, or a header is none");
		reply_header_text(request, "Connection", "close");
		return answer(request);
	}
	find_operation(request, method_name);
	request->login.again = authorize_again;
	if (!request->on_monitor &&
	    tls_client_is_missing(request->server->tls, request->connection))
		reply_error(request, API_DENIED, "this needs a client certificate");
	if (authorize(request, false) == AUTHORIZATION_BLOCKS &&
	    give_to_worker(request, STAGE_ACCESS, authorize_on_worker))
		return MHD_YES; /* called again when it is known who it is */
	return begin(request);
}

static enum MHD_Result on_body(struct request *request, const char *bytes, size_t len)
{
	request->received += len;
	request->body_bytes += len;
	if (request->stage == STAGE_BODY && request->operation && request->operation->body &&
	    !request_is_answered(request)) {
		request->operation->body(request, bytes, len);
		if (request_is_answered(request)) {
			request->stage = STAGE_DRAIN;
			request->received = 0;
			request->drain_max = BODY_DRAIN_FAILED_MAX;
		}
		return MHD_YES;
	}
	if (request->stage == STAGE_BODY) {
		request->stage = STAGE_DRAIN;
		request->received = len;
		/* A long one whose length was known was answered at once. */
		request->drain_max = request->has_length ? BODY_DRAIN_MAX : BODY_DRAIN_FAILED_MAX;
	}
	return request->received > request->drain_max ? MHD_NO : MHD_YES;
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *connection, const char *url,
				const char *method_name, const char *version,
				const char *upload_data, size_t *upload_data_size, void **state)
{
	struct request *request = *state;
	enum MHD_Result r;

	(void)cls, (void)connection, (void)url;
	if (!request) /* no memory, or a target past all reason */
		return MHD_NO;
	if (request->stage == STAGE_NEW)
		return on_headers(request, method_name, version);
	if (request->stage == STAGE_ACCESS) {
		r = begin(request);
		/* This call is also the first about the body, or the one behind a body of nothing.
		 */
		if (r == MHD_NO || request->stage != STAGE_BODY ||
		    (!*upload_data_size && request->has_body))
			return r;
	}
	if (*upload_data_size) {
		r = on_body(request, upload_data, *upload_data_size);
		*upload_data_size = 0;
		return r;
	}
	if (request->stage == STAGE_WORKER)
		return answer(request);
	return finish(request);
}
