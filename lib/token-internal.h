/* SPDX-License-Identifier: Apache-2.0 */
/* What lib/token.c and lib/token-request.c share. */
#pragma once

#include "lib/token.h"

enum token_scheme { TOKEN_SCHEME_NONE, TOKEN_SCHEME_BASIC, TOKEN_SCHEME_BEARER };

/* A registry that asked for something. */
struct token_host {
	struct token_host *next;
	struct token_cache *cache;
	struct origin origin;
	enum token_scheme scheme;
	char *realm, *service;
	struct origin realm_origin;
	enum token_realm realm_policy;
	enum address_class peer;
	struct token_scope *scopes;
};

/* One token, or the request for it. */
struct token_scope {
	struct token_scope *next;
	struct token_host *host;
	char *repository;    /* may be NULL */
	char *scope;	     /* what it is looked up by */
	char *asked_scope;   /* what the registry asked for, if it did; may be NULL */
	char *authorization; /* secret: "Bearer …"; NULL: none */
	int64_t expires_ms;
	struct token_need *waiters;
	bool is_answering;

	/* The request. */
	struct http_transfer transfer;
	char *host_name; /* as the user named it */
	char *url;
	char *request_authorization; /* secret */
	char *form;		     /* secret */
	char *body;		     /* secret */
	size_t body_len;
};

struct token_cache {
	struct http *http;	 /* borrowed */
	const struct auth *auth; /* borrowed */
	struct token_host *hosts;
};

/** token_request_start() - ask the token service. Return: 0 or -errno. */
int token_request_start(struct token_scope *scope, const char *host_name) must_check;

/** token_request_clear() - free what the request held. */
void token_request_clear(struct token_scope *scope);

/** token_refused() - describe that these credentials, or none, did not do. Return: -EACCES. */
int token_refused(struct token_cache *cache, const char *host_name, const char *repository,
		  const struct token_host *host, struct problem *problem);
