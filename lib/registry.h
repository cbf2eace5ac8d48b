/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client of OCI registries (OCI distribution specification 1.1), over libcurl's multi
 * interface.
 *
 * Rules it keeps: credentials go to the origin (scheme, host, port) they belong to and to
 * no other, also not over a redirect or a token realm; redirects are followed here, at most
 * three, each checked; a transfer never runs past the size the caller expects; every
 * byte of a manifest is checked against the digest it was asked by.
 *
 * Two ways to use one client: the blocking calls (convert, mount, verify), and
 * registry_fetch_start() with registry_run() (fetchd's network worker, thousands of
 * fetches in one thread). A client and everything it started belong to one thread.
 */
#pragma once

#include "lib/digest.h"

struct registry;
struct registry_fetch;
struct problem;
struct pollfd;

enum {
	MANIFEST_SIZE_MAX = 4 * 1024 * 1024, /* what every registry accepts */
	REGISTRY_REDIRECTS_MAX = 3,
};

/* Zeroed = defaults. Strings are copied. */
struct registry_options {
	const char
		*auth_file;  /* docker's config.json; NULL: see auth_load_default() in lib/auth.h */
	bool no_auth_file;   /* never read one (fetchd's worker: credentials come with the job) */
	const char *ca_file; /* PEM; NULL: the system's */
	bool insecure;	     /* accept any certificate */
	bool plain_http;     /* http:// for every host; loopback hosts use it in any case */
	unsigned int connect_timeout_ms; /* 0: 5000 */
	unsigned int stall_timeout_ms;	 /* no progress at >= 1 kB/s for so long; 0: 5000 */
	unsigned int retries; /* of what may pass (5xx, 429, reset); UINT_MAX: none; 0: 4 */
	int dialer_fd;	      /* as in struct http_options; 0: none */
};

/* Of one host, "HOST[:PORT]", ahead of what the options say. */
struct registry_host_options {
	bool plain_http, insecure;
	const char *ca_file; /* PEM; NULL: the system's */
};

/** registry_new() - Return: 0, -ENOMEM, or -EINVAL with @problem (unreadable auth or CA file). */
int registry_new(const struct registry_options *options, struct registry **out,
		 struct problem *problem) must_check;
void registry_free(struct registry *registry);

/** registry_set_host() - before anything is asked of it. Reads the file now. As registry_new(). */
int registry_set_host(struct registry *registry, const char *host,
		      const struct registry_host_options *options,
		      struct problem *problem) must_check;

/**
 * registry_set_credentials() - user and password for one host, ahead of the auth file.
 * NULL user: forget them.
 */
int registry_set_credentials(struct registry *registry, const char *host, const char *user,
			     const char *password) must_check;

/* A manifest as the registry sent it: never re-serialised. */
struct registry_manifest {
	char *media_type; /* owned */
	char *bytes;	  /* owned, NUL-terminated behind size_bytes */
	size_t size_bytes;
	struct digest digest; /* of bytes, computed here */
};

void registry_manifest_free(struct registry_manifest *manifest);

/*
 * Blocking calls. @host is "HOST[:PORT]". All return 0 or a negative errno with @problem
 * that names the host, the request, the answer and what to do:
 *   -ENOENT  unknown blob, manifest or repository      -EACCES  not allowed, wrong password
 *   -EHOSTUNREACH  no connection, no such name, TLS    -ETIMEDOUT  stalled
 *   -EBADMSG  wrong digest, size or not what the specification allows
 *   -ENOSPC  the registry is full (507, 413)           -EIO     any other answer
 */

/** registry_ping() - GET /v2/: is this a registry that lets us in? */
int registry_ping(struct registry *registry, const char *host, struct problem *problem) must_check;

/** registry_get_manifest() - @version is a tag or a digest; a digest is checked. */
int registry_get_manifest(struct registry *registry, const char *host, const char *repository,
			  const char *version, struct registry_manifest *out,
			  struct problem *problem) must_check;

/** registry_put_manifest() - @version is a tag, or the digest of @bytes. */
int registry_put_manifest(struct registry *registry, const char *host, const char *repository,
			  const char *version, const char *media_type, const void *bytes,
			  size_t len, struct problem *problem) must_check;

/**
 * registry_get_referrers() - an index of the manifests whose subject is @subject; also from
 * registries that keep it under a tag. The first page only.
 * Return: 0; -ENOENT where nothing refers to it; -errno.
 */
