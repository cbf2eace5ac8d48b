/* SPDX-License-Identifier: Apache-2.0 */
/* What lib/http.c and lib/http-setup.c share. */
#pragma once

#include <assert.h>
#include <curl/curl.h>

#include "lib/http.h"

enum {
	HTTP_IDLE_MAX = 64, /* easy handles kept; each about 6 KiB */
	HTTP_EXTRA_MAX = 64,
};

/* A connection that the dialer made, by its own port; where that leads libcurl does not know. */
struct dialed_peer {
	uint16_t port;
	uint8_t class; /* enum address_class */
};

struct http {
	CURLM *multi;
	CURL *idle[HTTP_IDLE_MAX];
	unsigned int n_idle;
	struct http_trust *trust; /* owned; the first one is of all hosts without their own */
	int dialer_fd;		  /* borrowed; 0: none */
	uint32_t next_dial_id;
	struct dialed_peer peers[HTTP_CONNECTIONS_MAX];
	unsigned int n_peers;
	struct http_transfer *dialing; /* wait for a connection that was asked for */
	struct http_transfer *queued;  /* wait until one may be asked for, the last first */
	unsigned int connect_timeout_ms, stall_timeout_ms;
	struct http_transfer *resuming;
	struct http_timer *timers;
	int64_t next_due_ms;   /* no timer is due before */
	bool is_busy;	       /* inside libcurl */
	unsigned int n_events; /* of this http_run() */
};

/* ---- Whom to trust: lib/http-trust.c ---- */

/** http_trust_new() - Return: 0; -EINVAL with @problem; -ENOMEM. */
int http_trust_new(const char *host, const char *ca_file, bool insecure, struct http_trust **out,
		   struct problem *problem) must_check;
void http_trust_free_all(struct http_trust *first);

/** http_trust_load() - read the certificates now, where that was not done. */
int http_trust_load(struct http_trust *trust, struct problem *problem) must_check;

/** http_trust_setup() - the options of transfer->easy. Return: 0; -EINVAL; -ENOMEM. */
int http_trust_setup(struct http_transfer *transfer) must_check;

/* ---- Connections of the dialer: lib/http-dial.c ---- */

/** http_dial_setup() - the options of transfer->easy. Return: 0 or -ENOMEM. */
int http_dial_setup(struct http_transfer *transfer) must_check;

/**
 * http_dial_begin() - ask for the connection that libcurl wanted. The handle is in no multi.
 * Return: 0: it goes on later; or a negative errno, and the answer says why.
 */
int http_dial_begin(struct http_transfer *transfer) must_check;

/** http_dial_read() - take the answers that are there. Return: 0 or -EPIPE: the dialer is gone. */
int http_dial_read(struct http *http) must_check;

/** http_dial_next() - of @transfer's host something was done: who waits may have its turn. */
void http_dial_next(const struct http_transfer *transfer);

/**
 * http_dial_peer() - where connections of this own port lead: *@closest and *@widest, as a rule the
 * same. Return: false where none is known.
 */
bool http_dial_peer(const struct http *http, int local_port, enum address_class *closest,
		    enum address_class *widest) must_check;

/** http_dial_end() - forget what was asked and what came. */
void http_dial_end(struct http_transfer *transfer);

/** http_dial_resume() - of http.c: the connection is there, or answer.error says why not. */
void http_dial_resume(struct http_transfer *transfer);

/** http_setup_limits() - deadlines count from now on. */
void http_setup_limits(struct http_transfer *transfer);

/** http_setup() - all options of transfer->easy. Return: 0 or -ENOMEM. */
int http_setup(struct http_transfer *transfer) must_check;

/** http_conclude() - fill in the answer once libcurl is done. */
void http_conclude(struct http_transfer *transfer, CURLcode result);
