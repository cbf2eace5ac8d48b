/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the course of an exchange: authorize -> send -> judge -> (done | again | elsewhere).
 * One thread, that of the client.
 *
 * The hard idea: nothing ends inside libcurl's callbacks. on_body() only notes what was wrong;
 * judge(), timers and token_need.ready() run outside of them and may free anything.
 */
#include "lib/exchange.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

static void finish(struct exchange *ex, int error)
{
	http_cancel(&ex->transfer);
	token_need_cancel(&ex->need);
	http_timer_clear(ex->client->http, &ex->timer);
	ex->status = ex->transfer.answer.status;
	ex->peer = ex->transfer.answer.peer;
	ex->error = error;
	ex->is_done = true;
	if (ex->on_done)
		ex->on_done(ex);
}

static bool is_at_home(const struct exchange *ex)
{
	return origin_equal(&ex->current_origin, &ex->need.origin);
}

/* Without a key it may be public. */
static void sign_at_home(struct exchange *ex)
{
	struct auth_credentials key;

	if (!ex->s3_region || !is_at_home(ex) || !auth_find(ex->client->auth, ex->host, NULL, &key))
		return;
	ex->transfer.request.s3_region = ex->s3_region;
	ex->transfer.request.s3_key = key.user;
	ex->transfer.request.s3_secret = key.password;
}

static int send_request(struct exchange *ex)
{
	bool same_host = !strcmp(ex->current_origin.host, ex->need.origin.host);
	bool is_stream = ex->mode == EXCHANGE_STREAM;

	ex->transfer.request = (struct http_request){
		.method = ex->method,
		.url = ex->hop_url ? ex->hop_url : ex->url,
		.authorization = is_at_home(ex) ? ex->need.authorization : NULL,
		.accept = ex->accept,
		.content_type = ex->content_type,
		.accept_encoding = is_stream && ex->delivered == 0 && !ex->wants_identity,
		.range_from = is_stream ? ex->delivered : 0,
		.deadline_ms = ex->deadline_ms,
		.led_by = same_host	? ADDRESS_NEVER
			  : ex->hop_url ? ex->transfer.answer.peer
					: ex->led_by,
		.body = ex->body,
		.body_fd = ex->body_fd,
		.body_size = ex->body_size,
	};
	sign_at_home(ex);
	ex->delivered_before = ex->delivered;
	exchange_body_begin(ex);
	/* libcurl does not time out what waits for a free connection; this does. */
	if (ex->deadline_ms)
		http_timer_set(ex->client->http, &ex->timer, ex->deadline_ms);
	return http_start(ex->client->http, &ex->transfer);
}

/* Back from where redirects led to. */
static void go_back(struct exchange *ex)
{
	ex->n_hops = 0;
	free(ex->hop_url);
	ex->hop_url = NULL;
	if (origin_parse(ex->url, &ex->current_origin))
		assert(false); /* it was parsed before */
}

static int authorize(struct exchange *ex)
{
	int r = token_get(ex->client->tokens, &ex->need);

	if (r == -EINPROGRESS) {
		if (ex->deadline_ms)
			http_timer_set(ex->client->http, &ex->timer, ex->deadline_ms);
		return 0;
	}
	return r ? r : send_request(ex);
}

static void authorize_or_finish(struct exchange *ex)
{
	int r = authorize(ex);

	if (r)
		finish(ex, exchange_explain(ex, r, "%s", strerror(-r)));
}

static int64_t jitter_ms(int64_t bound_ms)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)now_ms();
	return (int64_t)(random % (uint32_t)(bound_ms + 1));
}

/* What happened may pass: wait and begin anew, or end with @error (the problem is set). */
static void retry_or_finish(struct exchange *ex, int error)
{
	int64_t bound_ms, wait_ms;

	if (ex->delivered - ex->delivered_before >= EXCHANGE_PROGRESS_BYTES)
		ex->n_attempts = 0;
	if (ex->n_attempts >= ex->client->retries) {
		finish(ex, error);
		return;
	}
	bound_ms = ex->n_attempts < 4 ? EXCHANGE_BACKOFF_MIN_MS << ex->n_attempts
				      : EXCHANGE_BACKOFF_MAX_MS;
	if (bound_ms > EXCHANGE_BACKOFF_MAX_MS)
		bound_ms = EXCHANGE_BACKOFF_MAX_MS;
	wait_ms = jitter_ms(bound_ms);
	if (ex->retry_after_ms > 0)
		wait_ms += ex->retry_after_ms;
	if ((ex->deadline_ms && now_ms() + wait_ms >= ex->deadline_ms) ||
	    (!ex->deadline_ms && ex->retry_after_ms > EXCHANGE_RETRY_AFTER_MAX_MS)) {
		finish(ex, error);
		return;
	}
	ex->n_attempts++;
	go_back(ex);
	ex->is_backing_off = true;
	http_timer_set(ex->client->http, &ex->timer, now_ms() + wait_ms);
}

