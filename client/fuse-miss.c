/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the connections to fetchd and everybody who waits for them.
 *
 * One fetch per digest, with one connection, for however many openers. The loop looks at
 * every opener each TICK_MS, because that is what FUSE needs: the kernel reports the
 * first signal to a caller and no later one, so whether it is *dying* has to be watched.
 * Nobody waits, nobody ticks.
 *
 * fetchd may go away and come back: the connection is made again and the request sent
 * again until the last opener's deadline.
 *
 * The queue's own thread runs everything but miss_queue_add(), new and free.
 */
#include "client/fuse-miss.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lib/control.h"
#include "lib/digest.h"
#include "lib/log.h"

enum {
	TICK_MS = 50,	      /* a killed opener is gone after this at the latest */
	RETRY_MS = 100,	      /* between tries to reach a fetchd that is away */
	CONNECTIONS_MAX = 64, /* half of a usual listen() backlog; more fetches take turns */
	TIMEOUT_SLACK_MS = 250,
};

struct waiter {
	struct waiter *next;
	fuse_req_t req;	   /* owned until answered */
	struct node *node; /* borrowed: the request holds it */
	struct fuse_file_info fi;
	int64_t deadline_ms;
};

struct fetch {
	struct fetch *next;
	struct stub stub;	 /* of the first waiter */
	struct waiter *waiters;	 /* owned */
	struct control *control; /* owned; NULL: to be sent, at retry_at_ms */
	int64_t retry_at_ms;
	struct problem problem; /* why it is not done yet */
};

struct miss_queue {
	struct miss_options options;
	pthread_t thread;
	int wake_fd; /* owned */
	pthread_mutex_t lock;
	struct waiter *incoming; /* owned, under lock */
	unsigned int n_waiters;	 /* under lock */
	bool stopping;		 /* under lock */
	struct fetch *fetches;	 /* owned; queue thread only */
	unsigned int n_connections;
	int64_t away_until_ms; /* fetchd did not answer: no try before */
};

/* Is SIGKILL pending? That is also how a fatal signal of another kind looks here. */
static bool is_dying(pid_t tid)
{
	cleanup_fclose FILE *file = NULL;
	char line[256], path[64];

	/* 0: a caller in a PID namespace that we cannot see. Its deadline will end it. */
	if (tid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT;
	while (fgets(line, sizeof(line), file)) {
		if ((!strncmp(line, "SigPnd:", 7) || !strncmp(line, "ShdPnd:", 7)) &&
		    strtoull(line + 7, NULL, 16) & (1ULL << (SIGKILL - 1)))
			return true;
	}
	return false;
}

static void answer(struct miss_queue *queue, struct waiter *waiter, int error)
{
	queue->options.done(queue->options.context, waiter->req, waiter->node, &waiter->fi, error);
	pthread_mutex_lock(&queue->lock);
	queue->n_waiters--;
	pthread_mutex_unlock(&queue->lock);
	free(waiter);
}

static void disconnect(struct miss_queue *queue, struct fetch *fetch, int64_t retry_at_ms)
{
	if (fetch->control)
		queue->n_connections--;
	control_close(fetch->control);
	fetch->control = NULL;
	fetch->retry_at_ms = retry_at_ms;
}

static void log_failure(const struct fetch *fetch, const struct waiter *waiter, int error)
{
	cleanup_free char *path = node_path(waiter->node);
	char shown[512], digest_text[DIGEST_TEXT_SIZE];
	struct digest digest = { .algorithm = DIGEST_SHA256 };

	memcpy(digest.bytes, fetch->stub.sha256, sizeof(fetch->stub.sha256));
	log_warning("open of %s: %s, %" PRIu64 " bytes, cannot be had: %s",
		    path ? log_escape(shown, sizeof(shown), path, strlen(path)) : "a file",
		    digest_format(&digest, digest_text), fetch->stub.size_bytes,
		    problem_text(&fetch->problem, -error));
}

/* Answers those whose deadline is before @until_ms; of several in one fetch one is logged. */
static void fail_waiters(struct miss_queue *queue, struct fetch *fetch, int64_t until_ms, int error)
{
	struct waiter **p = &fetch->waiters;
	bool logged = false;

	while (*p) {
		struct waiter *waiter = *p;

		if (waiter->deadline_ms > until_ms) {
			p = &waiter->next;
			continue;
		}
		*p = waiter->next;
		if (!logged)
			log_failure(fetch, waiter, error);
		logged = true;
		answer(queue, waiter, error);
	}
}

static void drop_dying(struct miss_queue *queue, struct fetch *fetch)
{
	struct waiter **p = &fetch->waiters;

	while (*p) {
		struct waiter *waiter = *p;

		if (!fuse_req_interrupted(waiter->req) ||
		    !is_dying(fuse_req_ctx(waiter->req)->pid)) {
			p = &waiter->next;
			continue;
		}
		*p = waiter->next;
		answer(queue, waiter, EINTR);
	}
}

static json_t *request_new(const struct miss_queue *queue, const struct fetch *fetch)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	char digest_text[DIGEST_TEXT_SIZE];
	const char *url = fetch->stub.urls;
	int64_t left_ms = 1, now = now_ms();
	cleanup_json json_t *urls = json_array();
	json_t *request;

	memcpy(digest.bytes, fetch->stub.sha256, sizeof(fetch->stub.sha256));
	for (const struct waiter *w = fetch->waiters; w; w = w->next) {
		if (w->deadline_ms - now > left_ms)
			left_ms = w->deadline_ms - now;
	}
	for (unsigned int i = 0; i < fetch->stub.n_urls; i++, url += strlen(url) + 1) {
		if (json_array_append_new(urls, json_string(url)))
			return NULL;
	}
	request = json_pack("{s:s, s:s, s:I, s:O, s:I}", "op", "fetch", "digest",
			    digest_format(&digest, digest_text), "size",
			    (json_int_t)fetch->stub.size_bytes, "urls", urls, "timeout_ms",
			    (json_int_t)left_ms);
	if (request && queue->options.mount_id &&
	    json_object_set_new(request, "mount", json_string(queue->options.mount_id))) {
		json_decref(request);
		return NULL;
	}
	return request;
}

