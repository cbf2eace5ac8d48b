/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what was learned about each registry's way to log in, and the tokens. One thread.
 * lib/token-request.c asks for them, lib/token-realm.c says whom.
 */
#include "lib/token-internal.h"

#include <string.h>

#include "lib/challenge.h"

struct token_cache *token_cache_new(struct http *http, const struct auth *auth)
{
	struct token_cache *cache = calloc(1, sizeof(*cache));

	if (cache) {
		cache->http = http;
		cache->auth = auth;
	}
	return cache;
}

static void scope_free(struct token_scope *scope)
{
	http_cancel(&scope->transfer);
	http_answer_clear(&scope->transfer.answer);
	token_request_clear(scope);
	auth_forget(scope->authorization);
	free(scope->repository);
	free(scope->scope);
	free(scope->asked_scope);
	free(scope);
}

static void host_free(struct token_host *host)
{
	while (host->scopes) {
		struct token_scope *scope = host->scopes;

		host->scopes = scope->next;
		scope_free(scope);
	}
	free(host->realm);
	free(host->service);
	free(host);
}

void token_cache_free(struct token_cache *cache)
{
	if (!cache)
		return;
	while (cache->hosts) {
		struct token_host *host = cache->hosts;

		cache->hosts = host->next;
		host_free(host);
	}
	free(cache);
}

void token_forget(struct token_cache *cache)
{
	for (struct token_host *host = cache->hosts; host; host = host->next) {
		for (struct token_scope *scope = host->scopes; scope; scope = scope->next) {
			auth_forget(scope->authorization);
			scope->authorization = NULL;
		}
	}
}

static bool scope_is_busy(const struct token_scope *scope)
{
	return scope->waiters || scope->is_answering || http_transfer_is_running(&scope->transfer);
}

static bool host_is_busy(const struct token_host *host)
{
	for (const struct token_scope *scope = host->scopes; scope; scope = scope->next) {
		if (scope_is_busy(scope))
			return true;
	}
	return false;
}

/* The one found moves to the front, so the last ones are the oldest. */
static struct token_host *find_host(struct token_cache *cache, const struct origin *origin)
{
	for (struct token_host **p = &cache->hosts; *p; p = &(*p)->next) {
		struct token_host *host = *p;

		if (!origin_equal(&host->origin, origin))
			continue;
		*p = host->next;
		host->next = cache->hosts;
		cache->hosts = host;
		return host;
	}
	return NULL;
}

static struct token_host *add_host(struct token_cache *cache, const struct origin *origin)
{
	struct token_host *host, **oldest = NULL;
	size_t n = 0;

	for (struct token_host **p = &cache->hosts; *p; p = &(*p)->next, n++) {
		if (!host_is_busy(*p))
			oldest = p;
	}
	if (n >= TOKEN_HOSTS_MAX && oldest) {
		host = *oldest;
		*oldest = host->next;
		host_free(host);
	}
	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->cache = cache;
	host->origin = *origin;
	host->next = cache->hosts;
	cache->hosts = host;
	return host;
}

static struct token_scope *find_scope(struct token_host *host, const struct token_need *need)
{
	for (struct token_scope **p = &host->scopes; *p; p = &(*p)->next) {
		struct token_scope *scope = *p;

		if (strcmp(scope->scope, need->scope))
			continue;
		*p = scope->next;
		scope->next = host->scopes;
		host->scopes = scope;
		return scope;
	}
	return NULL;
}

static struct token_scope *get_scope(struct token_host *host, const struct token_need *need)
{
	struct token_scope *scope = find_scope(host, need), **oldest = NULL;
	size_t n = 0;

