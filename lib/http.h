/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP transfers over one libcurl multi handle, and timers for who drives them.
 *
 * A transfer is one request to one URL and its answer: no redirect is followed, nothing is
 * tried again, no credential is added. Nothing of the environment counts: no proxy, no
 * .netrc. Everything runs in the one thread that calls http_run().
 */
#pragma once

#include "lib/address.h"

struct http;
struct http_transfer;
struct pollfd;
struct problem;

enum {
	HTTP_HEADER_MAX = 8192,	      /* of one header that we keep; longer ones count as missing */
	HTTP_HEADERS_MAX = 64 * 1024, /* of one answer; more ends the transfer */
	HTTP_HOST_CONNECTIONS_MAX = 32, /* more only queue up at the server */
	HTTP_CONNECTIONS_MAX = 256,
};

/* Strings are copied. */
struct http_options {
	const char *ca_file; /* PEM; NULL: the system's */
	bool insecure;
	/*
	 * Connections are asked for there (lib/dial.h), and none is made here; borrowed.
	 * 0: they are made here. With it, certificates are read at once, and no file later.
	 */
	int dialer_fd;
	unsigned int connect_timeout_ms;
	unsigned int stall_timeout_ms;
};

/* Embedded by its owner, who sets due_ms by http_timer_set() and fire before that. */
struct http_timer {
	struct http_timer *next, *prev;
	bool armed;
	int64_t due_ms;
	void (*fire)(struct http_timer *timer);
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE };

/* What is asked. Pointers are borrowed until on_done(), strings may be NULL. */
struct http_request {
	enum http_method method;
	const char *url;
	const char *authorization; /* the whole value */
	const char *accept;
	const char *content_type;
	bool accept_encoding; /* let zstd and gzip on the wire be decoded */
	uint64_t range_from;  /* > 0: "Range: bytes=N-" */
	int64_t deadline_ms;  /* 0: none */
	/* Addresses that this class may lead to; ADDRESS_NEVER: any, a person named the host. */
	enum address_class led_by;
	/* Signed for S3 (AWS Signature Version 4) of this region, by these; NULL: it is not. */
	const char *s3_region, *s3_key, *s3_secret;
	/* POST and PUT: body_size bytes from memory, or by pread from body_fd. */
	const void *body;
	int body_fd;
	uint64_t body_size;
};

/* What came back. Strings are owned, NULL where the header is missing. */
struct http_answer {
	int error;     /* 0: an answer with a status; -ECANCELED: on_body() stopped it; -errno */
	bool may_pass; /* error: it is worth trying again */
	char explanation[320]; /* error: for a person */
	unsigned int status;   /* 0: none yet */
	char *location, *challenge, *content_type, *content_range, *content_encoding;
	int64_t content_length;	 /* -1: not said */
	int64_t retry_after_ms;	 /* -1: not said */
	uint64_t wire_bytes;	 /* of the body */
	enum address_class peer; /* where the connection leads */
};

struct http_transfer {
	struct http_request request;
	struct http_answer answer;
	void *context;
	/**
	 * on_body() - bytes of a body, of any status (see answer.status). Called from
	 * http_run() only. Return: 0; -EAGAIN to pause; another errno stops the transfer.
	 */
	int (*on_body)(struct http_transfer *transfer, const void *bytes, size_t len);
	/* May be NULL: bytes of the request's body that went out; negative: taken back. */
	void (*on_sent)(struct http_transfer *transfer, int64_t bytes);
	/* The last call; the transfer may be started anew or freed from it. */
	void (*on_done)(struct http_transfer *transfer);

	/* Private. */
	struct http *http;
	void *easy;
	void *headers;
	uint64_t body_offset;
	size_t header_bytes;
	bool address_refused;
	struct http_timer dial_timer;	 /* armed: a connection was asked for, or may be later */
	uint32_t dial_id, dial_host;	 /* dial_host: the same for those of one host */
	int dialed_fd;			 /* owned: connected, and not yet libcurl's; -1 */
	enum address_class dialed_class; /* of where it leads */
	unsigned int n_dials;
	bool needs_dial;
	void *resolved;
	struct http_transfer *next_dialing;
	int body_error; /* pread failed */
	bool resume_wanted;
	struct http_transfer *next_resume;
	char *error_buffer;
};

/** http_new() - Return: 0, -ENOMEM, or -EINVAL with @problem (unreadable CA file). */
int http_new(const struct http_options *options, struct http **out,
	     struct problem *problem) must_check;
/** http_free() - every transfer must have ended, every timer be cleared. NULL is fine. */
void http_free(struct http *http);

/**
 * http_set_trust() - for one host, "HOST[:PORT]" in lower case, ahead of the options. Reads the
 * file now. Return: as http_new().
 */
int http_set_trust(struct http *http, const char *host, const char *ca_file, bool insecure,
		   struct problem *problem) must_check;

/** http_start() - begin; on_done() follows unless this fails. Return: 0 or -ENOMEM. */
int http_start(struct http *http, struct http_transfer *transfer) must_check;

/** http_resume() - go on after a pause; on_body() is called from the next http_run(). */
void http_resume(struct http_transfer *transfer);

/**
 * http_cancel() - end it without on_done(). Not from on_body() or on_sent(). One that does not
 * run is left alone.
 */
void http_cancel(struct http_transfer *transfer);

/** http_transfer_is_running() */
bool http_transfer_is_running(const struct http_transfer *transfer);

/** http_answer_clear() - free what an answer owns. */
void http_answer_clear(struct http_answer *answer);

/** http_timer_set() - (re)arm: fire() is called once, from http_run(). */
void http_timer_set(struct http *http, struct http_timer *timer, int64_t due_ms);
void http_timer_clear(struct http *http, struct http_timer *timer);

/** http_is_busy() - inside on_body() or on_sent()? */
bool http_is_busy(const struct http *http);

/**
 * http_run() - one round: drive what can go on, else wait up to @timeout_ms for it.
 * @extra: descriptors to wait for too, as in poll(2); revents are filled in.
 * Return: 0 or negative errno.
 */
int http_run(struct http *http, struct pollfd *extra, unsigned int n_extra,
	     int timeout_ms) must_check;
