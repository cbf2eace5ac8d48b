/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table of names, and a thread for each that is being looked up. */
#include "fetchd/names.h"

#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	NAMES_MAX = 512,
	UNNAMED_MAX = 128, /* each may keep a thread for as long as its name servers are silent */
	GOOD_MS = 3600 * 1000,
	STACK_BYTES = 256 * 1024,
	NAME_SIZE = 256,
};

struct name {
	char host[NAME_SIZE];
	struct names_result last; /* n > 0: good_ms is when that was so */
	int64_t good_ms, used_ms;
	unsigned int waiting; /* who must find it here again */
	uint64_t round;	      /* of lookups that ended */
	int error;	      /* of the last round */
	bool looking, named;
	struct name *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct name *names; /* under lock */
static unsigned int n_names, n_unnamed;

static void make_condition(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ended, &attr);
	pthread_condattr_destroy(&attr);
}

static void take_addresses(const struct addrinfo *list, struct names_result *out)
{
	for (; list && out->n < NAMES_ADDRESSES_MAX; list = list->ai_next) {
		if ((list->ai_family != AF_INET && list->ai_family != AF_INET6) ||
		    list->ai_addrlen > sizeof(out->addresses[0]))
			continue;
		memcpy(&out->addresses[out->n++], list->ai_addr, list->ai_addrlen);
	}
}

static int look_up(const char *host, struct names_result *out)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(host, NULL, &hints, &list);

	memset(out, 0, sizeof(*out));
	if (!r)
		take_addresses(list, out);
	if (list)
		freeaddrinfo(list);
	if (out->n)
		return 0;
	snprintf(out->problem, sizeof(out->problem), "%s",
		 r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r ? r : EAI_NONAME));
	return r == EAI_AGAIN || r == EAI_SYSTEM ? -ETIMEDOUT : -ENOENT;
}

static void *look_up_thread(void *argument)
{
	struct name *name = argument;
	struct names_result *result = malloc(sizeof(*result));
	int r = result ? look_up(name->host, result) : -ENOMEM;

	pthread_mutex_lock(&lock);
	if (!r) {
		name->last = *result;
		name->good_ms = now_ms();
	} else if (result && !name->last.n) {
		name->last = *result;
	}
	name->error = r;
	name->round++;
	name->looking = false;
	name->waiting--;
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&lock);
	free(result);
	return NULL;
}

/* Under lock: in the background. */
static int begin_look_up(struct name *name)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (name->looking)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, look_up_thread, name);
	pthread_attr_destroy(&attr);
	if (r)
		return -EAGAIN;
	name->looking = true;
	name->waiting++;
	return 0;
}

/* What goes first: what nobody named, what has no good address, what was not used for long. */
static bool goes_before(const struct name *a, const struct name *b)
{
	if (a->named != b->named)
		return b->named;
	if (!a->last.n != !b->last.n)
		return !a->last.n;
	return a->used_ms < b->used_ms;
}

/* Under lock: one that nobody waits for. @named: else only one that is not. */
static void forget_one(bool named)
{
	struct name **first = NULL, *name;

	for (struct name **p = &names; *p; p = &(*p)->next) {
		if (!(*p)->waiting && (named || !(*p)->named) &&
		    (!first || goes_before(*p, *first)))
			first = p;
	}
	if (!first)
		return;
	name = *first;
	*first = name->next;
	n_names--;
	n_unnamed -= !name->named;
	free(name);
}

static bool is_full(bool named)
{
	return n_names >= NAMES_MAX || (!named && n_unnamed >= UNNAMED_MAX);
}

/* Under lock. NULL: there are too many. */
static struct name *find_or_add(const char *host, bool named)
{
	struct name *name = names;

	while (name && strcmp(name->host, host) != 0)
		name = name->next;
	if (name) {
		n_unnamed -= named && !name->named;
		name->named = name->named || named;
		return name;
	}
	if (is_full(named))
		forget_one(named);
	name = !is_full(named) ? calloc(1, sizeof(*name)) : NULL;
	if (!name)
		return NULL;
	snprintf(name->host, sizeof(name->host), "%s", host);
	name->named = named;
	name->next = names;
	names = name;
	n_names++;
	n_unnamed += !named;
	return name;
}

/* Under lock, which it gives up meanwhile. */
static void wait_for_round(const struct name *name, uint64_t round, int64_t until_ms)
{
	const struct timespec until = { until_ms / 1000, until_ms % 1000 * 1000000 };

	while (name->round == round && now_ms() < until_ms)
		pthread_cond_timedwait(&ended, &lock, &until);
}

/* Under lock. */
static int resolve(struct name *name, int64_t deadline_ms, struct names_result *out)
{
	int64_t patience_ms = now_ms() + NAMES_PATIENCE_MS;
	uint64_t round = name->round;
	bool was_good = name->last.n && now_ms() - name->good_ms < GOOD_MS;
	int r = begin_look_up(name);

	if (r)
		return r;
	wait_for_round(name, round,
		       was_good && patience_ms < deadline_ms ? patience_ms : deadline_ms);
	*out = name->last;
	if (out->n && now_ms() - name->good_ms < GOOD_MS)
		return 0;
	out->n = 0;
	if (name->round != round)
		return name->error;
	snprintf(out->problem, sizeof(out->problem), "the name servers do not answer");
	return -ETIMEDOUT;
}

int names_resolve(const char *host, bool named, int64_t deadline_ms, struct names_result *out)
{
	struct name *name;
	int r = -EAGAIN;

	memset(out, 0, sizeof(*out));
	snprintf(out->problem, sizeof(out->problem), "too many names are being looked up");
	pthread_once(&once, make_condition);
	pthread_mutex_lock(&lock);
	name = find_or_add(host, named);
	if (name) {
		name->used_ms = now_ms();
		name->waiting++;
		r = resolve(name, deadline_ms, out);
		name->waiting--;
	}
	pthread_mutex_unlock(&lock);
	return r;
}