	if (scope)
		return scope;
	for (struct token_scope **p = &host->scopes; *p; p = &(*p)->next, n++) {
		if (!scope_is_busy(*p))
			oldest = p;
	}
	if (n >= TOKEN_SCOPES_MAX && oldest) {
		scope = *oldest;
		*oldest = scope->next;
		scope_free(scope);
	}
	scope = calloc(1, sizeof(*scope));
	if (!scope)
		return NULL;
	scope->host = host;
	scope->scope = strdup(need->scope);
	scope->repository = need->repository ? strdup(need->repository) : NULL;
	if (!scope->scope || (need->repository && !scope->repository)) {
		scope_free(scope);
		return NULL;
	}
	scope->next = host->scopes;
	host->scopes = scope;
	return scope;
}

static int get_bearer(struct token_host *host, struct token_need *need)
{
	struct token_scope *scope = get_scope(host, need);
	int r;

	if (!scope)
		return -ENOMEM;
	if (scope->authorization && now_ms() < scope->expires_ms) {
		need->authorization = strdup(scope->authorization);
		return need->authorization ? 0 : -ENOMEM;
	}
	if (!http_transfer_is_running(&scope->transfer)) {
		r = token_request_start(scope, need->host);
		if (r)
			return r;
	}
	need->waits_for = scope;
	need->next = scope->waiters;
	scope->waiters = need;
	return -EINPROGRESS;
}

int token_get(struct token_cache *cache, struct token_need *need)
{
	struct token_host *host = find_host(cache, &need->origin);
	struct auth_credentials credentials;

	token_need_clear(need);
	if (!host || host->scheme == TOKEN_SCHEME_NONE)
		return 0;
	if (host->scheme == TOKEN_SCHEME_BEARER)
		return get_bearer(host, need);
	if (!auth_find(cache->auth, need->host, need->repository, &credentials))
		return 0;
	need->authorization = auth_basic(&credentials);
	return need->authorization ? 0 : -ENOMEM;
}

void token_need_cancel(struct token_need *need)
{
	if (!need->waits_for)
		return;
	for (struct token_need **p = &need->waits_for->waiters; *p; p = &(*p)->next) {
		if (*p == need) {
			*p = need->next;
			break;
		}
	}
	/* The request itself goes on: the next one who asks will want its answer. */
	need->waits_for = NULL;
}

void token_need_clear(struct token_need *need)
{
	auth_forget(need->authorization);
	need->authorization = NULL;
	need->is_fresh = false;
	need->error = 0;
	need->may_pass = false;
	need->retry_after_ms = -1;
	need->problem.text[0] = '\0';
}

/* Nothing is left to try: say who was refused, and what would help. */
static int refuse(const struct token_cache *cache, const struct token_host *host,
		  struct token_need *need)
{
	const char *repository = need->repository ? need->repository : "", *helper;
	const char *for_ = *repository ? " for repository " : "";
	struct auth_credentials credentials;
	char shown[128];

	if (auth_find(cache->auth, need->host, need->repository, &credentials)) {
		log_escape(shown, sizeof(shown), credentials.user, strlen(credentials.user));
		if (host && host->realm_policy == TOKEN_REALM_ANONYMOUS)
			return problem_set(&need->problem, -EACCES,
					   "unauthorized%s%s; the password of user '%s' was not "
					   "sent, since the token service %s is outside the "
					   "registry's domain",
					   for_, repository, shown, host->realm_origin.host);
		return problem_set(&need->problem, -EACCES,
				   "unauthorized%s%s; is the password of user '%s' right, and has "
				   "the user the right to do this?",
				   for_, repository, shown);
	}
	helper = auth_helper(cache->auth, need->host);
	if (helper)
		return problem_set(&need->problem, -EACCES,
				   "unauthorized%s%s; its password is kept by the credential "
				   "helper '%s', which is not supported; log in with 'podman "
				   "login %s' or pass --auth-file",
				   for_, repository,
				   log_escape(shown, sizeof(shown), helper, strlen(helper)),
				   need->host);
	return problem_set(&need->problem, -EACCES,
			   "unauthorized%s%s; log in with 'podman login %s' or pass --auth-file",
			   for_, repository, need->host);
}