int registry_get_referrers(struct registry *registry, const char *host, const char *repository,
			   const struct digest *subject, struct registry_manifest *out,
			   struct problem *problem) must_check;

/** registry_has_blob() - HEAD. Return: 1 there, 0 not, or negative errno. */
int registry_has_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, struct problem *problem) must_check;

/**
 * registry_put_blob() - upload @size_bytes of @fd from offset 0 (by pread; the offset of
 * @fd stays). One request where the registry allows it (POST with ?digest=), else POST and PUT.
 * @progress: may be NULL; called with bytes sent since its last call (may be negative when
 * a part is sent again).
 */
int registry_put_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, int fd, uint64_t size_bytes,
		      void (*progress)(void *context, int64_t bytes), void *context,
		      struct problem *problem) must_check;

/** registry_mount_blob() - cross-repository mount. Return: 1 mounted, 0 not done, or -errno. */
int registry_mount_blob(struct registry *registry, const char *host, const char *repository,
			const struct digest *digest, const char *from_repository,
			struct problem *problem) must_check;

/**
 * typedef registry_sink - receives the bytes of a blob, in order, each once (a broken
 * transfer resumes by Range behind what was delivered).
 * Return: 0 to go on, negative errno to stop the transfer with that error.
 */
typedef int (*registry_sink)(void *context, const void *bytes, size_t len);

/**
 * registry_get_blob() - bytes of a blob into @sink, at most @size_bytes; checked against
 * @digest at the end (-EBADMSG: the sink has got wrong bytes and must drop them).
 */
int registry_get_blob(struct registry *registry, const char *host, const char *repository,
		      const struct digest *digest, uint64_t size_bytes, registry_sink sink,
		      void *context, struct problem *problem) must_check;

/* ---- Many fetches at once ---- */

struct registry_fetch_request {
	/* Either host and repository (OCI) or url (plain HTTP GET, credentials by its host). */
	const char *host, *repository;
	const char *url;
	const char *s3_region; /* url is an object of S3, asked for with host's user and password */
	const char *namespace; /* of a mirror: the registry that it stands for; NULL */
	struct digest digest;  /* what to ask for; the bytes are NOT hashed here */
	uint64_t size_bytes;   /* the transfer stops with -EBADMSG at one byte more */
	uint64_t offset;       /* resume: bytes the caller already has, fewer than size_bytes */
	int64_t deadline_ms;   /* CLOCK_MONOTONIC, as now_ms(); 0: none */
	registry_sink sink;    /* -EAGAIN pauses the transfer until registry_fetch_resume() */
	void (*done)(struct registry_fetch *fetch, void *context);
	void *context;
};

/**
 * registry_fetch_start() - begin; @request and its strings are copied.
 * done() is called exactly once, from registry_run(), registry_fetch_cancel() or a blocking
 * call of the same client, and the fetch is freed when it returns. A sink may cancel and resume,
 * but must not make blocking calls. zstd and gzip on the wire are asked for and decoded.
 */
int registry_fetch_start(struct registry *registry, const struct registry_fetch_request *request,
			 struct registry_fetch **out) must_check;

/** registry_fetch_resume() - the sink can take bytes again. */
void registry_fetch_resume(struct registry_fetch *fetch);

/** registry_fetch_cancel() - end it with -ECANCELED. */
void registry_fetch_cancel(struct registry_fetch *fetch);

/* For done(): */
int registry_fetch_error(const struct registry_fetch *fetch); /* 0 or negative errno, as above */
const char *registry_fetch_problem(const struct registry_fetch *fetch); /* borrowed text */
uint64_t registry_fetch_wire_bytes(const struct registry_fetch *fetch); /* as received, encoded */
uint64_t registry_fetch_bytes(const struct registry_fetch *fetch);	/* delivered to the sink */
int64_t registry_fetch_retry_after_ms(const struct registry_fetch *fetch); /* -1: not said */

/**
 * registry_run() - drive all transfers; waits up to @timeout_ms for something to do, also
 * for @extra (as poll(2), revents are filled in).
 * Does not wait when a sink has paused on the way, so that what it waits for gets into @extra.
 * Return: number of running transfers, or negative errno.
 */
int registry_run(struct registry *registry, struct pollfd *extra, unsigned int n_extra,
		 int timeout_ms) must_check;
