/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: libmicrohttpd's epoll threads, one a core, and the workers behind them.
 */
#pragma once

#include "server/request.h"

struct problem;

struct http_options {
	const char *listen;   /* HOST:PORT; ":PORT" for every address; port 0: a free one */
	uint64_t n_threads;   /* 0: one a core */
	uint64_t n_workers;   /* threads that wait for the disk */
	uint64_t connections; /* at most, all together */
	uint64_t connections_per_address; /* at most; 0: no limit of its own */
	uint64_t idle_timeout_s;	  /* of a connection on which nothing happens */
	bool access_log;
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

/**
 * server_stop() - take no more connections, give requests in flight @drain_ms to end, then
 * close everything. Blocks.
 */
void server_stop(struct server *server, int64_t drain_ms);
