/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the table of connections. Entries are made and freed by the library's threads, their
 * state is set by the life of the request. A state only goes on by an exchange, and CUT is
 * final: so the watchdog never writes where an answer may already be on its way.
 */
#include "server/connections.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "server/connections-internal.h"

enum {
	DRAIN_GRACE_MS = 1000, /* for a request that is on its way */
	COUNT_AGE_MS = 20,
};

static void address_key(const struct sockaddr *address, unsigned char key[static 16])
{
	memset(key, 0, 16);
	if (!address)
		return;
	if (address->sa_family == AF_INET) {
		memcpy(key, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
		key[15] = 4;
	} else if (address->sa_family == AF_INET6) {
		const struct in6_addr *v6 =
			&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(v6)) {
			memcpy(key, v6->s6_addr + 12, 4);
			key[15] = 4;
		} else {
			memcpy(key, v6->s6_addr, 8);
			key[15] = 6;
		}
	}
}

static struct address **address_bucket(struct connections *connections, const unsigned char *key)
{
	uint32_t hash = 2166136261u;

	for (unsigned int i = 0; i < 16; i++)
		hash = (hash ^ key[i]) * 16777619u;
	return &connections->addresses[hash % ADDRESS_BUCKETS];
}

/* One more from this address; NULL for no memory. */
static struct address *address_take(struct connections *connections, const struct sockaddr *from,
				    unsigned int *n)
{
	struct address *address, **bucket;
	unsigned char key[16];

	address_key(from, key);
	bucket = address_bucket(connections, key);
	pthread_mutex_lock(&connections->address_lock);
	for (address = *bucket; address && memcmp(address->key, key, 16);)
		address = address->next;
	if (!address && (address = calloc(1, sizeof(*address)))) {
		memcpy(address->key, key, 16);
		address->next = *bucket;
		*bucket = address;
	}
	*n = address ? ++address->n : 0;
	pthread_mutex_unlock(&connections->address_lock);
	return address;
}

static void address_release(struct connections *connections, struct address *address)
{
	struct address **link;

	if (!address)
		return;
	pthread_mutex_lock(&connections->address_lock);
	if (--address->n == 0) {
		link = address_bucket(connections, address->key);
		while (*link != address)
			link = &(*link)->next;
		*link = address->next;
		free(address);
	}
	pthread_mutex_unlock(&connections->address_lock);
}

void connection_cork(struct connection *connection, bool on)
{
	const int value = on;

	if (!connection || connection->encrypted || connection->corked == on)
		return;
	connection->corked = on;
	/* Where it cannot be done, packets are smaller, no more. */
	setsockopt(connection->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}

void connection_push(struct connection *connection)
{
	static const int on = 1;

	/* Also where it is set already (tcp(7)); one call instead of two that end and begin
	 * corking. */
	if (connection && connection->corked)
		setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void connection_address(const struct connection *connection, unsigned char key[static 16])
{
	memset(key, 0, 16);
	if (connection && connection->address)
		memcpy(key, connection->address->key, 16);
}

static enum connection_verdict judge(struct connections *connections, unsigned int n_address)
{
	uint64_t total = connections->total, per_address = connections->per_address;

	if (connections->n > total)
		return CONNECTION_OVER_TOTAL;
	if (n_address > (per_address ? per_address : total / 2))
		return CONNECTION_OVER_ADDRESS;
	return CONNECTION_WELCOME;
}

bool connections_is_near_limit(struct connections *connections)
{
	uint64_t total = connections->total;

	return connections->n > total - total / 16;
}

static void wake_watchdog(struct connections *connections)
{
	pthread_mutex_lock(&connections->watchdog.lock);
	connections->full = true;
	background_wake(&connections->watchdog);
	pthread_mutex_unlock(&connections->watchdog.lock);
}

static struct connection *add(struct connections *connections, struct MHD_Connection *handle)
{
	const union MHD_ConnectionInfo *from =
		MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *new = fd ? calloc(1, sizeof(*new)) : NULL;
	unsigned int n_address;

	if (!new)
		return NULL;
	new->connections = connections;
	new->fd = fd->connect_fd;
	new->encrypted = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_PROTOCOL) != NULL;
	new->start_ms = new->since_ms = new->window_ms = now_ms();
	new->address = address_take(connections, from ? from->client_addr : NULL, &n_address);
	connections->n++;
	new->verdict = judge(connections, n_address);
	new->shard = &connections->shards[(unsigned int)new->fd % CONNECTION_SHARDS];
	pthread_mutex_lock(&new->shard->lock);
	new->next = new->shard->first;
	new->link = &new->shard->first;
	if (new->next)
		new->next->link = &new->next;
	new->shard->first = new;
	pthread_mutex_unlock(&new->shard->lock);
	if (connections_is_near_limit(connections))
		wake_watchdog(connections);
	return new;
}

static void drop(struct connections *connections, struct connection *connection)
{
	struct shard *shard = connection->shard;

	pthread_mutex_lock(&shard->lock);
	*connection->link = connection->next;
	if (connection->next)
		connection->next->link = connection->link;
	pthread_mutex_unlock(&shard->lock);
	address_release(connections, connection->address);
	free(connection);
	connections->n--;
}

void connections_notify(void *cls, struct MHD_Connection *connection, void **context,
			enum MHD_ConnectionNotificationCode what)
{
	struct connections *connections = cls;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = add(connections, connection);
		connections->begun++;
	} else if (*context) {
		drop(connections, steal_ptr(*context));
	}
}

