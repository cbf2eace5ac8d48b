/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the multi handle with its connections, the idle easy handles and the timers.
 * One thread. lib/http-setup.c turns a request into options and an answer into errors.
 *
 * The hard idea: libcurl must not be called back from its own callbacks. So what they want
 * (resume, cancel, the next request) is done after curl_multi_perform() has returned.
 */
#include "lib/http-internal.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "lib/log.h"

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_new(const struct http_options *options, struct http **out, struct problem *problem)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *http;
	int r;

	pthread_once(&once, init_curl);
	http = calloc(1, sizeof(*http));
	if (!http)
		return -ENOMEM;
	r = http_trust_new(NULL, options->ca_file, options->insecure, &http->trust, problem);
	http->dialer_fd = options->dialer_fd;
	if (!r && http->dialer_fd)
		r = http_trust_load(http->trust, problem);
	http->connect_timeout_ms = options->connect_timeout_ms;
	http->stall_timeout_ms = options->stall_timeout_ms;
	http->next_due_ms = INT64_MAX;
	http->multi = curl_multi_init();
	if (!r && !http->multi)
		r = -ENOMEM;
	if (r) {
		http_free(http);
		return r;
	}
	curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
			  (long)HTTP_HOST_CONNECTIONS_MAX);
	curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)HTTP_CONNECTIONS_MAX);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CONNECTIONS_MAX);
	*out = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	for (unsigned int i = 0; i < http->n_idle; i++)
		curl_easy_cleanup(http->idle[i]);
	curl_multi_cleanup(http->multi);
	http_trust_free_all(http->trust);
	free(http);
}

static CURL *take_easy(struct http *http)
{
	return http->n_idle ? http->idle[--http->n_idle] : curl_easy_init();
}

static void give_easy(struct http *http, CURL *easy)
{
	if (http->n_idle == ARRAY_SIZE(http->idle)) {
		curl_easy_cleanup(easy);
		return;
	}
	curl_easy_reset(easy);
	http->idle[http->n_idle++] = easy;
}

/* Takes the transfer out of libcurl and of our lists. */
static void detach(struct http_transfer *transfer)
{
	struct http *http = transfer->http;

	for (struct http_transfer **p = &http->resuming; *p; p = &(*p)->next_resume) {
		if (*p == transfer) {
			*p = transfer->next_resume;
			break;
		}
	}
	transfer->resume_wanted = false;
	curl_multi_remove_handle(http->multi, transfer->easy);
	http_dial_end(transfer);
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
	give_easy(http, transfer->easy);
	transfer->easy = NULL;
	free(transfer->error_buffer);
	transfer->error_buffer = NULL;
}

int http_start(struct http *http, struct http_transfer *transfer)
{
	int r;

	http_answer_clear(&transfer->answer);
	transfer->http = http;
	transfer->headers = NULL;
	if (transfer->body_offset && transfer->on_sent)
		transfer->on_sent(transfer, -(int64_t)transfer->body_offset);
	transfer->body_offset = 0;
	transfer->header_bytes = 0;
	transfer->address_refused = false;
	transfer->needs_dial = false;
	transfer->n_dials = 0;
	transfer->dial_host = 0;
	transfer->dialed_fd = -1;
	transfer->resolved = NULL;
	transfer->body_error = 0;
	transfer->resume_wanted = false;
	transfer->easy = take_easy(http);
	transfer->error_buffer = calloc(1, CURL_ERROR_SIZE);
	if (!transfer->easy || !transfer->error_buffer) {
		if (transfer->easy)
			give_easy(http, transfer->easy);
		transfer->easy = NULL;
		free(transfer->error_buffer);
		return -ENOMEM;
	}
	r = http_setup(transfer);
	if (!r && curl_multi_add_handle(http->multi, transfer->easy))
		r = -ENOMEM;
	if (r)
		detach(transfer);
	return r;
}

void http_resume(struct http_transfer *transfer)
{
	if (!transfer->easy || transfer->resume_wanted)
		return;
	transfer->resume_wanted = true;
	transfer->next_resume = transfer->http->resuming;
	transfer->http->resuming = transfer;
}

void http_cancel(struct http_transfer *transfer)
{
	if (!transfer->easy)
		return;
	assert(!transfer->http->is_busy);
	detach(transfer);
	if (transfer->http->queued)
		http_dial_next(transfer);
}

bool http_transfer_is_running(const struct http_transfer *transfer)
{
	return transfer->easy != NULL;
}

bool http_is_busy(const struct http *http)
{
	return http->is_busy;
}