static void on_timer(struct http_timer *timer)
{
	struct exchange *ex = container_of(timer, struct exchange, timer);

	if (ex->is_cancelled) {
		finish(ex, -ECANCELED);
	} else if (ex->is_backing_off) {
		ex->is_backing_off = false;
		authorize_or_finish(ex);
	} else {
		finish(ex, exchange_explain(ex, -ETIMEDOUT, "no answer for %s by the deadline",
					    ex->what));
	}
}

static void on_token(struct token_need *need)
{
	struct exchange *ex = container_of(need, struct exchange, need);
	int r;

	if (need->error) {
		ex->retry_after_ms = need->retry_after_ms;
		r = exchange_explain(ex, need->error, "%s",
				     problem_text(&need->problem, need->error));
		if (need->may_pass)
			retry_or_finish(ex, r);
		else
			finish(ex, r);
		return;
	}
	r = send_request(ex);
	if (r)
		finish(ex, exchange_explain(ex, r, "%s", strerror(-r)));
}

static void judge_redirect(struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;
	struct origin to;
	char *url;
	int r;

	if (ex->method != HTTP_GET && ex->method != HTTP_HEAD) {
		finish(ex,
		       exchange_explain(ex, -EIO,
					"an upload was redirected, which no registry should do"));
		return;
	}
	if (++ex->n_hops > REGISTRY_REDIRECTS_MAX) {
		finish(ex, exchange_explain(ex, -EBADMSG, "%s: redirected more than %d times",
					    ex->what, REGISTRY_REDIRECTS_MAX));
		return;
	}
	if (!answer->location ||
	    url_resolve(ex->hop_url ? ex->hop_url : ex->url, answer->location, &url)) {
		finish(ex, exchange_explain(ex, -EBADMSG, "%s: redirected without a usable address",
					    ex->what));
		return;
	}
	if (origin_parse(url, &to) || (ex->current_origin.https && !to.https)) {
		free(url);
		finish(ex, exchange_explain(ex, -EBADMSG,
					    "%s: redirected to an address that is not https, which "
					    "is not followed",
					    ex->what));
		return;
	}
	free(ex->hop_url);
	ex->hop_url = url;
	ex->current_origin = to;
	r = send_request(ex);
	if (r)
		finish(ex, exchange_explain(ex, r, "%s", strerror(-r)));
}

static void judge_refusal(struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;
	int r;

	if (!is_at_home(ex)) {
		finish(ex, exchange_explain(ex, -EACCES,
					    "%s: redirected to a place that refuses us (status %u)",
					    ex->what, answer->status));
		return;
	}
	/* 403 is how some registries say that a token has expired. */
	if (answer->status == 403 && (!ex->need.authorization || ex->need.is_fresh)) {
		finish(ex, exchange_explain_status(ex));
		return;
	}
	ex->need.peer = answer->peer;
	if (++ex->n_challenges > EXCHANGE_CHALLENGES_MAX)
		r = problem_set(&ex->need.problem, -EACCES, "it refuses every log-in");
	else
		r = token_challenged(ex->client->tokens, &ex->need, answer->challenge);
	if (r) {
		finish(ex, exchange_explain_access(ex, r));
		return;
	}
	go_back(ex);
	authorize_or_finish(ex);
}

static void judge_success(struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;
	int r;

	if (ex->mode == EXCHANGE_STREAM && ex->delivered != ex->size_bytes) {
		r = exchange_explain(ex, -EBADMSG,
				     "%s: the registry sent %llu bytes, %llu were expected",
				     ex->what, (unsigned long long)ex->delivered,
				     (unsigned long long)ex->size_bytes);
		/* Without a length, a broken connection looks like an end. */
		if (answer->content_length < 0 && answer->status != 204)
			retry_or_finish(ex, r);
		else
			finish(ex, r);
		return;
	}
	if (answer->content_type)
		ex->content_type_answered = strdup(answer->content_type);
	if (answer->location && url_resolve(ex->url, answer->location, &ex->location)) {
		finish(ex, exchange_explain(ex, -EBADMSG, "%s: its Location header is not a URL",
					    ex->what));
		return;
	}
	finish(ex, 0);
}

