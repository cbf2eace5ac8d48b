/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the thread that looks at every connection once a second, and more often when there are
 * nearly too many. What a client sent and took is asked of the kernel, so that it counts the
 * same with and without encryption, and that our own slowness is never held against a client:
 * only who is waited for can be slow.
 */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/log.h"
#include "server/connections-internal.h"

enum {
	LOOK_MS = 1000,
	LOOK_FULL_MS = 50,  /* between two looks that make room */
	ANSWER_WINDOWS = 3, /* for one who takes an answer slowly */
	AGES = 120,	    /* of AGE_MS; older ones count as that old */
	AGE_MS = 250,
	SLOW_FACTOR = 8, /* near the limit, this many times the minimum rate is slow */
	LOG_LINES_A_LOOK = 8,
};

#define ANSWER(status_, code_, text_, length_)                                  \
	"HTTP/1.1 " status_ "\r\nConnection: close\r\nRetry-After: 1\r\n"       \
	"Content-Type: application/json\r\nContent-Length: " length_ "\r\n\r\n" \
	"{\"errors\":[{\"code\":\"" code_ "\",\"message\":\"" text_ "\",\"detail\":null}]}"

static const char answer_slow[] =
	ANSWER("408 Request Timeout", "TOOMANYREQUESTS", "the request came too slowly", "93");
static const char answer_full[] =
	ANSWER("503 Service Unavailable", "UNAVAILABLE", "too many connections, try again", "93");

static const char *const cut_text[CUT_REASONS] = {
	[CUT_HEADER] = "the head of its request came too slowly",
	[CUT_BODY] = "the body of its request came too slowly",
	[CUT_ANSWER] = "it took its answer too slowly",
	[CUT_FULL] = "there are nearly too many, and it did least",
};

/* One look at all connections. */
struct look {
	struct connections *connections;
	int64_t now;
	uint64_t header_ms, min_rate, window_ms;
	bool rules; /* a second has gone by */
	unsigned int n_cut;
	/* Who could make room, by age. */
	unsigned int ages[AGES];
	/* Then who is that old, so many of them, makes room. */
	unsigned int age, n_room;
};

