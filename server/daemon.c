/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns libmicrohttpd's daemon: its options, its start, and its end in good order. Called by the
 * main thread.
 */
#include "server/http_internal.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/log.h"
#include "server/connections.h"
#include "server/listen.h"
#include "server/monitor.h"
#include "server/tls.h"
#include "server/workers.h"

enum {
	/* Of a connection: half of it for input. 64 KiB is the most a slow client may cost. */
	CONNECTION_MEMORY = 64 * 1024,
	DRAIN_POLL_MS = 10,
	FDS_PER_CONNECTION = 2, /* socket; blob or upload */
};

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
	struct MHD_OptionItem tls_items[] = {
		{ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_retrieve() },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_priorities() },
		{ options->tls && tls_client_ca(options->tls) ? MHD_OPTION_HTTPS_MEM_TRUST
							      : MHD_OPTION_END,
		  0, options->tls ? (void *)(uintptr_t)tls_client_ca(options->tls) : NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	static struct MHD_OptionItem no_items[] = { { MHD_OPTION_END, 0, NULL } };

	if (options->tls)
		tls_use(options->tls);
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_TURBO | MHD_USE_ERROR_LOG |
			(options->tls ? (unsigned int)MHD_USE_TLS : 0),
		0, NULL, NULL, http_on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_library_log,
		NULL, MHD_OPTION_URI_LOG_CALLBACK, http_on_target, server,
		MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server,
		MHD_OPTION_NOTIFY_CONNECTION, connections_notify, server->connections,
		MHD_OPTION_ARRAY, items, MHD_OPTION_ARRAY, options->tls ? tls_items : no_items,
		MHD_OPTION_END);
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
	server->tls = options->tls;
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
