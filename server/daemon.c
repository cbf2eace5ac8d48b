/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the HTTP daemons: the registry's, and where configured one for metrics and health; how
 * they start, how many connections they take, how they end.
 */
#include "server/http_internal.h"

#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/log.h"
#include "server/acceptor.h"
#include "server/connections.h"
#include "server/listen.h"
#include "server/monitor.h"
#include "server/tls.h"
#include "server/workers.h"

enum {
	MONITOR_CONNECTIONS = 64,
	/* The acceptor counts: a thread of the library that reaches its limit waits for itself. */
	UNREACHED_LIMIT = INT_MAX,
	DRAIN_POLL_MS = 10,
	BEGIN_MS = 1000,
};

/*
 * How strictly the library reads requests: what the RFCs say a server must or should refuse is
 * refused. (Levels above that refuse what they allow, and honest clients send.)
 */
#if MHD_VERSION >= 0x01000000
#define STRICT MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1
#else
#define STRICT MHD_OPTION_STRICT_FOR_CLIENT, 1
#endif

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
	possible = limit.rlim_cur > 4096   ? limit.rlim_cur - 256 - STORE_SHARDS
		   : limit.rlim_cur > 1024 ? limit.rlim_cur - 256
		   : limit.rlim_cur > 128  ? limit.rlim_cur - 64
					   : 64;
	/* Of 15: 8 welcome, 1 that is told that it is one too many, 6 files. */
	possible = possible * 8 / 15;
	if (possible >= wanted)
		return wanted;
	log_warning("connections: %llu instead of %llu, since only %llu files may be open; raise "
		    "LimitNOFILE of the service",
		    (unsigned long long)possible, (unsigned long long)wanted,
		    (unsigned long long)limit.rlim_cur);
	return possible;
}

/* One thread: a pool would choose by descriptor number, which says nothing about its load. */
static int start_one(struct http_daemon *daemon, const struct http_options *options)
{
	struct MHD_OptionItem items[] = {
		{ MHD_OPTION_CONNECTION_LIMIT, UNREACHED_LIMIT, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)options->idle_timeout_s, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ STRICT, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	struct tls *tls = daemon->is_monitor ? NULL : options->tls;
	struct MHD_OptionItem tls_items[] = {
		{ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_retrieve() },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_priorities() },
		{ tls && tls_client_ca(tls) ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0,
		  tls ? (void *)(uintptr_t)tls_client_ca(tls) : NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	static struct MHD_OptionItem no_items[] = { { MHD_OPTION_END, 0, NULL } };

	if (tls)
		tls_use(tls);
	daemon->handles[daemon->n] = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_TURBO | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET |
			(tls ? (unsigned int)MHD_USE_TLS : 0),
		0, NULL, NULL, http_on_request, daemon, MHD_OPTION_EXTERNAL_LOGGER, on_library_log,
		NULL, MHD_OPTION_URI_LOG_CALLBACK, http_on_target, daemon,
		MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, daemon,
		MHD_OPTION_NOTIFY_CONNECTION, connections_notify, daemon->connections,
		MHD_OPTION_ARRAY, items, MHD_OPTION_ARRAY, tls ? tls_items : no_items,
		MHD_OPTION_END);
	if (!daemon->handles[daemon->n])
		return errno ? -errno : -EIO;
	daemon->n++;
	return 0;
}

static int start_daemon(struct http_daemon *daemon, const struct http_options *options)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int n = daemon->is_monitor   ? 1
			 : options->n_threads ? (unsigned int)options->n_threads
			 : cores > 0	      ? (unsigned int)cores
					      : 1;
	uint64_t welcome = daemon->is_monitor ? MONITOR_CONNECTIONS : daemon->server->limit;
	uint64_t limit = welcome + welcome / 8 + n;
	int r = 0;

	daemon->handles = calloc(n, sizeof(struct MHD_Daemon *));
	if (!daemon->handles)
		return -ENOMEM;
	while (!r && daemon->n < n)
		r = start_one(daemon, options);
	return r ? r
		 : acceptor_new(steal_fd(&daemon->listen_fd), daemon->connections, daemon->handles,
				n, (unsigned int)limit, &daemon->acceptor);
}

