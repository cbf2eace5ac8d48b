/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each registry wants to see before it answers: nothing, a password (Basic), or a token
 * for one scope (docker token specification; OAuth2 refresh tokens).
 *
 * Credentials go to the registry they are for. A token service gets them only when it is
 * on the registry's host or shares its parent domain, over https (over http only where
 * the registry itself is plain http and on the same host); else the token is asked for
 * without them. A service on an IP address or on this host is asked only if the registry
 * is on the same one. See token_realm_policy().
 *
 * One token request at a time for each scope, however many wait for it. One thread.
 */
#pragma once

#include "lib/auth.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/url.h"

struct token_cache;

enum {
	TOKEN_HOSTS_MAX = 64,	/* beyond: the oldest idle one is forgotten */
	TOKEN_SCOPES_MAX = 256, /* of one host; likewise */
	TOKEN_SIZE_MAX = 16 * 1024,
};

enum token_realm { TOKEN_REALM_REFUSED, TOKEN_REALM_ANONYMOUS, TOKEN_REALM_TRUSTED };

/**
 * token_realm_policy() - may the registry at @registry send us to @realm for a token, and do
 * credentials go along?
 */
enum token_realm token_realm_policy(const struct origin *registry, const struct origin *realm);

/* One who needs an Authorization value. Embedded; the strings are borrowed. */
struct token_need {
	/* ---- set by the owner ---- */
	struct origin origin;	 /* of the request */
	const char *host;	 /* as the user named it, for credentials */
	const char *repository;	 /* may be NULL */
	const char *scope;	 /* "repository:a/b:pull", several separated by spaces; may be "" */
	enum address_class peer; /* where the registry is */
	/* Called from http_run() after token_get() answered -EINPROGRESS. */
	void (*ready)(struct token_need *need);

	/* ---- the result ---- */
	char *authorization; /* owned: free by token_need_clear(); NULL: send none */
	bool is_fresh;	     /* got for this need: a refusal is final */
	int error;
	bool may_pass; /* error: worth another try */
	int64_t retry_after_ms;
	struct problem problem;

	/* Private. */
	struct token_need *next;
	struct token_scope *waits_for;
};

/** token_cache_new() - @auth is borrowed. Return: NULL without memory. */
struct token_cache *token_cache_new(struct http *http, const struct auth *auth) must_check;
void token_cache_free(struct token_cache *cache);

/**
 * token_get() - what is known for this need, without a request if possible.
 * Return: 0 with need->authorization; -EINPROGRESS: ready() will be called; -errno.
 */
int token_get(struct token_cache *cache, struct token_need *need) must_check;

/**
 * token_challenged() - the registry answered 401 (or 403) to need->authorization.
 * @challenge: its WWW-Authenticate, or NULL. What is known is corrected by it.
 * Return: 0: call token_get() and try again; -EACCES with need->problem: nothing to try;
 * -EBADMSG with need->problem.
 */
int token_challenged(struct token_cache *cache, struct token_need *need,
		     const char *challenge) must_check;

/** token_forget() - credentials changed: what was got by them counts no more. */
void token_forget(struct token_cache *cache);

/** token_need_cancel() - ready() will not be called. token_need_clear() - free the result. */
void token_need_cancel(struct token_need *need);
void token_need_clear(struct token_need *need);
