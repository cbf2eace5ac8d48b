/* SPDX-License-Identifier: Apache-2.0 */
/* What the life of a request (http.c) and the daemon around it (daemon.c) share. */
#pragma once

#include "server/http.h"
#include "server/listen.h"

/* One listening address. */
struct http_daemon {
	struct server *server;
	struct MHD_Daemon **handles; /* owned; a thread each */
	unsigned int n;		     /* 0: not in use */
	bool is_monitor;	     /* for /metrics and the like only */
	struct connections *connections;
	int listen_fd;		   /* -1 while the acceptor has it */
	struct acceptor *acceptor; /* owned */
	char address[ADDRESS_TEXT_SIZE];
};

struct server {
	struct http_daemon registry;
	struct http_daemon monitor; /* where configured; then it alone answers those */
	struct services *services;
	struct workers *workers;
	bool has_monitor;
	uint64_t limit; /* of the registry's connections, by what the system allows */
	atomic_bool access_log;
	atomic_bool draining; /* each connection ends with its answer */
	struct tls *tls;      /* borrowed; may be NULL */
	atomic_uint n_jobs;
	atomic_bool closing; /* no more jobs are given to workers */
};

/* Callbacks of libmicrohttpd, as its manual has them; cls is the struct http_daemon. */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *connection, const char *url,
				const char *method_name, const char *version,
				const char *upload_data, size_t *upload_data_size, void **state);
void http_on_completed(void *cls, struct MHD_Connection *connection, void **state,
		       enum MHD_RequestTerminationCode code);