static bool status_may_pass(unsigned int status)
{
	return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

static void judge_failure(struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;
	char where[HOST_MAX + 8] = "";
	int r;

	if (ex->body_error) {
		finish(ex, ex->body_error);
		return;
	}
	if (ex->mode == EXCHANGE_STREAM && ex->delivered == ex->size_bytes &&
	    ex->delivered > ex->delivered_before) {
		finish(ex, 0); /* all is here; what broke came behind it */
		return;
	}
	if (!is_at_home(ex))
		origin_format(&ex->current_origin, where);
	r = exchange_explain(ex, answer->error, "%s%s%s%s", *where ? "redirected to " : "", where,
			     *where ? ": " : "", answer->explanation);
	if (answer->may_pass)
		retry_or_finish(ex, r);
	else
		finish(ex, r);
}

/* Whatever libcurl made of the bytes, nothing was delivered: check_head() saw to that. */
static void ask_for_identity(struct exchange *ex)
{
	ex->wants_identity = true;
	go_back(ex);
	authorize_or_finish(ex);
}

static void judge(struct http_transfer *transfer)
{
	struct exchange *ex = container_of(transfer, struct exchange, transfer);
	const struct http_answer *answer = &transfer->answer;

	http_timer_clear(ex->client->http, &ex->timer);
	ex->wire_bytes += answer->wire_bytes;
	ex->retry_after_ms = answer->retry_after_ms;
	if (ex->is_cancelled)
		finish(ex, -ECANCELED);
	else if (exchange_is_only_labelled(ex) && transfer->request.accept_encoding)
		ask_for_identity(ex);
	else if (answer->error && !ex->error_body_is_full)
		judge_failure(ex);
	else if (answer->status >= 200 && answer->status < 300)
		judge_success(ex);
	else if (answer->status == 301 || answer->status == 302 || answer->status == 303 ||
		 answer->status == 307 || answer->status == 308)
		judge_redirect(ex);
	else if (answer->status == 401 || answer->status == 403)
		judge_refusal(ex);
	else if (status_may_pass(answer->status))
		retry_or_finish(ex, exchange_explain_status(ex));
	else
		finish(ex, exchange_explain_status(ex));
}

static void on_sent(struct http_transfer *transfer, int64_t bytes)
{
	struct exchange *ex = container_of(transfer, struct exchange, transfer);

	ex->on_sent(ex->context, bytes);
}

int exchange_start(struct exchange *ex, struct exchange_client *client)
{
	ex->client = client;
	ex->delivered = ex->delivered_before = ex->offset;
	ex->retry_after_ms = -1;
	ex->timer.fire = on_timer;
	ex->transfer.on_body = exchange_on_body;
	ex->transfer.on_done = judge;
	ex->transfer.on_sent = ex->on_sent ? on_sent : NULL;
	ex->need.host = ex->host;
	ex->need.repository = ex->repository;
	ex->need.scope = ex->scope;
	ex->need.ready = on_token;
	if (origin_parse(ex->url, &ex->current_origin) ||
	    origin_parse(ex->home_url ? ex->home_url : ex->url, &ex->need.origin))
		return exchange_explain(ex, -EINVAL, "not a URL of http or https");
	return authorize(ex);
}

void exchange_cancel(struct exchange *ex)
{
	ex->is_cancelled = true;
	if (http_is_busy(ex->client->http))
		http_timer_set(ex->client->http, &ex->timer, now_ms());
	else
		finish(ex, -ECANCELED);
}

void exchange_resume(struct exchange *ex)
{
	http_resume(&ex->transfer);
}

void exchange_clear(struct exchange *ex)
{
	token_need_clear(&ex->need);
	http_answer_clear(&ex->transfer.answer);
	free(ex->url);
	free(ex->home_url);
	free(ex->host);
	free(ex->repository);
	free(ex->scope);
	free(ex->s3_region);
	free(ex->what);
	free(ex->location);
	free(ex->content_type_answered);
	free(ex->bytes);
	free(ex->hop_url);
	free(ex->error_body);
}
