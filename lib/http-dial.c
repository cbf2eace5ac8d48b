/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns how a transfer comes to a connection that another process made (lib/dial.h). The thread of
 * the multi handle.
 *
 * The hard idea: only libcurl knows whether it needs one, or has one left from before. So a
 * transfer begins without; where libcurl asks for a socket and there is none, the attempt fails,
 * the dialer is asked, and the transfer begins again with what came.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/dial.h"
#include "lib/http-internal.h"
#include "lib/log.h"
#include "lib/url.h"

enum { DIALS_MAX = 4 /* of one transfer: a kept connection may turn out to be dead */ };

/* What every name leads to, as far as libcurl knows. TEST-NET-1 (RFC 5737): nowhere. */
#define NOWHERE "192.0.2.1"

/* The socket's own port; 0: it cannot be told. */
static uint16_t port_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} address;
	socklen_t len = sizeof(address);

	memset(&address, 0, sizeof(address));
	if (getsockname(fd, &address.any, &len))
		return 0;
	return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port
						       : address.in.sin_port);
}

/* Where there is no room for it, it leads nowhere that matters: see http_dial_peer(). */
static void add_peer(struct http *http, int fd, enum address_class class)
{
	if (http->n_peers < ARRAY_SIZE(http->peers))
		http->peers[http->n_peers++] =
			(struct dialed_peer){ .port = port_of(fd), .class = (uint8_t) class };
}

static void remove_peer(struct http *http, int fd)
{
	uint16_t port = port_of(fd);

	for (unsigned int i = 0; i < http->n_peers; i++) {
		if (http->peers[i].port != port)
			continue;
		http->peers[i] = http->peers[--http->n_peers];
		return;
	}
}

bool http_dial_peer(const struct http *http, int local_port, enum address_class *closest,
		    enum address_class *widest)
{
	bool known = false;

	*closest = ADDRESS_PUBLIC;
	*widest = ADDRESS_NEVER;
	for (unsigned int i = 0; i < http->n_peers; i++) {
		enum address_class class = http->peers[i].class;

		if (http->peers[i].port != local_port)
			continue;
		known = true;
		*closest = class < *closest ? class : *closest;
		*widest = class > *widest ? class : *widest;
	}
	return known;
}

static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *transfer = context;

	(void)purpose;
	(void)address;
	if (transfer->dialed_fd >= 0) {
		add_peer(transfer->http, transfer->dialed_fd, transfer->dialed_class);
		return steal_fd(&transfer->dialed_fd);
	}
	transfer->needs_dial = true;
	return CURL_SOCKET_BAD;
}

static int on_close(void *context, curl_socket_t fd)
{
	remove_peer(context, fd);
	return close(fd);
}

static int on_connected(void *context, curl_socket_t fd, curlsocktype purpose)
{
	(void)context;
	(void)fd;
	(void)purpose;
	return CURL_SOCKOPT_ALREADY_CONNECTED;
}

int http_dial_setup(struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;
	struct origin origin;
	char *line;

	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_connected);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->http);
	/* What is no URL libcurl says itself; an address it does not look up. */
	if (origin_parse(transfer->request.url, &origin) || address_is_literal(origin.host))
		return 0;
	line = format_text("%s:%u:" NOWHERE, origin.host, origin.port);
	if (!line)
		return -ENOMEM;
	transfer->resolved = curl_slist_append(NULL, line);
	free(line);
	if (!transfer->resolved ||
	    curl_easy_setopt(easy, CURLOPT_RESOLVE, (struct curl_slist *)transfer->resolved))
		return -ENOMEM;
	return 0;
}

static void take_out(struct http_transfer **list, const struct http_transfer *transfer)
{
	for (; *list; list = &(*list)->next_dialing) {
		if (*list != transfer)
			continue;
		*list = transfer->next_dialing;
		return;
	}
}

static void stop_waiting(struct http_transfer *transfer)
{
	struct http *http = transfer->http;

	/* A timer that fires is not armed any more. */
	http_timer_clear(http, &transfer->dial_timer);
	take_out(&http->dialing, transfer);
	take_out(&http->queued, transfer);
}

void http_dial_end(struct http_transfer *transfer)
{
	stop_waiting(transfer);
	if (transfer->dialed_fd >= 0)
		close(steal_fd(&transfer->dialed_fd));
	curl_slist_free_all(transfer->resolved);
	transfer->resolved = NULL;
}

