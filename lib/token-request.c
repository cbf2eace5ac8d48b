/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the exchange with a token service: one GET, or a POST with a refresh token. One thread. */
#include <string.h>

#include "lib/json.h"
#include "lib/token-internal.h"

enum {
	TOKEN_BODY_MAX = 64 * 1024,
	TOKEN_TIMEOUT_MS = 30 * 1000,
	TOKEN_LIFE_DEFAULT_S = 60, /* the specification's, where "expires_in" is missing */
	TOKEN_LIFE_MAX_S = 24 * 3600,
	TOKEN_LIFE_MARGIN_MAX_S = 10,
};

void token_request_clear(struct token_scope *scope)
{
	free(scope->host_name);
	free(scope->url);
	auth_forget(scope->request_authorization);
	auth_forget(scope->form);
	if (scope->body)
		explicit_bzero(scope->body, scope->body_len);
	free(scope->body);
	scope->host_name = scope->url = scope->form = scope->body = NULL;
	scope->request_authorization = NULL;
	scope->body_len = 0;
}

/* "service=…&scope=…&scope=…"; the caller frees it. */
static char *build_query(const struct token_scope *scope)
{
	const char *scopes = scope->asked_scope ? scope->asked_scope : scope->scope;
	cleanup_free char *service = url_escape(scope->host->service), *copy = strdup(scopes);
	char *query, *word, *save = NULL;

	if (!service || !copy)
		return NULL;
	query = format_text("service=%s", service);
	for (word = strtok_r(copy, " ", &save); query && word; word = strtok_r(NULL, " ", &save)) {
		cleanup_free char *escaped = url_escape(word);
		char *longer = escaped ? format_text("%s&scope=%s", query, escaped) : NULL;

		free(query);
		query = longer;
	}
	return query;
}

static int build_request(struct token_scope *scope)
{
	const struct token_host *host = scope->host;
	struct auth_credentials credentials;
	cleanup_free char *query = build_query(scope);
	bool has_credentials =
		host->realm_policy == TOKEN_REALM_TRUSTED &&
		auth_find(host->cache->auth, scope->host_name, scope->repository, &credentials);

	if (!query)
		return -ENOMEM;
	if (has_credentials && credentials.identity_token) {
		cleanup_free char *escaped = url_escape(credentials.identity_token);

		scope->url = strdup(host->realm);
		if (escaped) {
			scope->form = format_text("grant_type=refresh_token&client_id=intinode&"
						  "refresh_token=%s&%s",
						  escaped, query);
			explicit_bzero(escaped, strlen(escaped));
		}
		return scope->url && scope->form ? 0 : -ENOMEM;
	}
	scope->url =
		format_text("%s%s%s", host->realm, strchr(host->realm, '?') ? "&" : "?", query);
	if (!scope->url)
		return -ENOMEM;
	if (!has_credentials)
		return 0;
	scope->request_authorization = auth_basic(&credentials);
	return scope->request_authorization ? 0 : -ENOMEM;
}

static int on_body(struct http_transfer *transfer, const void *bytes, size_t len)
{
	struct token_scope *scope = transfer->context;
	char *bigger;

	if (len > TOKEN_BODY_MAX - scope->body_len)
		return -EMSGSIZE;
	bigger = realloc(scope->body, scope->body_len + len);
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger + scope->body_len, bytes, len);
	scope->body = bigger;
	scope->body_len += len;
	return 0;
}

/* It goes into a header, so nothing but visible characters. */
static bool token_is_clean(const char *token)
{
	size_t len = strlen(token);

	for (size_t i = 0; i < len; i++) {
		if (token[i] <= 0x20 || token[i] >= 0x7f)
			return false;
	}
	return len > 0 && len <= TOKEN_SIZE_MAX;
}

