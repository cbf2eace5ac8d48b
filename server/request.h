/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request, from its first line to the last byte of its answer, and the parts
 * that serve it. An operation (a method on an endpoint) has up to three steps:
 *
 *     begin    the headers are there             loop thread
 *     body     some bytes of the body            loop thread, must not wait
 *     finish   the whole body is there           loop thread, or a worker where on_worker is set
 *
 * Before begin() it was checked that who sent the request may do that (authorize.h).
 * Each step may set the answer by one of the reply calls; the first answer counts, and no
 * later step runs. What is left of the body is then read and dropped, up to a bound, so that
 * the client sees the answer and not a reset connection. end() runs in any case.
 */
#pragma once

#include <microhttpd.h>
#include <stdatomic.h>

#include "server/access.h"
#include "server/connections.h"
#include "server/follower.h"
#include "server/index.h"
#include "server/route.h"
#include "server/store.h"
#include "server/upload.h"
#include "server/workers.h"

enum {
	/* Bytes of a body that are collected before they are stored and hashed. */
	BODY_PIECE = FOLLOWER_PIECE,
	/*
	 * Read and dropped behind an answer, so that the client gets to see it. What is longer
	 * is answered at once and loses its connection; behind a failure amid a body that was
	 * welcome, when no answer is possible before its end, much more is read.
	 */
	BODY_DRAIN_MAX = 8 * 1024 * 1024,
	BODY_DRAIN_FAILED_MAX = 1024 * 1024 * 1024,
	LIST_PAGE_MAX = 1000,
	/*
	 * Of a connection: for the head of the request, half of it at first, and that of the
	 * answer. The library clears all of it for each request: with 16 KiB more, a small answer
	 * takes a twentieth longer. Slow clients hold all of it, unless it is over 32 KiB, so that
	 * the library makes it a mapping.
	 */
	CONNECTION_MEMORY = 20 * 1024,
};

enum method {
	METHOD_GET = 1,
	METHOD_HEAD = 2,
	METHOD_POST = 4,
	METHOD_PUT = 8,
	METHOD_PATCH = 16,
	METHOD_DELETE = 32,
	METHODS_CHANGING = METHOD_POST | METHOD_PUT | METHOD_PATCH | METHOD_DELETE,
};

struct server;
struct request;
struct collector;
struct hot;
struct hot_entry;
struct packer;
struct verified;
struct scrub;

/* The right that an operation needs. */
enum need {
	NEED_PULL = ACTION_PULL, /* of the repository in the path */
	NEED_PUSH = ACTION_PUSH,
	NEED_DELETE = ACTION_DELETE,
	NEED_LOGIN, /* to be somebody */
	NEED_CATALOG,
	NEED_NOTHING,
};

struct operation {
	enum endpoint endpoint;
	unsigned int methods; /* enum method, or-ed */
	void (*begin)(struct request *request);
	void (*body)(struct request *request, const char *bytes, size_t len);
	void (*finish)(struct request *request);
	void (*end)(struct request *request);
	bool on_worker;
	enum need need;
};

/* What operations use. All set before the first request. */
struct services {
	struct store *store;
	struct index *index;
	struct uploads *uploads;
	struct access *access;
	struct collector *collector;
	struct hot *hot;	   /* NULL: nothing is kept */
	struct hot *mapped;	   /* NULL: nor that */
	struct packer *packer;	   /* NULL: blobs stay as they came */
	struct verified *verified; /* files that have their digest, links that are there */
	struct scrub *scrub;	   /* NULL: nobody looks for rot */
	unsigned char key[16];	   /* random, of this run; for marks that clients must not know */
	const char *namespace;	   /* borrowed: what ?ns= names this registry by, or "" */
	atomic_uint_least64_t body_memory_max; /* of all body buffers together */
	atomic_uint_least64_t body_memory;
	atomic_bool draining; /* the server ends */
};

enum request_stage {
	STAGE_NEW,	/* no header was looked at */
	STAGE_ACCESS,	/* a worker finds out who it is, the connection is suspended */
	STAGE_BODY,	/* body bytes go to the operation */
	STAGE_DRAIN,	/* body bytes are dropped */
	STAGE_WORKER,	/* a worker has it, the connection is suspended */
	STAGE_ANSWERED, /* the answer is queued */
};