static void explain(struct http_transfer *transfer, int error, const char *host, const char *why)
{
	struct http_answer *answer = &transfer->answer;
	char shown[DIAL_PROBLEM_SIZE];

	log_escape(shown, sizeof(shown), why, strlen(why));
	answer->error = error == -EACCES ? -EACCES : error == -EMFILE ? -EMFILE : -EHOSTUNREACH;
	answer->may_pass = error == -EAGAIN;
	if (error == -EACCES)
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "it leads to an address that this registry may not send us to");
	else if (error == -ECONNREFUSED)
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "connection refused; is the registry running, and is the port right?");
	else if (error == -ENOENT)
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "%s: no such host name (%s); is it spelled right, and does name "
			 "resolution work?",
			 host, shown);
	else
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "no connection: %s; is the network up, and is the host right?", shown);
}

static void on_too_long(struct http_timer *timer)
{
	struct http_transfer *transfer = container_of(timer, struct http_transfer, dial_timer);

	stop_waiting(transfer);
	explain(transfer, -ETIMEDOUT, "", strerror(ETIMEDOUT));
	http_dial_resume(transfer);
}

static unsigned int timeout_of(const struct http_transfer *transfer)
{
	unsigned int timeout_ms = transfer->http->connect_timeout_ms;
	int64_t left = transfer->request.deadline_ms - now_ms();

	if (!transfer->request.deadline_ms || left > timeout_ms)
		return timeout_ms;
	return left > 1 ? (unsigned int)left : 1;
}

static uint32_t hash_origin(const struct origin *origin)
{
	uint32_t hash = 2166136261u ^ origin->port; /* FNV-1a */

	for (const char *p = origin->host; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	return hash;
}

/* More would be made than libcurl uses at a time. */
static bool must_queue(const struct http *http, uint32_t host)
{
	unsigned int n = 0;

	for (const struct http_transfer *t = http->dialing; t; t = t->next_dialing)
		n += t->dial_host == host;
	return n >= HTTP_HOST_CONNECTIONS_MAX;
}

static void queue(struct http_transfer *transfer)
{
	int64_t deadline_ms = transfer->request.deadline_ms;

	transfer->dial_timer.fire = on_too_long;
	http_timer_set(transfer->http, &transfer->dial_timer,
		       deadline_ms ? deadline_ms : INT64_MAX);
	transfer->next_dialing = transfer->http->queued;
	transfer->http->queued = transfer;
}

void http_dial_next(const struct http_transfer *transfer)
{
	struct http_transfer *next = NULL;
	uint32_t host = transfer->dial_host;
	struct origin origin;

	if (!host && !origin_parse(transfer->request.url, &origin))
		host = hash_origin(&origin); /* it had a connection from before */
	for (struct http_transfer *t = transfer->http->queued; t; t = t->next_dialing)
		next = t->dial_host == host ? t : next;
	if (!next)
		return;
	stop_waiting(next);
	http_dial_resume(next);
}

int http_dial_begin(struct http_transfer *transfer)
{
	struct http *http = transfer->http;
	unsigned int timeout_ms = timeout_of(transfer);
	struct origin origin;
	int r = origin_parse(transfer->request.url, &origin);

	transfer->needs_dial = false;
	if (!r) {
		transfer->dial_host = hash_origin(&origin);
		if (must_queue(http, transfer->dial_host)) {
			queue(transfer);
			return 0;
		}
	}
	transfer->dial_id = http->next_dial_id++;
	if (!r && transfer->n_dials++ >= DIALS_MAX)
		r = -ECONNRESET;
	if (!r)
		r = dial_ask(http->dialer_fd, transfer->dial_id, origin.host, origin.port,
			     transfer->request.led_by, timeout_ms);
	if (r) {
		explain(transfer, r, "", strerror(-r));
		return r;
	}
	transfer->dial_timer.fire = on_too_long;
	/* The dialer keeps to the time, too, and knows better what went wrong. */
	http_timer_set(http, &transfer->dial_timer, now_ms() + timeout_ms + 500);
	transfer->next_dialing = http->dialing;
	http->dialing = transfer;
	return 0;
}

static void take_answer(struct http *http, const struct dial_answer *dialed, int fd)
{
	struct http_transfer *transfer = http->dialing;
	struct origin origin;

	while (transfer && transfer->dial_id != dialed->id)
		transfer = transfer->next_dialing;
	if (!transfer) { /* cancelled */
		if (fd >= 0)
			close(fd);
		return;
	}
	stop_waiting(transfer);
	if (dialed->error && !origin_parse(transfer->request.url, &origin))
		explain(transfer, dialed->error, origin.host, dialed->problem);
	transfer->dialed_fd = fd;
	transfer->dialed_class = dialed->class;
	http_dial_next(transfer);
	http_dial_resume(transfer);
}

int http_dial_read(struct http *http)
{
	struct dial_answer answer;
	int fd, r;

	while ((r = dial_receive(http->dialer_fd, &answer, &fd)) > 0)
		take_answer(http, &answer, fd);
	return r == -EAGAIN ? 0 : -EPIPE;
}
