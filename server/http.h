/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: libmicrohttpd's epoll threads, one a core, and the workers behind them.
 */
#pragma once

#include "server/connections.h"
#include "server/request.h"

struct problem;

struct http_options {
	const char *listen;	    /* HOST:PORT; ":PORT" for every address; port 0: a free one */
	const char *metrics_listen; /* HOST:PORT for /metrics and the like only; NULL: none */
	uint64_t n_threads;	    /* 0: one a core */
	uint64_t n_workers;	    /* threads that wait for the disk */
	struct connection_limits limits;
	uint64_t idle_timeout_s; /* of a connection on which nothing happens */
	bool access_log;
	struct tls *tls; /* borrowed; NULL: plain HTTP */
};

/**
 * server_start() - listen and serve until server_stop().
 * @services: borrowed, outlives the server.
 * Return: 0 or negative errno with @problem.
 */
int server_start(const struct http_options *options, struct services *services, struct server **out,
		 struct problem *problem) must_check;

/** server_address() - "HOST:PORT" that it listens on. Borrowed. */
const char *server_address(const struct server *server);

/** server_configure() - take over what may change at run time: limits, access log. */
void server_configure(struct server *server, const struct http_options *options);

/** server_connections() - its table of connections. Borrowed. */
struct connections *server_connections(struct server *server);

/** server_jobs() - how many requests workers have or will get. */
unsigned int server_jobs(const struct server *server);

/**
 * server_stop() - take no more connections, end each connection after its answer and the
 * idle ones at once; what is left after @drain_ms is closed. Blocks.
 */
void server_stop(struct server *server, int64_t drain_ms);
