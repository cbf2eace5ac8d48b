/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the control socket and its connections. Loop thread. */
#include "config.h"

#include "fetchd/controlserver-internal.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/control.h"
#include "lib/stub.h"

enum { CLIENTS_MAX = 8192, ACCEPT_PAUSE_US = 100 * 1000 };

static void client_free(struct client *client)
{
	fetch_unwait(client->server->supervisor->fetches, &client->waiter);
	*client->prev = client->next;
	if (client->next)
		client->next->prev = client->prev;
	client->server->n_clients--;
	if (client->server->evicts == client)
		client->server->evicts = NULL;
	if (client->server->discards == client)
		client->server->discards = NULL;
	batch_end(client->batch);
	free(client->to_pin.digests);
	event_free(client->timer);
	bufferevent_free(client->stream);
	free(client);
}

/* In the loop's next turn: maybe amid something that must not be asked more now. */
void control_resume(struct client *client)
{
	client->waiting = false;
	bufferevent_trigger(client->stream, EV_READ,
			    BEV_TRIG_DEFER_CALLBACKS | BEV_TRIG_IGNORE_WATERMARKS);
}

/* Takes over @answer. */
void control_reply(struct client *client, json_t *answer)
{
	cleanup_json json_t *owned = answer;
	cleanup_free char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
	struct evbuffer *output = bufferevent_get_output(client->stream);

	if (text)
		evbuffer_add_printf(output, "%s\n", text);
	else
		evbuffer_add_printf(output, "{\"ok\":false,\"error\":\"ENOMEM\"}\n");
}

void control_reply_error(struct client *client, int error, const char *text)
{
	control_reply(client,
		      json_pack("{s:b, s:s, s:s}", "ok", 0, "error", control_errno_name(error),
				"problem", text && *text ? text : strerror(-error)));
}

static void op_ping(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;

	(void)request;
	control_reply(client,
		      json_pack("{s:b, s:s, s:i, s:s, s:s, s:s, s:I}", "ok", 1, "version",
				PACKAGE_VERSION, "pid", (int)getpid(), "cache", sv->options.cache,
				"state", sv->options.state, "run", sv->options.run, "deadline_ms",
				(json_int_t)sv->options.deadline_s * 1000));
}

/* Nothing that kill(2) takes for something else, where there is no such process. */
static json_t *pid_json(pid_t pid)
{
	return pid > 0 ? json_integer(pid) : json_null();
}

/* Until the first walk has ended, what was there at the start is known from another look. */
static json_t *cache_json(const struct supervisor *sv, const struct fetch_totals *totals)
{
	uint64_t files = sv->usage.files + totals->files, bytes = sv->usage.bytes + totals->bytes;
	json_t *cache = space_describe(sv->space);

	if (!cache)
		return NULL;
	json_object_set_new(cache, "path", json_string(sv->options.cache));
	json_object_set_new(cache, "scrub", scrub_describe(sv->scrub));
	if (json_is_true(json_object_get(cache, "walking"))) {
		json_object_set_new(cache, "files", json_integer((json_int_t)files));
		json_object_set_new(cache, "bytes", json_integer((json_int_t)bytes));
	}
	return cache;
}

static void op_status(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	struct fetch_totals totals;

	(void)request;
	fetch_totals(sv->fetches, &totals);
	control_reply(client,
		      json_pack("{s:b, s:s, s:i, s:o, s:I, s:o, s:{s:I, s:I, s:I, s:I}, s:o, "
				"s:o, s:o, s:o, s:o, s:s, s:s}",
				"ok", 1, "version", PACKAGE_VERSION, "pid", (int)getpid(),
				"worker_pid", pid_json(workerlink_pid(sv->link)), "uptime_ms",
				(json_int_t)(now_ms() - sv->started_ms), "cache",
				cache_json(sv, &totals), "fetched", "files",
				(json_int_t)totals.files, "bytes", (json_int_t)totals.bytes,
				"wire_bytes", (json_int_t)workerlink_wire_bytes(sv->link), "errors",
				(json_int_t)totals.errors, "waiting", fetch_describe(sv->fetches),
				"mounts", mounts_describe(sv->mounts), "failing",
				fetch_hosts(sv->fetches), "suspects", fetch_suspects(sv->fetches),
				"suspect_worker_pid", pid_json(fetch_apart_pid(sv->fetches)),
				"state", sv->options.state, "run", sv->options.run));
}

static void op_mounts(struct client *client, const json_t *request)
{
	(void)request;
	control_reply(client, json_pack("{s:b, s:o}", "ok", 1, "mounts",
					mounts_describe(client->server->supervisor->mounts)));
}

