/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the daemon and the life of a request. libmicrohttpd calls on_request() from one of
 * its epoll threads: once when the headers are there, once for each piece of the body,
 * once at the end, and again after a worker resumed the connection. Nothing is answered
 * before the body was read, unless it is so large that reading it would be worse: then
 * the answer goes out at once and the connection is closed.
 */
#include "server/http.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/log.h"
#include "server/connections.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/monitor.h"
#include "server/operations.h"

enum {
	/* Of a connection: half of it for input. 64 KiB is the most a slow client may cost. */
	CONNECTION_MEMORY = 64 * 1024,
	TARGET_MAX = 16 * 1024,
	DRAIN_POLL_MS = 10,
	FDS_PER_CONNECTION = 2, /* socket; blob or upload */
};

struct server {
	struct MHD_Daemon *daemon;
	struct services *services;
	struct workers *workers;
	struct connections *connections;
	uint64_t limit; /* of connections, by what the system allows */
	atomic_bool access_log;
	atomic_bool draining; /* each connection ends with its answer */
	char address[ADDRESS_TEXT_SIZE];
	int listen_fd; /* -1 once the daemon has it */
	atomic_uint n_jobs;
	atomic_bool closing; /* no more jobs are given to workers */
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

/* Called when the request line is there. What it returns is *state of on_request(). */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct server *server = cls;
	struct request *request;

	if (strlen(target) > TARGET_MAX)
		return NULL;
	request = calloc(1, sizeof(*request));
	if (!request)
		return NULL;
	request->server = server;
	request->services = server->services;
	request->connection = connection;
	request->entry = connections_find(connection);
	request->start_us = now_us();
	request->method_name = "?";
	request->target = strdup(target);
	request->parsed = strdup(target);
	if (!request->target || !request->parsed) {
		free(request->target);
		free(request->parsed);
		free(request);
		return NULL;
	}
	return request;
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
	char address[ADDRESS_TEXT_SIZE] = "-", target[1024], bytes[24] = "-";
	int64_t us = now_us() - request->start_us;

	if (info)
		address_format(info->client_addr, address);
	if (request->answer_bytes != UINT64_MAX)
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)request->answer_bytes);
	log_escape(target, sizeof(target), request->target, strlen(request->target));
	log_info("%s %s %s %u %s %lld.%03lldms", address, request->method_name, target,
		 request->status, bytes, (long long)us / 1000, (long long)us % 1000);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct request *request = *state;
	struct server *server = cls;

	(void)connection;
	*state = NULL;
	if (!request)
		return;
	if (request->stage != STAGE_ANSWERED)
		request->status = 499; /* the client went away */
	if (server->access_log)
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
	connection_set_state(request->entry, CONNECTION_IDLE);
	if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		log_debug("connection ended early (%d)", (int)code);
	end_operation(request);
	if (request->response)
		MHD_destroy_response(request->response);
	free(request->text);
	free(request->target);
	free(request->parsed);
	free(request);
}

/* The session or whatever else the operation holds is free before the client hears of it. */
static enum MHD_Result answer(struct request *request)
{
	enum MHD_Result r;

	if (!request->response || !connection_set_state(request->entry, CONNECTION_SENDING))
		return MHD_NO;
	end_operation(request);
	if (request->server->draining)
		reply_header(request, "Connection", "close");
	r = MHD_queue_response(request->connection, request->status, request->response);
	MHD_destroy_response(steal_ptr(request->response));
	request->stage = STAGE_ANSWERED;
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

static enum MHD_Result finish(struct request *request)
{
	struct server *server = request->server;

	connection_set_state(request->entry, CONNECTION_WORKING);
	if (request_is_answered(request) || !request->operation || !request->operation->finish)
		return answer(request);
	if (!request->operation->on_worker) {
		request->operation->finish(request);
		return answer(request);
	}
	server->n_jobs++;
	if (server->closing) {
		server->n_jobs--;
		reply_error(request, API_UNAVAILABLE, "the registry is stopping, try again");
		return answer(request);
	}
	request->stage = STAGE_WORKER;
	request->job.run = run_on_worker;
	MHD_suspend_connection(request->connection);
	workers_submit(server->workers, &request->job);
	return MHD_YES;
}

static void find_operation(struct request *request, const char *method_name)
{
	enum api_error error;
	const char *why;
	char allow[64];
	int r = route_parse(request->parsed, &request->route, &error, &why);

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, method_name))
			continue;
		request->method = methods[i].method;
		request->method_name = methods[i].name;
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
	reply_header(request, "Allow", "%s", allow);
}

/* While the store is read-only no change begins; it may become so again at any moment. */
static void refuse_changes(struct request *request)
{
	const char *reason = store_read_only_reason(request->services->store);

	if (reason && request->operation && request->method & METHODS_CHANGING)
		reply_error(request, API_UNAVAILABLE,
			    "the registry is read-only for now: %s; pulls work", reason);
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
	reply_header(request, "Connection", "close");
	connections_count_refused(request->server->connections);
	return false;
}

