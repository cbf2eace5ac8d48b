/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange: one thing asked of a registry, through all that may lie between - log-in,
 * redirects, answers that ask for patience, broken connections.
 *
 * Rules (SAFETY.md threats 2 to 6, faults 21 to 28): the Authorization header goes to the
 * origin that was asked and to no other; at most REGISTRY_REDIRECTS_MAX redirects, of GET
 * and HEAD only, never from https to http, never to a narrower class of addresses; a refused
 * token is renewed once; 5xx, 429, resets and stalls are tried again with backoff and full
 * jitter, as late as Retry-After says; a stream goes on by Range behind what was delivered.
 */
#pragma once

#include "lib/registry.h"
#include "lib/token.h"

struct exchange;

enum {
	EXCHANGE_BACKOFF_MIN_MS = 200,
	EXCHANGE_BACKOFF_MAX_MS = 2000,
	/* Without a deadline nobody waits longer because a server asks for it. */
	EXCHANGE_RETRY_AFTER_MAX_MS = 30 * 1000,
	EXCHANGE_ERROR_BODY_MAX = 8 * 1024,
	/* So many bytes since the last break earn the full number of retries again. */
	EXCHANGE_PROGRESS_BYTES = 1024 * 1024,
	EXCHANGE_CHALLENGES_MAX = 4,
};

/* What to do with the body of a good answer. */
enum exchange_mode {
	EXCHANGE_COLLECT, /* keep at most size_bytes */
	EXCHANGE_STREAM,  /* exactly size_bytes to the sink */
};

/* Shared by the exchanges of one client. */
struct exchange_client {
	struct http *http;
	struct token_cache *tokens;
	const struct auth *auth;
	unsigned int retries;
};

struct exchange {
	/* ---- set by the owner; strings are owned, freed by exchange_clear() ---- */
	enum http_method method;
	char *url;
	char *home_url;		   /* whose origin the credentials are for; NULL: that of url */
	bool is_plain_url;	   /* not of a registry; for messages */
	enum address_class led_by; /* who gave us url, if it is not at home */
	char *host;		   /* as the user named it */
	char *repository;	   /* may be NULL */
	char *scope;		   /* "" where the registry may say it */
	char *what;		   /* "blob sha256:…", for messages */
	char *s3_region;	   /* it is an object of S3; NULL: it is not */
	const char *accept, *content_type; /* borrowed, may be NULL */
	const void *body;		   /* borrowed, or */
	int body_fd;			   /* borrowed */
	uint64_t body_size;
	void (*on_sent)(void *context, int64_t bytes); /* may be NULL */
	enum exchange_mode mode;
	uint64_t size_bytes;
	uint64_t offset; /* EXCHANGE_STREAM: the sink has these already */
	registry_sink sink;
	int64_t deadline_ms;
	void *context; /* for sink and on_sent */
	/* Called once; the exchange may be freed from it. NULL: see is_done. */
	void (*on_done)(struct exchange *exchange);

	/* ---- the result ---- */
	bool is_done;
	int error;
	struct problem problem;
	unsigned int status;
	char *location; /* absolute; owned */
	enum address_class peer;
	char *content_type_answered; /* owned */
	char *bytes;		     /* EXCHANGE_COLLECT, NUL behind n_bytes; owned */
	size_t n_bytes;
	uint64_t delivered; /* EXCHANGE_STREAM: with offset */
	uint64_t wire_bytes;
	int64_t retry_after_ms;

	/* ---- private ---- */
	struct exchange_client *client;
	struct http_transfer transfer;
	struct token_need need;
	struct http_timer timer; /* backoff, or the deadline */
	bool is_backing_off, is_cancelled;
	bool wants_identity; /* the registry labels blobs with an encoding they have at rest */
	unsigned int n_attempts, n_hops, n_challenges;
	uint64_t delivered_before;    /* when the current attempt began */
	char *hop_url;		      /* where redirects have led to; owned */
	struct origin current_origin; /* of hop_url, else of url */
	/* of the current answer */
	bool head_is_checked, error_body_is_full;
	uint64_t skip;	/* bytes to drop: a Range was not honoured */
	int body_error; /* on_body() stopped it with this, and problem */
	char *error_body;
	size_t error_body_len;
};

/** exchange_start() - begin. Return: 0, and on_done() follows; or -errno, and it does not. */
int exchange_start(struct exchange *exchange, struct exchange_client *client) must_check;

/** exchange_cancel() - end with -ECANCELED; on_done() is called now, or from http_run() soon. */
void exchange_cancel(struct exchange *exchange);

/** exchange_resume() - the sink can take bytes again. */
void exchange_resume(struct exchange *exchange);

/** exchange_clear() - free what it owns; not while it runs. */
void exchange_clear(struct exchange *exchange);

/* ---- between lib/exchange*.c ---- */

/** exchange_on_body() - takes the bytes of any answer. */
int exchange_on_body(struct http_transfer *transfer, const void *bytes, size_t len);

/** exchange_body_begin() - forget the last answer's body. */
void exchange_body_begin(struct exchange *exchange);

/** exchange_is_only_labelled() - does it only say that it is encoded? */
bool exchange_is_only_labelled(const struct exchange *exchange);

/** exchange_explain() - set the problem: "docker://HOST: TEXT". Return: @error. */
int exchange_explain(struct exchange *exchange, int error, const char *fmt, ...) printf_like(3, 4);

/** exchange_explain_status() - what the final status means. Return: negative errno. */
int exchange_explain_status(struct exchange *exchange);

/** exchange_explain_access() - as the token cache said, with the registry's own words. */
int exchange_explain_access(struct exchange *exchange, int error);