struct request {
	struct job job;
	struct server *server;		   /* borrowed */
	struct services *services;	   /* borrowed */
	struct MHD_Connection *connection; /* borrowed */
	struct connection *entry;	   /* borrowed: of the table of connections; may be NULL */
	char *target;			   /* behind this struct: as it came, for the log */
	char *parsed;			   /* behind it, too: route points into it */
	bool on_monitor;		   /* came to the address for metrics and health */
	bool is_routed;			   /* the route is one */
	bool is_too_long;		   /* the target, and cut */
	bool is_spare;			   /* afterwards: has the size that all can use */
	enum method method;
	const char *method_name;
	const struct operation *operation; /* NULL: none fits */
	enum request_stage stage;
	struct access_state *access; /* referenced; NULL: not asked yet */
	struct identity identity;
	struct login login; /* of the worker that finds out who it is */
	bool has_body;
	bool has_length;
	uint64_t length;   /* Content-Length */
	uint64_t received; /* of the body; while draining: dropped */
	uint64_t drain_max;
	uint64_t body_bytes;  /* all that came */
	uint64_t range_bytes; /* what Content-Range says will come; 0: nothing is said */
	/* The body, as far as it is collected. */
	char *body; /* owned */
	size_t body_len, body_size;
	/* The operation's own. */
	struct upload *upload; /* acquired; released by end */
	struct digest digest;
	bool has_digest;
	char *text; /* owned: a media type */
	/* Of a request that changes something; borrowed from the connection; may be NULL. */
	const char *if_match, *if_none_match;
	/* The answer. */
	struct MHD_Response *response; /* owned until queued */
	struct hot_entry *hot;	       /* referenced until queued: the answer, instead */
	bool in_memory;		       /* the answer holds no descriptor */
	bool is_file;		       /* it is sent from a file */
	bool is_plain;		       /* and is the same for everybody who asks so */
	struct hot *keeper;	       /* borrowed: is to have the answer, too; NULL: nobody */
	bool failed;		       /* there was no memory for an answer: it ends here */
	unsigned int status;
	uint64_t answer_bytes; /* for the log; UINT64_MAX: not known */
	int64_t start_us;
	struct route route;
};

/** request_header() - value of a request header, or NULL. Loop thread. */
const char *request_header(const struct request *request, const char *name);

/**
 * request_read_framing() - where does the body end? Sets has_body, has_length and length.
 * Return: false for a request whose end two readers could see in different places: two
 * lengths, a length and a coding, an unknown coding or one in HTTP/1.0 (request smuggling); or that
 * says twice something else that counts once. Loop thread.
 */
bool request_read_framing(struct request *request, const char *version) must_check;

/**
 * request_collect() - put bytes into the body buffer, which grows to at most @max.
 * Return: 0; -EFBIG past @max; -ENOMEM, also when all buffers together are too much.
 */
int request_collect(struct request *request, const char *bytes, size_t len, size_t max) must_check;

/** request_age_ms() - since its first line was there. */
int64_t request_age_ms(const struct request *request);

/** request_drop_body() - free the body buffer. */
void request_drop_body(struct request *request);

/* ---- Answers. Any thread; the first one counts. ---- */

bool request_is_answered(const struct request *request);

/** reply_error() - the fixed code, its status, and a sentence for the user. */
void reply_error(struct request *request, enum api_error error, const char *fmt, ...)
	printf_like(3, 4);
void reply_error_status(struct request *request, enum api_error error, unsigned int status,
			const char *fmt, ...) printf_like(4, 5);

/** reply_failure() - a failure of the store: 507, 503 or 500. Logged here, once. */
void reply_failure(struct request *request, int error, const char *what);

/** reply_over_quota() - what would go over a quota is refused; @why says which one. */
struct problem;
void reply_over_quota(struct request *request, const struct problem *why);

/** reply_empty() - a status without content. */
void reply_empty(struct request *request, unsigned int status);

/** reply_text() - @text is allocated and taken over. */
void reply_text(struct request *request, unsigned int status, const char *content_type, char *text,
		size_t len);

/** reply_fd() - @len bytes of @fd from @off; @fd is taken over. */
void reply_fd(struct request *request, unsigned int status, int fd, uint64_t off, uint64_t len);

/** reply_response() - any response of libmicrohttpd; NULL counts as no memory. */
void reply_response(struct request *request, unsigned int status, struct MHD_Response *response,
		    uint64_t bytes);

/** reply_header_text() - add a header to the answer. */
void reply_header_text(struct request *request, const char *name, const char *value);

/** reply_header() - add a header to the answer, of at most 2 KiB. */
void reply_header(struct request *request, const char *name, const char *fmt, ...)
	printf_like(3, 4);