static bool ask(const struct connection *connection, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

static uint64_t bytes_of(int state, const struct tcp_info *info)
{
	return state == CONNECTION_SENDING ? info->tcpi_bytes_acked : info->tcpi_bytes_received;
}

static void cut(struct look *look, struct connection *connection, int state,
		enum connection_cut why)
{
	const char *answer = state == CONNECTION_SENDING || state == CONNECTION_IDLE ? NULL
			     : why == CUT_FULL					     ? answer_full
										     : answer_slow;

	if (!connection_cut(connection, (enum connection_state)state, answer))
		return;
	look->connections->cuts[why]++;
	if (look->n_cut++ < LOG_LINES_A_LOOK)
		log_debug("connection %d closed: %s", connection->fd, cut_text[why]);
}

static bool is_unsent(const struct connection *connection)
{
	int unsent = 0;

	return ioctl(connection->fd, SIOCOUTQ, &unsent) == 0 && unsent > 0;
}

static void check_rate(struct look *look, struct connection *connection, int state, uint64_t bytes)
{
	int64_t window =
		(int64_t)look->window_ms * (state == CONNECTION_SENDING ? ANSWER_WINDOWS : 1);
	int64_t gone = look->now - connection->window_ms;
	bool waiting;

	if (!look->min_rate || gone < window)
		return;
	waiting = state == CONNECTION_SENDING ? is_unsent(connection)
					      : connection_waits(connection);
	if (waiting && bytes - connection->window_bytes < look->min_rate * (uint64_t)gone / 1000) {
		cut(look, connection, state, state == CONNECTION_SENDING ? CUT_ANSWER : CUT_BODY);
		return;
	}
	connection->window_ms = look->now;
	connection->window_bytes = bytes;
}

static void check(struct look *look, struct connection *connection)
{
	int state = connection->state;
	unsigned int changes = connection->changes;
	struct tcp_info info;
	uint64_t bytes;

	if (state == CONNECTION_WORKING || state == CONNECTION_CUT || !ask(connection, &info))
		return;
	bytes = bytes_of(state, &info);
	if (changes != connection->seen_changes) {
		connection->seen_changes = changes;
		connection->since_ms = connection->window_ms = look->now;
		connection->window_bytes = bytes;
		return;
	}
	if (state == CONNECTION_IDLE) {
		/* The head of the next request has begun. */
		if (bytes > connection->window_bytes &&
		    atomic_compare_exchange_strong(&connection->state, &state, CONNECTION_HEADER))
			connection->since_ms = look->now;
	} else if (state == CONNECTION_NEW || state == CONNECTION_HEADER) {
		if (look->now - connection->since_ms >= (int64_t)look->header_ms &&
		    connection_waits(connection))
			cut(look, connection, state, CUT_HEADER);
	} else {
		check_rate(look, connection, state, bytes);
	}
}

/* For how many AGE_MS has it been of no use? 0: it is busy. */
static unsigned int useless(const struct look *look, const struct connection *connection, int state)
{
	int64_t ms = look->now - connection->since_ms;
	struct tcp_info info;
	uint64_t bytes;

	if (connection->changes != connection->seen_changes || ms < AGE_MS ||
	    state == CONNECTION_WORKING || state == CONNECTION_CUT)
		return 0;
	if (state == CONNECTION_BODY || state == CONNECTION_SENDING) {
		int64_t window = look->now - connection->window_ms;

		if (!ask(connection, &info) || window < 1000)
			return 0;
		bytes = bytes_of(state, &info) - connection->window_bytes;
		if (bytes * 1000 / (uint64_t)window >= look->min_rate * SLOW_FACTOR ||
		    (state == CONNECTION_BODY && !connection_waits(connection)))
			return 0;
	}
	/* Who has more connections than his share is first. */
	if (connection->verdict == CONNECTION_OVER_ADDRESS)
		return AGES - 1;
	return ms / AGE_MS < AGES ? (unsigned int)(ms / AGE_MS) : AGES - 1;
}

static void count_age(struct look *look, struct connection *connection)
{
	look->ages[useless(look, connection, connection->state)]++;
}

static void make_room(struct look *look, struct connection *connection)
{
	int state = connection->state; /* that was judged is the one to be cut in */
	unsigned int age = look->n_room ? useless(look, connection, state) : 0;

	if (!age || age < look->age)
		return;
	look->n_room--;
	cut(look, connection, state, CUT_FULL);
}

static void each(struct look *look, void (*what)(struct look *look, struct connection *connection))
{
	for (unsigned int i = 0; i < CONNECTION_SHARDS; i++) {
		struct shard *shard = &look->connections->shards[i];

		pthread_mutex_lock(&shard->lock);
		for (struct connection *c = shard->first; c; c = c->next)
			what(look, c);
		pthread_mutex_unlock(&shard->lock);
	}
}

/* Down to seven eighths of the limit, oldest first. */
static void make_room_in(struct look *look)
{
	struct connections *connections = look->connections;
	uint64_t total = connections->total;
	unsigned int n = connections->n, older = 0;
	uint64_t wanted = total - total / 8;

	if (n <= wanted)
		return;
	look->n_room = n - (unsigned int)wanted;
	each(look, count_age);
	for (look->age = AGES - 1; look->age > 1; look->age--) {
		older += look->ages[look->age];
		if (older >= look->n_room)
			break;
	}
	each(look, make_room);
}

static void look_at_all(struct connections *connections, bool rules, bool full)
{
	struct look look = {
		.connections = connections,
		.now = now_ms(),
		.header_ms = connections->header_timeout_s * 1000,
		.min_rate = connections->min_rate,
		.window_ms = connections->rate_window_s * 1000,
	};

	if (rules)
		each(&look, check);
	if (full)
		make_room_in(&look);
	if (look.n_cut)
		log_info("%u connections closed that were too slow or did nothing", look.n_cut);
}

static void *watchdog_main(void *argument)
{
	struct connections *connections = argument;
	int64_t next_rules = now_ms() + LOOK_MS, next_room = 0;

	pthread_mutex_lock(&connections->watchdog.lock);
	while (!connections->watchdog.stop) {
		int64_t now = now_ms(), until = next_rules;
		bool rules, full;

		if (connections->full && next_room < until)
			until = next_room;
		if (now < until) {
			background_wait(&connections->watchdog, until);
			continue;
		}
		rules = now >= next_rules;
		full = connections->full || connections_is_near_limit(connections);
		connections->full = false;
		pthread_mutex_unlock(&connections->watchdog.lock);
		look_at_all(connections, rules, full);
		if (rules)
			next_rules = now_ms() + LOOK_MS;
		next_room = now_ms() + LOOK_FULL_MS;
		full = connections_is_near_limit(connections);
		pthread_mutex_lock(&connections->watchdog.lock);
		connections->full = connections->full || full;
	}
	pthread_mutex_unlock(&connections->watchdog.lock);
	return NULL;
}

int watchdog_start(struct connections *connections)
{
	return background_start(&connections->watchdog, watchdog_main, connections);
}

void watchdog_stop(struct connections *connections)
{
	background_stop(&connections->watchdog);
}