static void op_register(struct client *client, const json_t *request)
{
	struct problem problem = { "" };
	const char *miss_path = NULL;
	bool is_new = false;
	int r = mounts_register(client->server->supervisor->mounts,
				json_object_get(request, "mount"), &miss_path, &is_new, &problem);

	if (r)
		control_reply_error(client, r, problem_text(&problem, r));
	else
		control_reply(client, json_pack("{s:b, s:s*, s:b}", "ok", 1, "miss", miss_path,
						"new", is_new));
}

static void op_unregister(struct client *client, const json_t *request)
{
	struct problem problem = { "" };
	int r = mounts_unregister(client->server->supervisor->mounts,
				  json_get_string(request, "id"), &problem);

	if (r)
		control_reply_error(client, r, problem_text(&problem, r));
	else
		control_reply(client, json_pack("{s:b}", "ok", 1));
}

static void fetch_ended(struct client *client, int error, const char *problem)
{
	bool waited = client->waiting;

	event_del(client->timer);
	if (!error)
		control_reply(client, json_pack("{s:b}", "ok", 1));
	else
		control_reply_error(client, error == -ENOSPC || error == -ETIMEDOUT ? error : -EIO,
				    problem);
	if (waited)
		control_resume(client);
}

static void on_fetched(struct fetch_waiter *waiter, int error, const char *problem)
{
	fetch_ended(container_of(waiter, struct client, waiter), error, problem);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	struct client *client = context;

	(void)fd;
	(void)what;
	fetch_unwait(client->server->supervisor->fetches, &client->waiter);
	fetch_ended(client, -ETIMEDOUT, "it was not there at the deadline");
}

int control_sources(struct client *client, const json_t *request, const struct digest *digest,
		    struct source_list *sources, struct problem *problem)
{
	const struct supervisor *sv = client->server->supervisor;
	const char *mount = json_get_string(request, "mount");
	const char *source = json_get_string(request, "source");
	const json_t *urls = json_object_get(request, "urls");
	int r = 0;

	if (mount && *mount && digest) {
		r = mounts_sources(sv->mounts, mount, digest, sources);
		if (r == -ENOENT)
			r = 0;
	}
	/* Who may use this socket may name one. */
	if (!r && source)
		r = source_add_reference(sources, source, &sv->options, problem);
	for (size_t i = 0; !r && digest && i < json_array_size(urls); i++) {
		const json_t *url = json_array_get(urls, i);

		if (json_is_string(url))
			r = source_add_hint(sources, json_string_value(url), digest, &sv->options);
	}
	return r;
}

static void op_fetch(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	const char *text = json_get_string(request, "digest");
	struct source_list sources = { .n = 0 };
	struct problem problem = { "" };
	uint64_t size_bytes, timeout_ms;
	struct digest digest;
	struct timeval tv;
	int r;

	if (!text || digest_parse(text, strlen(text), &digest) ||
	    json_get_size(request, "size", &size_bytes)) {
		control_reply_error(client, -EINVAL, "\"digest\" and \"size\" are needed");
		return;
	}
	if (json_get_size(request, "timeout_ms", &timeout_ms) || timeout_ms > 86400 * 1000)
		timeout_ms = sv->options.deadline_s * 1000;
	r = control_sources(client, request, &digest, &sources, &problem);
	client->waiter.done = on_fetched;
	if (!r)
		r = fetch_wait(sv->fetches, &digest, size_bytes, &sources,
			       now_ms() + (int64_t)timeout_ms, &client->waiter);
	source_list_clear(&sources);
	if (r) {
		fetch_ended(client, r > 0 ? 0 : r, problem.text);
		return;
	}
	client->waiting = true;
	tv.tv_sec = (time_t)(timeout_ms / 1000);
	tv.tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000);
	evtimer_add(client->timer, &tv);
}

static void op_why(struct client *client, const json_t *request)
{
	const struct supervisor *sv = client->server->supervisor;
	const char *text = json_get_string(request, "digest");
	cleanup_close int fd = -1;
	struct digest digest;

	if (!text || digest_parse(text, strlen(text), &digest) ||
	    digest.algorithm != DIGEST_SHA256) {
		control_reply_error(client, -EINVAL, "digest: sha256:HEX");
		return;
	}
	fd = cache_open_blob(sv->cache, &digest);
	control_reply(client,
		      json_pack("{s:b, s:s, s:b, s:I, s:o}", "ok", 1, "digest", text, "cached",
				fd >= 0, "uptime_ms", (json_int_t)(now_ms() - sv->started_ms),
				"events", fetch_history(sv->fetches, &digest)));
}