/* All or nothing: policy and origin must always be those of the realm that is kept. */
static int learn_bearer(struct token_host *host, struct token_need *need,
			const struct challenge *challenge)
{
	enum token_realm policy;
	struct origin origin;
	char *realm, *service;
	char shown[256];

	log_escape(shown, sizeof(shown), challenge->realm, strlen(challenge->realm));
	if (origin_parse(challenge->realm, &origin))
		return problem_set(&need->problem, -EBADMSG,
				   "its challenge names no usable token service ('%s')", shown);
	policy = token_realm_policy(&host->origin, &origin);
	if (policy == TOKEN_REALM_REFUSED)
		return problem_set(&need->problem, -EACCES,
				   "unauthorized, and its token service '%s' is one that this "
				   "registry may not send us to (plain http, or an inner address)",
				   shown);
	realm = strdup(challenge->realm);
	service = strdup(challenge->service);
	if (!realm || !service) {
		free(realm);
		free(service);
		return -ENOMEM;
	}
	free(host->realm);
	free(host->service);
	host->realm = realm;
	host->service = service;
	host->realm_origin = origin;
	host->realm_policy = policy;
	host->scheme = TOKEN_SCHEME_BEARER;
	host->peer = need->peer;
	return 0;
}

/* The scope's token is void, unless somebody else has renewed it already. */
static int void_token(struct token_host *host, const struct token_need *need,
		      const struct challenge *challenge)
{
	struct token_scope *scope = get_scope(host, need);

	if (!scope)
		return -ENOMEM;
	if (scope->authorization && need->authorization &&
	    !strcmp(scope->authorization, need->authorization)) {
		auth_forget(scope->authorization);
		scope->authorization = NULL;
	}
	if (!challenge || !*challenge->scope)
		return 0;
	free(scope->asked_scope);
	scope->asked_scope = strdup(challenge->scope);
	return scope->asked_scope ? 0 : -ENOMEM;
}

int token_challenged(struct token_cache *cache, struct token_need *need, const char *header)
{
	struct token_host *host = find_host(cache, &need->origin);
	struct challenge challenges[CHALLENGES_MAX];
	const struct challenge *basic = NULL, *bearer = NULL;
	struct auth_credentials credentials;
	int n = header ? challenge_parse(header, strlen(header), challenges) : 0, r;

	if (n < 0)
		return problem_set(&need->problem, -EBADMSG,
				   "its WWW-Authenticate header is malformed");
	for (int i = n - 1; i >= 0; i--) {
		if (challenges[i].scheme == CHALLENGE_BASIC)
			basic = &challenges[i];
		else if (challenges[i].scheme == CHALLENGE_BEARER)
			bearer = &challenges[i];
	}
	if (need->is_fresh)
		return refuse(cache, host, need);
	if (!basic && !bearer) {
		/* As some answer to a token that has expired. */
		if (host && host->scheme == TOKEN_SCHEME_BEARER && need->authorization)
			return void_token(host, need, NULL);
		return refuse(cache, host, need);
	}
	if (!host)
		host = add_host(cache, &need->origin);
	if (!host)
		return -ENOMEM;
	if (bearer) {
		r = learn_bearer(host, need, bearer);
		return r ? r : void_token(host, need, bearer);
	}
	if ((need->authorization && !strncmp(need->authorization, "Basic ", 6)) ||
	    !auth_find(cache->auth, need->host, need->repository, &credentials))
		return refuse(cache, host, need);
	host->scheme = TOKEN_SCHEME_BASIC;
	return 0;
}

int token_refused(struct token_cache *cache, const char *host_name, const char *repository,
		  const struct token_host *host, struct problem *problem)
{
	struct token_need need = { .host = host_name, .repository = repository };
	int r = refuse(cache, host, &need);

	*problem = need.problem;
	return r;
}
