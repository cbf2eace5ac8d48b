/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of connections: how many there are, from where, what each is doing and since
 * when; and the watchdog, a thread that ends those that cost more than they use.
 *
 *     head    a request's head takes at most header_timeout_s, from its first byte or, for the
 *             first one, from the connection's start
 *     body    at least min_rate bytes a second over rate_window_s, while we wait for it
 *     answer  the same over three windows: a client that pauses to write to its disk is no enemy
 *     full    near the limit, who is idle or slow for longest goes first
 *
 * The library owns the sockets: they are only ever shut down here, under the lock of their
 * table, which they leave before they are closed.
 */
#pragma once

#include <stdint.h>

#include <microhttpd.h>

#include "lib/util.h"

struct connections;
struct connection;

enum connection_state {
	CONNECTION_NEW,	    /* no request was seen yet */
	CONNECTION_IDLE,    /* between two requests */
	CONNECTION_HEADER,  /* part of the head of a request is there */
	CONNECTION_BODY,    /* a body is being read */
	CONNECTION_WORKING, /* it is our turn */
	CONNECTION_SENDING, /* an answer is on its way */
	CONNECTION_CUT,	    /* shut down by the watchdog */
	CONNECTION_STATES,
};

/* Why the watchdog shut a connection down. */
enum connection_cut {
	CUT_HEADER, /* head too slow */
	CUT_BODY,   /* body too slow */
	CUT_ANSWER, /* reads its answer too slowly */
	CUT_FULL,   /* made room for others */
	CUT_REASONS,
};

enum connection_verdict { CONNECTION_WELCOME, CONNECTION_OVER_TOTAL, CONNECTION_OVER_ADDRESS };

struct connection_limits {
	uint64_t total;
	uint64_t per_address; /* an IPv4 address or an IPv6 /64; 0: half of the total */
	uint64_t header_timeout_s;
	uint64_t min_rate; /* bytes a second; 0: none */
	uint64_t rate_window_s;
};

/** connections_new() - start the watchdog. */
int connections_new(const struct connection_limits *limits, struct connections **out) must_check;

/** connections_free() - when no connection is left. */
void connections_free(struct connections *connections);

/** connections_set_limits() - from now on. Any thread. */
void connections_set_limits(struct connections *connections,
			    const struct connection_limits *limits);

/** connections_notify() - what MHD_OPTION_NOTIFY_CONNECTION calls; @cls: the table. */
void connections_notify(void *cls, struct MHD_Connection *connection, void **context,
			enum MHD_ConnectionNotificationCode what);

/** connections_find() - the entry of @connection; NULL where there was no memory for one. */
struct connection *connections_find(struct MHD_Connection *connection);

/**
 * connection_set_state() - the request goes on. @connection may be NULL. The connection's
 * thread, or the one that has its job.
 * Return: false when it was shut down meanwhile: send nothing more.
 */
bool connection_set_state(struct connection *connection, enum connection_state state);

/**
 * connection_cork() - @on: what does not fill a packet waits for connection_push(), for answers
 * from files: libmicrohttpd sends their head alone, and the client would wake up twice (tcp(7),
 * TCP_CORK). It stays so until it is called with false. @connection may be NULL. The connection's
 * thread, as the next.
 */
void connection_cork(struct connection *connection, bool on);

/** connection_push() - an answer is complete: what waits goes out. */
void connection_push(struct connection *connection);

/** connection_address() - one key for each IPv4 address or IPv6 /64. @connection may be NULL. */
void connection_address(const struct connection *connection, unsigned char key[static 16]);

/** connection_verdict() - may it be served? */
enum connection_verdict connection_verdict(const struct connection *connection);

/**
 * connections_drain() - shut down what is idle, now and again until none is left.
 * Return: how many there are.
 */
unsigned int connections_drain(struct connections *connections);

/** connections_now() - how many there are. */
unsigned int connections_now(const struct connections *connections);

/** connections_begun() - how many there have been, with those that are gone. */
uint64_t connections_begun(const struct connections *connections);

/** connections_count() - how many are in @state, or were a moment ago. */
uint64_t connections_count(struct connections *connections, enum connection_state state);

/** connections_cuts() - how many the watchdog has shut down for that reason. */
uint64_t connections_cuts(const struct connections *connections, enum connection_cut why);

/** connection_is_cut() - was it shut down by the watchdog? */
bool connection_is_cut(const struct connection *connection);

/** connections_count_refused() - one more request on @connection was refused by the verdict. */
void connections_count_refused(struct connection *connection);
uint64_t connections_refused(struct connections *connections);