static void start_fetch(struct miss_queue *queue, struct fetch *fetch, int64_t now)
{
	cleanup_json json_t *request = request_new(queue, fetch);
	int r;

	if (!request) {
		fetch->retry_at_ms = now + RETRY_MS;
		return;
	}
	r = control_connect_async(queue->options.socket, &fetch->control, &fetch->problem);
	if (r == -EACCES || r == -EPERM) {
		fail_waiters(queue, fetch, INT64_MAX, EIO);
		return;
	}
	if (r) {
		fetch->control = NULL;
		queue->away_until_ms = now + RETRY_MS;
		return;
	}
	queue->n_connections++;
	r = control_send(fetch->control, request);
	if (r) {
		problem_set(&fetch->problem, r, "intinode-fetchd does not take requests: %s",
			    strerror(-r));
		disconnect(queue, fetch, now + RETRY_MS);
		return;
	}
	problem_set(&fetch->problem, 0, "no answer from intinode-fetchd before the deadline");
}

static void succeed(struct miss_queue *queue, struct fetch *fetch)
{
	while (fetch->waiters) {
		struct waiter *waiter = fetch->waiters;

		fetch->waiters = waiter->next;
		answer(queue, waiter, 0);
	}
}

static void receive(struct miss_queue *queue, struct fetch *fetch, int64_t now)
{
	cleanup_json json_t *reply = NULL;
	const char *text;
	int r = control_receive(fetch->control, &reply);

	if (r == -EAGAIN)
		return;
	disconnect(queue, fetch, now + RETRY_MS);
	if (r) {
		problem_set(&fetch->problem, r, "intinode-fetchd went away before it answered (%s)",
			    strerror(-r));
		return;
	}
	if (json_is_true(json_object_get(reply, "ok"))) {
		succeed(queue, fetch);
		return;
	}
	r = control_errno_parse(json_get_string(reply, "error"));
	text = json_get_string(reply, "problem");
	fetch->problem.text[0] = '\0';
	if (text)
		log_escape(fetch->problem.text, sizeof(fetch->problem.text), text, strlen(text));
	/* Who came later than the request was sent still has time: for them it is sent again. */
	fail_waiters(queue, fetch, r == -ETIMEDOUT ? now + TIMEOUT_SLACK_MS : INT64_MAX,
		     r == -ENOSPC ? ENOSPC : EIO);
}

static void take_incoming(struct miss_queue *queue, struct waiter *incoming, int64_t now)
{
	while (incoming) {
		struct waiter *waiter = incoming;
		const struct stub *stub = waiter->node->stub;
		struct fetch *fetch = queue->fetches;

		incoming = waiter->next;
		/* Also the size: who lies about it must not decide for others. */
		while (fetch && (memcmp(fetch->stub.sha256, stub->sha256, STUB_SHA256_BYTES) ||
				 fetch->stub.size_bytes != stub->size_bytes))
			fetch = fetch->next;
		if (!fetch) {
			fetch = calloc(1, sizeof(*fetch));
			if (!fetch) {
				answer(queue, waiter, ENOMEM);
				continue;
			}
			fetch->stub = *stub;
			fetch->retry_at_ms = now;
			fetch->next = queue->fetches;
			queue->fetches = fetch;
		}
		waiter->next = fetch->waiters;
		fetch->waiters = waiter;
	}
}

