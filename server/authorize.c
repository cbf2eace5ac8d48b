/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the answers 401 and 403. Loop thread, or the worker that has the request. */
#include "server/authorize.h"

#include <string.h>

#include "lib/log.h"
#include "server/tls.h"

enum { CHALLENGE_SIZE = 1024 + REPOSITORY_MAX };

static const char *const scopes[ACTIONS] = { "pull", "pull,push", "delete" };

static bool is_on_repository(const struct request *request)
{
	return request->operation->need < (enum need)ACTIONS;
}

/* What the token must be for, as the token service wants to hear it. */
static void add_scope(const struct request *request, char *text, size_t size)
{
	size_t len = strlen(text);

	if (is_on_repository(request))
		snprintf(text + len, size - len, ",scope=\"repository:%s:%s\"",
			 request->route.repository, scopes[request->operation->need]);
	else if (request->operation->need == NEED_CATALOG)
		snprintf(text + len, size - len, ",scope=\"registry:catalog:*\"");
}

static void challenge(struct request *request, const char *error)
{
	const struct access_options *options = access_options_of(request->access);
	char text[CHALLENGE_SIZE];
	size_t len;

	if (options->token_realm) {
		snprintf(text, sizeof(text), "Bearer realm=\"%s\",service=\"%s\"",
			 options->token_realm, options->token_service);
		add_scope(request, text, sizeof(text));
		len = strlen(text);
		if (error)
			snprintf(text + len, sizeof(text) - len, ",error=\"%s\"", error);
		reply_header_text(request, "WWW-Authenticate", text);
	}
	if (options->htpasswd || !options->token_realm)
		reply_header(request, "WWW-Authenticate", "Basic realm=\"%s\",charset=\"UTF-8\"",
			     options->realm);
}

static void reply_unauthorized(struct request *request, const char *error, const char *why)
{
	reply_error(request, API_UNAUTHORIZED, "%s", why);
	challenge(request, error);
}

static bool is_allowed(const struct request *request)
{
	switch (request->operation->need) {
	case NEED_PULL:
	case NEED_PUSH:
	case NEED_DELETE:
		return access_allows(request->access, &request->identity, request->route.repository,
				     (enum action)request->operation->need);
	case NEED_LOGIN:
		/* Clients take 200 for: nobody needs to log in here. */
		return !access_knows_users(request->access) ||
		       access_is_somebody(&request->identity);
	case NEED_CATALOG:
		return access_allows_catalog(request->access, &request->identity);
	case NEED_NOTHING:
		return true;
	}
	return false;
}

static void decide(struct request *request)
{
	if (is_allowed(request))
		return;
	/* The same whether it exists or not: nothing was looked at. */
	if (!access_is_somebody(&request->identity) && access_knows_users(request->access))
		reply_unauthorized(request, NULL, "log in first: this needs a user's rights");
	else if (request->identity.claims)
		reply_unauthorized(request, "insufficient_scope",
				   "the token does not allow this: get one for it");
	else
		reply_error(request, API_DENIED, "you have no right to do that");
}

enum authorization authorize(struct request *request, bool may_block)
{
	char name[TLS_NAME_MAX + 1];
	struct problem problem = { "" };
	bool has_name;
	int r;

	if (!request->operation || request_is_answered(request))
		return AUTHORIZATION_DONE;
	if (!request->access)
		request->access = access_get(request->services->access);
	if (access_is_open(request->access) || request->operation->need == NEED_NOTHING)
		return AUTHORIZATION_DONE;
	if (may_block)
		connection_address(request->entry, request->login.address);
	has_name = tls_client_name(request->connection, name);
	r = access_identify(request->access, request_header(request, "Authorization"),
			    has_name ? name : NULL, may_block ? &request->login : NULL,
			    &request->identity, &problem);
	if (r == -EINPROGRESS)
		return AUTHORIZATION_WAITS;
	if (r == -EAGAIN && !may_block)
		return AUTHORIZATION_BLOCKS;
	if (r == -EACCES)
		reply_unauthorized(request, "invalid_token", problem.text);
	else if (r == -EBUSY)
		reply_error(request, API_TOOMANYREQUESTS,
			    "too many passwords are being checked, or were wrong: try again in a "
			    "moment");
	else if (r)
		reply_failure(request, r, "authentication");
	else
		decide(request);
	return AUTHORIZATION_DONE;
}

bool request_may(const struct request *request, const char *repository, enum action action)
{
	return access_allows(request->access, &request->identity, repository, action);
}

bool request_sees_all(const struct request *request)
{
	return access_is_open(request->access);
}

void authorize_end(struct request *request)
{
	identity_deinit(&request->identity);
	access_state_unref(steal_ptr(request->access));
}