void http_timer_set(struct http *http, struct http_timer *timer, int64_t due_ms)
{
	timer->due_ms = due_ms;
	if (due_ms < http->next_due_ms)
		http->next_due_ms = due_ms;
	if (timer->armed)
		return;
	timer->armed = true;
	timer->prev = NULL;
	timer->next = http->timers;
	if (timer->next)
		timer->next->prev = timer;
	http->timers = timer;
}

void http_timer_clear(struct http *http, struct http_timer *timer)
{
	if (!timer->armed)
		return;
	timer->armed = false;
	if (timer->next)
		timer->next->prev = timer->prev;
	if (timer->prev)
		timer->prev->next = timer->next;
	else
		http->timers = timer->next;
}

/*
 * A scan of all timers, but only when the first of them is due. fire() may set and clear
 * any timer, so the scan begins again after each.
 */
static void fire_timers(struct http *http)
{
	int64_t now = now_ms(), next = INT64_MAX;
	struct http_timer *timer = http->timers;

	if (now < http->next_due_ms)
		return;
	while (timer) {
		if (timer->due_ms <= now) {
			http_timer_clear(http, timer);
			timer->fire(timer);
			http->n_events++;
			timer = http->timers;
			next = INT64_MAX;
			continue;
		}
		if (timer->due_ms < next)
			next = timer->due_ms;
		timer = timer->next;
	}
	http->next_due_ms = next;
}

static void finish(struct http_transfer *transfer, CURLcode result)
{
	struct http *http = transfer->http;

	http_conclude(transfer, result);
	detach(transfer);
	http->n_events++;
	/* Its connection may be free now. */
	if (http->queued)
		http_dial_next(transfer);
	transfer->on_done(transfer);
}

void http_dial_resume(struct http_transfer *transfer)
{
	if (!transfer->answer.error) {
		http_setup_limits(transfer);
		if (curl_multi_add_handle(transfer->http->multi, transfer->easy))
			transfer->answer.error = -ENOMEM;
	}
	if (transfer->answer.error)
		finish(transfer, CURLE_COULDNT_CONNECT);
	else
		transfer->http->n_events++;
}

static void read_messages(struct http *http)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(http->multi, &left))) {
		struct http_transfer *transfer = NULL;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		if (result == CURLE_COULDNT_CONNECT && transfer->needs_dial) {
			curl_multi_remove_handle(http->multi, transfer->easy);
			if (!http_dial_begin(transfer))
				continue;
		}
		finish(transfer, result);
	}
}

static int step(struct http *http)
{
	CURLMcode code;
	int running;

	http->is_busy = true;
	while (http->resuming) {
		struct http_transfer *transfer = http->resuming;

		http->resuming = transfer->next_resume;
		transfer->resume_wanted = false;
		curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	}
	code = curl_multi_perform(http->multi, &running);
	http->is_busy = false;
	if (code)
		return code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
	read_messages(http);
	fire_timers(http);
	return 0;
}

int http_run(struct http *http, struct pollfd *extra, unsigned int n_extra, int timeout_ms)
{
	struct curl_waitfd waitfds[HTTP_EXTRA_MAX + 1];
	unsigned int n_waitfds = n_extra;
	int64_t until_due;
	CURLMcode code;
	int r;

	if (n_extra > HTTP_EXTRA_MAX)
		return -EINVAL;
	http->n_events = 0;
	r = step(http);
	if (r)
		return r;
	for (unsigned int i = 0; i < n_extra; i++) {
		/* curl's bits are those of poll(2). */
		waitfds[i] = (struct curl_waitfd){ .fd = extra[i].fd, .events = extra[i].events };
		extra[i].revents = 0;
	}
	if (http->dialer_fd)
		waitfds[n_waitfds++] =
			(struct curl_waitfd){ .fd = http->dialer_fd, .events = CURL_WAIT_POLLIN };
	until_due = http->next_due_ms == INT64_MAX ? INT64_MAX : http->next_due_ms - now_ms();
	if (http->n_events || until_due < 0)
		timeout_ms = 0;
	else if (timeout_ms < 0 || until_due < timeout_ms)
		timeout_ms = (int)(until_due < INT32_MAX ? until_due : INT32_MAX);
	code = curl_multi_poll(http->multi, n_waitfds ? waitfds : NULL, n_waitfds, timeout_ms,
			       NULL);
	if (code && !(code == CURLM_UNRECOVERABLE_POLL && errno == EINTR))
		return code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
	/* curl does not report POLLHUP and POLLERR of these. */
	if (n_extra && poll(extra, n_extra, 0) < 0 && errno != EINTR)
		return -errno;
	/* Also when nothing was asked: it may be gone. */
	r = http->dialer_fd && waitfds[n_extra].revents ? http_dial_read(http) : 0;
	return r ? r : step(http);
}