static const struct {
	const char *name;
	void (*run)(struct client *client, const json_t *request);
} operations[] = {
	{ "ping", op_ping },
	{ "status", op_status },
	{ "mounts", op_mounts },
	{ "register", op_register },
	{ "unregister", op_unregister },
	{ "fetch", op_fetch },
	{ "why", op_why },
	{ "evict", control_evict },
	{ "discard", control_discard },
	{ "prefetch", control_prefetch },
	{ "pin", control_pin },
	{ "unpin", control_unpin },
	{ "pins", control_pins },
};

static void dispatch(struct client *client, const char *line, size_t len)
{
	cleanup_json json_t *request = NULL;
	struct problem problem = { "" };
	const char *name;
	int r = json_parse(line, len, &request, &problem);

	if (r) {
		control_reply_error(client, -EINVAL, problem_text(&problem, r));
		return;
	}
	name = json_get_string(request, "op") ?: "";
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (!strcmp(operations[i].name, name)) {
			operations[i].run(client, request);
			return;
		}
	}
	control_reply_error(client, -EINVAL, "unknown \"op\"; see lib/control.h");
}

static void on_read(struct bufferevent *stream, void *context)
{
	struct evbuffer *input = bufferevent_get_input(stream);
	struct client *client = context;

	while (!client->waiting) {
		size_t len;
		cleanup_free char *line = evbuffer_readln(input, &len, EVBUFFER_EOL_LF);

		if (!line)
			break;
		dispatch(client, line, len);
	}
	if (evbuffer_get_length(input) >= CONTROL_LINE_MAX)
		client_free(client);
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
	(void)stream;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		client_free(context);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int len, void *context)
{
	struct controlserver *server = context;
	struct event_base *base = server->supervisor->base;
	struct client *client;

	(void)listener;
	(void)address;
	(void)len;
	client = server->n_clients < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	client->server = server;
	client->stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	client->timer = evtimer_new(base, on_deadline, client);
	if (!client->stream || !client->timer) {
		if (client->stream)
			bufferevent_free(client->stream);
		else
			close(fd);
		if (client->timer)
			event_free(client->timer);
		free(client);
		return;
	}
	client->next = server->clients;
	client->prev = &server->clients;
	if (client->next)
		client->next->prev = &client->next;
	server->clients = client;
	server->n_clients++;
	bufferevent_setcb(client->stream, on_read, NULL, on_event, client);
	bufferevent_setwatermark(client->stream, EV_READ, 0, CONTROL_LINE_MAX);
	bufferevent_enable(client->stream, EV_READ | EV_WRITE);
}

/* Out of descriptors, most likely: listening on would only spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
	const struct timeval wait = { .tv_usec = ACCEPT_PAUSE_US };
	struct controlserver *server = context;

	if (!evtimer_pending(server->pause, NULL))
		log_warning("control socket: %s; no new connection for a while", strerror(errno));
	evconnlistener_disable(listener);
	evtimer_add(server->pause, &wait);
}

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
	struct controlserver *server = context;

	(void)fd;
	(void)what;
	evconnlistener_enable(server->listener);
}

int controlserver_new(struct supervisor *supervisor, struct controlserver **out,
		      struct problem *problem)
{
	const char *path = supervisor->options.socket;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct controlserver *server;
	mode_t old;

	if (strlen(path) >= sizeof(address.sun_path))
		return problem_set(
			problem, -ENAMETOOLONG,
			"%s: a socket's path has at most %zu bytes; choose a shorter --run", path,
			sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->supervisor = supervisor;
	unlink(path);
	old = umask(0177);
	server->listener = evconnlistener_new_bind(supervisor->base, on_accept, server,
						   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
						   1024, (struct sockaddr *)&address,
						   sizeof(address));
	umask(old);
	server->pause = evtimer_new(supervisor->base, on_pause_over, server);
	if (!server->listener || !server->pause) {
		int r = errno ? -errno : -EIO;

		if (server->listener)
			evconnlistener_free(server->listener);
		if (server->pause)
			event_free(server->pause);
		free(server);
		return problem_set(problem, r, "control socket %s: %s", path, strerror(-r));
	}
	evconnlistener_set_error_cb(server->listener, on_accept_error);
	*out = server;
	return 0;
}

void controlserver_free(struct controlserver *server)
{
	if (!server)
		return;
	unlink(server->supervisor->options.socket);
	while (server->clients)
		client_free(server->clients);
	evconnlistener_free(server->listener);
	event_free(server->pause);
	free(server);
}