static int read_token(struct token_scope *scope)
{
	cleanup_json json_t *json = NULL;
	uint64_t life_s = TOKEN_LIFE_DEFAULT_S, margin_s;
	const char *token;

	if (!scope->body || json_parse(scope->body, scope->body_len, &json, NULL))
		return -EBADMSG;
	token = json_get_string(json, "token");
	if (!token || !*token)
		token = json_get_string(json, "access_token");
	if (!token || !token_is_clean(token))
		return -EBADMSG;
	if (json_get_size(json, "expires_in", &life_s) || life_s == 0)
		life_s = TOKEN_LIFE_DEFAULT_S;
	if (life_s > TOKEN_LIFE_MAX_S)
		life_s = TOKEN_LIFE_MAX_S;
	margin_s = life_s / 5 < TOKEN_LIFE_MARGIN_MAX_S ? life_s / 5 : TOKEN_LIFE_MARGIN_MAX_S;
	auth_forget(scope->authorization);
	scope->authorization = format_text("Bearer %s", token);
	scope->expires_ms = now_ms() + (int64_t)(life_s - margin_s) * 1000;
	return scope->authorization ? 0 : -ENOMEM;
}

/* Sets the result that every waiter gets. */
static void judge(struct token_scope *scope, struct token_need *result)
{
	const struct http_answer *answer = &scope->transfer.answer;
	const struct token_host *host = scope->host;
	const char *service = host->realm_origin.host;

	result->retry_after_ms = answer->retry_after_ms;
	if (answer->error) {
		result->may_pass = answer->may_pass;
		result->error = problem_set(
			&result->problem, answer->error == -EMSGSIZE ? -EBADMSG : answer->error,
			"token service %s: %s", service,
			*answer->explanation ? answer->explanation : "the answer is too long");
		return;
	}
	if (answer->status == 200) {
		result->error = read_token(scope);
		if (result->error)
			problem_set(&result->problem, result->error,
				    "token service %s: the answer holds no token", service);
		return;
	}
	if (answer->status == 400 || answer->status == 401 || answer->status == 403 ||
	    answer->status == 404) {
		result->error = token_refused(host->cache, scope->host_name, scope->repository,
					      host, &result->problem);
		return;
	}
	result->may_pass = answer->status == 429 || answer->status >= 500;
	result->error = problem_set(&result->problem, -EIO, "token service %s: status %u%s",
				    service, answer->status,
				    result->may_pass ? "; try again later" : "");
}

static void on_done(struct http_transfer *transfer)
{
	struct token_scope *scope = transfer->context;
	struct token_need result = { .retry_after_ms = -1 }, *need;

	judge(scope, &result);
	token_request_clear(scope);
	scope->is_answering = true;
	while ((need = scope->waiters)) {
		scope->waiters = need->next;
		need->waits_for = NULL;
		need->error = result.error;
		need->may_pass = result.may_pass;
		need->retry_after_ms = result.retry_after_ms;
		need->problem = result.problem;
		if (!need->error) {
			need->authorization = scope->authorization ? strdup(scope->authorization)
								   : NULL;
			need->is_fresh = true;
			if (!need->authorization)
				need->error = -ENOMEM;
		}
		need->ready(need);
	}
	scope->is_answering = false;
}

int token_request_start(struct token_scope *scope, const char *host_name)
{
	struct token_host *host = scope->host;
	struct http_request *request = &scope->transfer.request;
	int r;

	token_request_clear(scope);
	scope->host_name = strdup(host_name);
	r = scope->host_name ? build_request(scope) : -ENOMEM;
	if (!r) {
		*request = (struct http_request){
			.method = scope->form ? HTTP_POST : HTTP_GET,
			.url = scope->url,
			.authorization = scope->request_authorization,
			.accept = "application/json",
			.content_type = scope->form ? "application/x-www-form-urlencoded" : NULL,
			.body = scope->form,
			.body_fd = -1,
			.body_size = scope->form ? strlen(scope->form) : 0,
			.deadline_ms = now_ms() + TOKEN_TIMEOUT_MS,
			.led_by = strcmp(host->origin.host, host->realm_origin.host)
					  ? host->peer
					  : ADDRESS_NEVER,
		};
		scope->transfer.context = scope;
		scope->transfer.on_body = on_body;
		scope->transfer.on_done = on_done;
		r = http_start(host->cache->http, &scope->transfer);
	}
	if (r)
		token_request_clear(scope);
	return r;
}