/* What time alone brings about: killed callers, deadlines, tries. */
static void tick(struct miss_queue *queue, int64_t now)
{
	struct fetch **p = &queue->fetches;

	while (*p) {
		struct fetch *fetch = *p;

		drop_dying(queue, fetch);
		fail_waiters(queue, fetch, now, EIO);
		if (fetch->waiters && !fetch->control && fetch->retry_at_ms <= now &&
		    queue->away_until_ms <= now && queue->n_connections < CONNECTIONS_MAX)
			start_fetch(queue, fetch, now);
		if (fetch->waiters) {
			p = &fetch->next;
			continue;
		}
		disconnect(queue, fetch, 0);
		*p = fetch->next;
		free(fetch);
	}
}

/* Sleeps until fetchd answers, an opener comes, or the next tick. */
static void wait_and_receive(struct miss_queue *queue)
{
	struct pollfd fds[CONNECTIONS_MAX + 1] = { { .fd = queue->wake_fd, .events = POLLIN } };
	struct fetch *of[CONNECTIONS_MAX + 1] = { NULL };
	nfds_t n = 1;
	uint64_t count;
	int64_t now;

	for (struct fetch *fetch = queue->fetches; fetch; fetch = fetch->next) {
		if (!fetch->control)
			continue;
		fds[n] = (struct pollfd){ .fd = control_fd(fetch->control), .events = POLLIN };
		of[n++] = fetch;
	}
	if (poll(fds, n, queue->fetches ? TICK_MS : -1) <= 0)
		return;
	now = now_ms();
	if (fds[0].revents && read(queue->wake_fd, &count, sizeof(count)) < 0)
		log_debug("fuse: the wake-up was taken already");
	for (nfds_t i = 1; i < n; i++) {
		if (fds[i].revents)
			receive(queue, of[i], now);
	}
}

static void *miss_loop(void *argument)
{
	struct miss_queue *queue = argument;
	struct waiter *incoming;
	bool stopping = false;

	while (!stopping) {
		pthread_mutex_lock(&queue->lock);
		incoming = queue->incoming;
		queue->incoming = NULL;
		stopping = queue->stopping;
		pthread_mutex_unlock(&queue->lock);
		take_incoming(queue, incoming, now_ms());
		tick(queue, stopping ? INT64_MAX : now_ms());
		if (!stopping)
			wait_and_receive(queue);
	}
	return NULL;
}

int miss_queue_new(const struct miss_options *options, struct miss_queue **out)
{
	struct miss_queue *queue = calloc(1, sizeof(*queue));
	sigset_t all, before;
	int r;

	if (!queue)
		return -ENOMEM;
	queue->options = *options;
	pthread_mutex_init(&queue->lock, NULL);
	queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->wake_fd < 0) {
		r = -errno;
		goto fail;
	}
	/* SIGTERM must reach the thread that waits for it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&queue->thread, NULL, miss_loop, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r) {
		close(queue->wake_fd);
		goto fail;
	}
	*out = queue;
	return 0;
fail:
	pthread_mutex_destroy(&queue->lock);
	free(queue);
	return r;
}

static void wake(struct miss_queue *queue)
{
	uint64_t one = 1;

	/* Full means that a wake-up is under way. */
	if (write(queue->wake_fd, &one, sizeof(one)) < 0)
		log_debug("fuse: a wake-up is under way already");
}

void miss_queue_free(struct miss_queue *queue)
{
	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->stopping = true;
	pthread_mutex_unlock(&queue->lock);
	wake(queue);
	pthread_join(queue->thread, NULL);
	close(queue->wake_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

int miss_queue_add(struct miss_queue *queue, fuse_req_t req, struct node *node,
		   const struct fuse_file_info *fi)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	int r = 0;

	if (!waiter)
		return -ENOMEM;
	waiter->req = req;
	waiter->node = node;
	waiter->fi = *fi;
	waiter->deadline_ms = now_ms() + (int64_t)queue->options.timeout_ms;
	pthread_mutex_lock(&queue->lock);
	if (queue->n_waiters >= queue->options.max_waiters) {
		r = -ENFILE;
	} else {
		queue->n_waiters++;
		waiter->next = queue->incoming;
		queue->incoming = waiter;
	}
	pthread_mutex_unlock(&queue->lock);
	if (r) {
		free(waiter);
		return r;
	}
	wake(queue);
	return 0;
}