static int prepare(struct http_daemon *daemon, struct server *server, const char *listen,
		   struct problem *problem)
{
	int fd;

	daemon->server = server;
	if (!listen)
		return 0;
	fd = listen_open(listen, daemon->address, problem);
	daemon->listen_fd = fd;
	return fd < 0 ? fd : 0;
}

static int start(struct server *server, const struct http_options *options, struct problem *problem)
{
	struct connection_limits limits = options->limits;
	int r = prepare(&server->registry, server, options->listen, problem);

	if (!r)
		r = prepare(&server->monitor, server, options->metrics_listen, problem);
	if (r)
		return r;
	limits.total = server->limit = connection_limit(options->limits.total);
	r = connections_new(&limits, &server->registry.connections);
	/* A crowd at the registry must not take the place of who looks how it is. */
	limits.total = MONITOR_CONNECTIONS;
	limits.per_address = MONITOR_CONNECTIONS;
	if (!r && options->metrics_listen)
		r = connections_new(&limits, &server->monitor.connections);
	if (!r)
		r = workers_new((unsigned int)options->n_workers, &server->workers);
	if (r)
		return r;
	monitor_register(server->services, server);
	errno = 0;
	if (options->metrics_listen)
		r = start_daemon(&server->monitor, options);
	if (!r)
		r = start_daemon(&server->registry, options);
	if (r)
		problem_set(problem, r, "the HTTP server does not start: %s", strerror(-r));
	return r;
}

static void stop_daemon(struct http_daemon *daemon)
{
	acceptor_free(daemon->acceptor);
	for (unsigned int i = 0; i < daemon->n; i++)
		MHD_stop_daemon(daemon->handles[i]);
	free(daemon->handles);
	if (daemon->listen_fd >= 0)
		close(daemon->listen_fd);
}

static void free_server(struct server *server)
{
	stop_daemon(&server->registry);
	stop_daemon(&server->monitor);
	workers_free(server->workers);
	connections_free(server->registry.connections);
	connections_free(server->monitor.connections);
	free(server);
}

int server_start(const struct http_options *options, struct services *services, struct server **out,
		 struct problem *problem)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->access_log = options->access_log;
	server->services = services;
	server->tls = options->tls;
	server->registry.listen_fd = server->monitor.listen_fd = -1;
	server->monitor.is_monitor = true;
	server->has_monitor = options->metrics_listen != NULL;
	r = start(server, options, problem);
	if (r) {
		free_server(server);
		return r;
	}
	if (options->metrics_listen)
		log_info("metrics and health are on %s only", server->monitor.address);
	*out = server;
	return 0;
}

const char *server_address(const struct server *server)
{
	return server->registry.address;
}

void server_configure(struct server *server, const struct http_options *options)
{
	struct connection_limits limits = options->limits;

	if (limits.total > server->limit)
		limits.total = server->limit;
	connections_set_limits(server->registry.connections, &limits);
	server->access_log = options->access_log;
}

struct connections *server_connections(struct server *server)
{
	return server->registry.connections;
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

void server_stop(struct server *server, int64_t drain_ms)
{
	int64_t until = now_ms() + drain_ms, begin_until = now_ms() + BEGIN_MS;
	uint64_t n;

	server->draining = true;
	server->services->draining = true;
	n = acceptor_free(steal_ptr(server->registry.acceptor));
	/* What was accepted a moment ago is in no table yet; without memory it never is. */
	while (connections_begun(server->registry.connections) < n && now_ms() < begin_until)
		nap();
	while (connections_drain(server->registry.connections) && now_ms() < until)
		nap();
	/* A suspended connection would be an error now: let the workers end their jobs. */
	server->closing = true;
	while (server->n_jobs)
		nap();
	free_server(server);
}