struct connection *connections_find(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

bool connection_set_state(struct connection *connection, enum connection_state state)
{
	int old;

	if (!connection)
		return true;
	old = connection->state;
	do {
		if (old == CONNECTION_CUT)
			return false;
		connection->changes++; /* before: who sees the new state sees that it changed */
	} while (!atomic_compare_exchange_weak(&connection->state, &old, (int)state));
	return true;
}

enum connection_verdict connection_verdict(const struct connection *connection)
{
	if (!connection)
		return CONNECTION_WELCOME;
	/* It was one too many when it came; has room been made since? */
	if (connection->verdict == CONNECTION_OVER_TOTAL &&
	    connection->connections->n <= connection->connections->total)
		return CONNECTION_WELCOME;
	return connection->verdict;
}

bool connection_waits(const struct connection *connection)
{
	int unread = 0;

	return ioctl(connection->fd, SIOCINQ, &unread) == 0 && unread == 0;
}

bool connection_cut(struct connection *connection, enum connection_state state, const char *answer)
{
	int expected = (int)state;

	if (!atomic_compare_exchange_strong(&connection->state, &expected, CONNECTION_CUT))
		return false;
	if (answer && !connection->encrypted) /* as much of it as goes at once */
		(void)!send(connection->fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(connection->fd, SHUT_RDWR);
	return true;
}

unsigned int connections_now(const struct connections *connections)
{
	return connections->n;
}

uint64_t connections_begun(const struct connections *connections)
{
	return connections->begun;
}

unsigned int connections_drain(struct connections *connections)
{
	int64_t now = now_ms();

	for (unsigned int i = 0; i < CONNECTION_SHARDS; i++) {
		struct shard *shard = &connections->shards[i];

		pthread_mutex_lock(&shard->lock);
		for (struct connection *c = shard->first; c; c = c->next) {
			int state = c->state;
			bool fresh = now - (state == CONNECTION_NEW ? c->start_ms : c->since_ms) <
				     DRAIN_GRACE_MS;

			if (state == CONNECTION_IDLE ||
			    ((state == CONNECTION_NEW || state == CONNECTION_HEADER) && !fresh)) {
				if (connection_waits(c))
					connection_cut(c, (enum connection_state)state, NULL);
			}
		}
		pthread_mutex_unlock(&shard->lock);
	}
	return connections->n;
}

static void count_states(struct connections *connections)
{
	uint64_t states[CONNECTION_STATES] = { 0 };

	for (unsigned int i = 0; i < CONNECTION_SHARDS; i++) {
		struct shard *shard = &connections->shards[i];

		pthread_mutex_lock(&shard->lock);
		for (struct connection *c = shard->first; c; c = c->next) {
			int state = c->state; /* gcc reads an index of an array not atomically */

			states[state]++;
		}
		pthread_mutex_unlock(&shard->lock);
	}
	for (unsigned int i = 0; i < CONNECTION_STATES; i++)
		connections->states[i] = states[i];
}

uint64_t connections_count(struct connections *connections, enum connection_state state)
{
	int64_t before = connections->counted_ms, now = now_ms();

	/* Who asks for one of them asks for all, one by one: they are counted once. */
	if (now - before > COUNT_AGE_MS &&
	    atomic_compare_exchange_strong(&connections->counted_ms, &before, now))
		count_states(connections);
	return connections->states[state];
}

uint64_t connections_cuts(const struct connections *connections, enum connection_cut why)
{
	return connections->cuts[why];
}

bool connection_is_cut(const struct connection *connection)
{
	return connection && connection->state == CONNECTION_CUT;
}

void connections_count_refused(struct connection *connection)
{
	connection->connections->refused++;
}

uint64_t connections_refused(struct connections *connections)
{
	return connections->refused;
}

void connections_set_limits(struct connections *connections, const struct connection_limits *limits)
{
	connections->total = limits->total;
	connections->per_address = limits->per_address;
	connections->header_timeout_s = limits->header_timeout_s;
	connections->min_rate = limits->min_rate;
	connections->rate_window_s = limits->rate_window_s;
}

int connections_new(const struct connection_limits *limits, struct connections **out)
{
	struct connections *connections = calloc(1, sizeof(*connections));
	int r;

	if (!connections)
		return -ENOMEM;
	connections_set_limits(connections, limits);
	for (unsigned int i = 0; i < CONNECTION_SHARDS; i++)
		pthread_mutex_init(&connections->shards[i].lock, NULL);
	pthread_mutex_init(&connections->address_lock, NULL);
	r = watchdog_start(connections);
	if (r) {
		free(connections);
		return r;
	}
	*out = connections;
	return 0;
}

void connections_free(struct connections *connections)
{
	if (!connections)
		return;
	watchdog_stop(connections);
	for (unsigned int i = 0; i < CONNECTION_SHARDS; i++)
		pthread_mutex_destroy(&connections->shards[i].lock);
	pthread_mutex_destroy(&connections->address_lock);
	free(connections);
}
