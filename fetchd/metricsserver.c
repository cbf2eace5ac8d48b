/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the socket, its few connections, and the text. One request a connection. Loop thread. */
#include "config.h"

#include "fetchd/metricsserver.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CLIENTS_MAX = 16, HEAD_MAX = 8192, TIMEOUT_S = 10 };

struct metricsserver {
	struct supervisor *supervisor;		  /* borrowed */
	struct evconnlistener *listener;	  /* owned */
	char *path;				  /* owned */
	struct bufferevent *clients[CLIENTS_MAX]; /* owned; NULL: free */
};

/* ---- the text ---- */

static void put(struct evbuffer *out, const char *name, const char *type, const char *help,
		double value)
{
	evbuffer_add_printf(out,
			    "# HELP intinode_fetchd_%s %s\n# TYPE intinode_fetchd_%s %s\n"
			    "intinode_fetchd_%s %.16g\n",
			    name, help, name, type, name, value);
}

/* Takes over @list. */
static double length(json_t *list)
{
	double n = (double)json_array_size(list);

	json_decref(list);
	return n;
}

static void put_cache(struct evbuffer *out, const struct supervisor *sv)
{
	static const struct {
		const char *key, *name, *type, *help;
	} numbers[] = {
		{ "files", "cache_files", "gauge", "Files in the cache." },
		{ "bytes", "cache_bytes", "gauge", "What they take, in whole blocks." },
		{ "max_bytes", "cache_max_bytes", "gauge", "What they may take." },
		{ "free_bytes", "cache_free_bytes", "gauge", "Free on its file system." },
		{ "evicted_files", "evicted_files_total", "counter", "Files evicted." },
		{ "evicted_bytes", "evicted_bytes_total", "counter", "What these took." },
	};
	cleanup_json json_t *cache = space_describe(sv->space), *scrub = scrub_describe(sv->scrub);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		const json_t *value = json_object_get(cache, numbers[i].key);

		if (json_is_integer(value))
			put(out, numbers[i].name, numbers[i].type, numbers[i].help,
			    (double)json_integer_value(value));
	}
	if (!json_is_object(scrub))
		return;
	put(out, "scrubbed_files_total", "counter", "Files that the scrub has hashed.",
	    (double)json_integer_value(json_object_get(scrub, "files")));
	put(out, "scrub_bad_total", "counter", "Of these, damaged.",
	    (double)json_integer_value(json_object_get(scrub, "bad")));
}

static void put_all(struct evbuffer *out, const struct supervisor *sv)
{
	struct fetch_totals totals;

	fetch_totals(sv->fetches, &totals);
	put(out, "up_seconds", "gauge", "Since the start.",
	    (double)(now_ms() - sv->started_ms) / 1000);
	put(out, "fetched_files_total", "counter", "Files fetched and published.",
	    (double)totals.files);
	put(out, "fetched_bytes_total", "counter", "Bytes of these.", (double)totals.bytes);
	put(out, "wire_bytes_total", "counter", "Bytes received, as encoded.",
	    (double)workerlink_wire_bytes(sv->link));
	put(out, "failed_fetches_total", "counter", "Files that could not be had.",
	    (double)totals.errors);
	put(out, "waiting", "gauge", "Files that are being fetched, or wait for their turn.",
	    length(fetch_describe(sv->fetches)));
	put(out, "failing_hosts", "gauge", "Hosts that failed last.",
	    length(fetch_hosts(sv->fetches)));
	put(out, "suspects", "gauge", "Files that a network worker may have died of.",
	    length(fetch_suspects(sv->fetches)));
	put(out, "mounts", "gauge", "Mounts.", length(mounts_describe(sv->mounts)));
	put_cache(out, sv);
}

/* ---- HTTP ---- */

static void drop(struct metricsserver *server, const struct bufferevent *stream)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct bufferevent *client = server->clients[i];

		if (client != stream)
			continue;
		server->clients[i] = NULL;
		bufferevent_free(client);
	}
}

static void answer(struct metricsserver *server, struct bufferevent *stream, const char *line)
{
	struct evbuffer *out = bufferevent_get_output(stream), *body = evbuffer_new();
	bool known = !strncmp(line, "GET /metrics ", 13) || !strncmp(line, "GET /metrics?", 13);

	if (!body) {
		drop(server, stream);
		return;
	}
	if (known)
		put_all(body, server->supervisor);
	else
		evbuffer_add_printf(body, "there is only GET /metrics\n");
	evbuffer_add_printf(out,
			    "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\n"
			    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
			    known ? "200 OK" : "404 Not Found", evbuffer_get_length(body));
	evbuffer_add_buffer(out, body);
	evbuffer_free(body);
	bufferevent_disable(stream, EV_READ);
	bufferevent_enable(stream, EV_WRITE);
}

/* The whole head is there when an empty line is. */
static void on_read(struct bufferevent *stream, void *context)
{
	struct evbuffer *in = bufferevent_get_input(stream);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	cleanup_free char *line = NULL;

	if (end.pos < 0) {
		if (evbuffer_get_length(in) >= HEAD_MAX)
			drop(context, stream);
		return;
	}
	line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF);
	answer(context, stream, line ? line : "");
}

/* All is sent: nothing else comes. */
static void on_write(struct bufferevent *stream, void *context)
{
	drop(context, stream);
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
	(void)what;
	drop(context, stream);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int len, void *context)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	struct metricsserver *server = context;
	size_t i = 0;

	(void)listener;
	(void)address;
	(void)len;
	while (i < CLIENTS_MAX && server->clients[i])
		i++;
	if (i < CLIENTS_MAX)
		server->clients[i] =
			bufferevent_socket_new(server->supervisor->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (i == CLIENTS_MAX || !server->clients[i]) {
		close(fd);
		return;
	}
	bufferevent_setcb(server->clients[i], on_read, on_write, on_event, server);
	bufferevent_set_timeouts(server->clients[i], &timeout, &timeout);
	bufferevent_setwatermark(server->clients[i], EV_READ, 0, HEAD_MAX);
	/* What can be written says that all is sent: not before there is something. */
	bufferevent_disable(server->clients[i], EV_WRITE);
	bufferevent_enable(server->clients[i], EV_READ);
}

int metricsserver_new(struct supervisor *supervisor, struct metricsserver **out,
		      struct problem *problem)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct metricsserver *server = calloc(1, sizeof(*server));
	int r = 0;

	if (!server)
		return -ENOMEM;
	server->supervisor = supervisor;
	server->path = format_text("%s/metrics.sock", supervisor->options.run);
	if (!server->path)
		r = -ENOMEM;
	else if (strlen(server->path) >= sizeof(address.sun_path))
		r = -ENAMETOOLONG;
	if (!r) {
		memcpy(address.sun_path, server->path, strlen(server->path));
		unlink(server->path);
		server->listener = evconnlistener_new_bind(
			supervisor->base, on_accept, server,
			LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, CLIENTS_MAX,
			(struct sockaddr *)&address, sizeof(address));
		if (!server->listener || chmod(server->path, 0666))
			r = errno ? -errno : -EIO;
	}
	if (r) {
		problem_set(problem, r, "metrics socket %s/metrics.sock: %s",
			    supervisor->options.run, strerror(-r));
		metricsserver_free(server);
		return r;
	}
	*out = server;
	return 0;
}

void metricsserver_free(struct metricsserver *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (server->clients[i])
			bufferevent_free(server->clients[i]);
	}
	if (server->listener) {
		evconnlistener_free(server->listener);
		unlink(server->path);
	}
	free(server->path);
	free(server);
}