static enum MHD_Result on_headers(struct request *request, const char *method_name)
{
	request->stage = STAGE_BODY;
	if (!connection_set_state(request->entry, CONNECTION_BODY))
		return MHD_NO;
	if (!is_welcome(request))
		return answer(request);
	if (!request_read_framing(request)) {
		reply_error_status(request, API_UNSUPPORTED, 400,
				   "the request's length is said twice or wrongly");
		reply_header(request, "Connection", "close");
		return answer(request);
	}
	find_operation(request, method_name);
	refuse_changes(request);
	if (request->operation && request->operation->begin && !request_is_answered(request))
		request->operation->begin(request);
	if (answers_at_once(request))
		return answer(request);
	return MHD_YES;
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
		request->drain_max = BODY_DRAIN_MAX;
	}
	return request->received > request->drain_max ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method_name, const char *version,
				  const char *upload_data, size_t *upload_data_size, void **state)
{
	struct request *request = *state;
	enum MHD_Result r;

	(void)cls, (void)connection, (void)url, (void)version;
	if (!request) /* no memory, or a target past all reason */
		return MHD_NO;
	if (request->stage == STAGE_NEW)
		return on_headers(request, method_name);
	if (*upload_data_size) {
		r = on_body(request, upload_data, *upload_data_size);
		*upload_data_size = 0;
		return r;
	}
	if (request->stage == STAGE_WORKER)
		return answer(request);
	return finish(request);
}

static void printf_like(2, 0) on_library_log(void *cls, const char *fmt, va_list ap)
{
	char line[512], shown[600];

	(void)cls;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("http: %s", log_escape(shown, sizeof(shown), line, strlen(line)));
}

/*
 * As many connections as descriptors allow, with some kept for everything else. The library
 * may take some more than that, so that who is over the limit hears it.
 */
static uint64_t connection_limit(uint64_t wanted)
{
	struct rlimit limit;
	uint64_t possible;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return wanted;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("the limit of open files stays as it is");
	possible = limit.rlim_cur > 1024  ? limit.rlim_cur - 256
		   : limit.rlim_cur > 128 ? limit.rlim_cur - 64
					  : 64;
	possible = possible * 8 / (8 * FDS_PER_CONNECTION + 1);
	if (possible >= wanted)
		return wanted;
	log_warning("connections: %llu instead of %llu, since only %llu files may be open; raise "
		    "LimitNOFILE of the service",
		    (unsigned long long)possible, (unsigned long long)wanted,
		    (unsigned long long)limit.rlim_cur);
	return possible;
}

static int start_daemon(struct server *server, const struct http_options *options)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int n = options->n_threads ? (unsigned int)options->n_threads
			 : cores > 0	    ? (unsigned int)cores
					    : 1;
	struct MHD_OptionItem items[] = {
		{ MHD_OPTION_LISTEN_SOCKET, server->listen_fd, NULL },
		{ MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(server->limit + server->limit / 8 + n),
		  NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)options->idle_timeout_s, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
		{ n > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)n, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_TURBO | MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, connections_notify,
		server->connections, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
	if (!server->daemon)
		return errno ? -errno : -EIO;
	server->listen_fd = -1;
	return 0;
}

int server_start(const struct http_options *options, struct services *services, struct server **out,
		 struct problem *problem)
{
	struct server *server = calloc(1, sizeof(*server));
	struct connection_limits limits;
	int r;

	if (!server)
		return -ENOMEM;
	server->access_log = options->access_log;
	server->services = services;
	server->listen_fd = listen_open(options->listen, server->address, problem);
	r = server->listen_fd < 0 ? server->listen_fd : 0;
	if (!r) {
		limits = options->limits;
		limits.total = server->limit = connection_limit(options->limits.total);
		r = connections_new(&limits, &server->connections);
	}
	if (!r)
		r = workers_new((unsigned int)options->n_workers, &server->workers);
	if (!r) {
		monitor_register(services, server);
		errno = 0;
		r = start_daemon(server, options);
		if (r)
			problem_set(problem, r, "the HTTP server does not start: %s", strerror(-r));
	}
	if (r) {
		workers_free(server->workers);
		connections_free(server->connections);
		if (server->listen_fd >= 0)
			close(server->listen_fd);
		free(server);
		return r;
	}
	*out = server;
	return 0;
}

const char *server_address(const struct server *server)
{
	return server->address;
}

void server_configure(struct server *server, const struct http_options *options)
{
	struct connection_limits limits = options->limits;

	if (limits.total > server->limit)
		limits.total = server->limit;
	connections_set_limits(server->connections, &limits);
	server->access_log = options->access_log;
}

struct connections *server_connections(struct server *server)
{
	return server->connections;
}

unsigned int server_jobs(const struct server *server)
{
	return server->n_jobs;
}

static void nap(void)
{
	struct timespec pause = { .tv_nsec = DRAIN_POLL_MS * 1000000L };

	nanosleep(&pause, NULL);
}

/* Who was let in by the kernel but not yet by us is served, too. */
static void accept_the_last(struct server *server, int listen_fd)
{
	for (;;) {
		struct sockaddr_storage address;
		socklen_t len = sizeof(address);
		int fd = accept4(listen_fd, (struct sockaddr *)&address, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		/* It owns the socket from now on, whether it takes it or not. */
		if (MHD_add_connection(server->daemon, fd, (struct sockaddr *)&address, len) !=
		    MHD_YES)
			log_debug("a last connection was not taken");
	}
}

void server_stop(struct server *server, int64_t drain_ms)
{
	int64_t until = now_ms() + drain_ms;
	MHD_socket fd;

	server->draining = true;
	server->services->draining = true;
	fd = MHD_quiesce_daemon(server->daemon);
	if (fd != MHD_INVALID_SOCKET) {
		accept_the_last(server, fd);
		close(fd);
	}
	while (connections_drain(server->connections) && now_ms() < until)
		nap();
	/* A suspended connection would be an error now: let the workers end their jobs. */
	server->closing = true;
	while (server->n_jobs)
		nap();
	MHD_stop_daemon(server->daemon);
	workers_free(server->workers);
	connections_free(server->connections);
	free(server);
}
