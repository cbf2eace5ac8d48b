/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the worker process and its dialer: start, messages, death and replacement. They live and die
 * together: a worker whose dialer is gone ends. Loop thread.
 */
#include "fetchd/workerlink.h"

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fetchd/dialer.h"
#include "lib/auth.h"
#include "lib/fdpass.h"
#include "lib/json.h"

enum {
	RESTART_WAIT_MS = 500,
	RETRY_AFTER_MAX_MS = 24 * 3600 * 1000,
	NAMED_MAX = 512, /* fewer than the dialer keeps */
	FIRST_SPARE_FD = 10,
};

struct workerlink {
	struct event_base *base;       /* borrowed */
	const struct options *options; /* borrowed */
	int network_fd;		       /* borrowed; -1: the dialer stays in this network */
	struct auth *auth;	       /* owned */
	int sock;		       /* owned, -1 while there is no worker */
	pid_t pid;
	bool ready;		/* it said so */
	int dialer_sock;	/* owned, -1 while there is none */
	pid_t dialer_pid;	/* or -1 */
	char *named[NAMED_MAX]; /* owned: hosts that this dialer heard of */
	unsigned int n_named;
	struct event *readable; /* owned */
	struct event *restart;	/* owned */
	int64_t started_ms;
	uint64_t next_id, wire_bytes;
	struct workerlink *main; /* borrowed; whose counts it adds to; may be itself */
	struct worker_job *jobs; /* borrowed entries */
};

static void job_remove(struct worker_job *job)
{
	*job->prev = job->next;
	if (job->next)
		job->next->prev = job->prev;
	job->prev = NULL;
}

static struct worker_job *job_find(struct workerlink *link, uint64_t id)
{
	struct worker_job *job = link->jobs;

	while (job && job->id != id)
		job = job->next;
	return job;
}

static void on_message(struct workerlink *link, const char *text, size_t len)
{
	cleanup_json json_t *message = NULL;
	struct worker_result result = { .retry_after_ms = -1 };
	struct worker_job *job;
	uint64_t id, value;

	if (!json_parse(text, len, &message, NULL) &&
	    json_is_true(json_object_get(message, "ready"))) {
		link->ready = true;
		return;
	}
	if (!message || json_get_size(message, "id", &id)) {
		log_error("the network worker sent nonsense; it is replaced");
		kill(link->pid, SIGKILL);
		return;
	}
	if (!json_get_size(message, "wire_bytes", &value))
		result.wire_bytes = value;
	link->main->wire_bytes += result.wire_bytes;
	job = job_find(link, id);
	if (!job)
		return;
	result.error = (int)json_integer_value(json_object_get(message, "error"));
	result.problem = json_get_string(message, "problem") ?: "";
	if (!json_get_size(message, "retry_after_ms", &value))
		result.retry_after_ms =
			(int64_t)(value < RETRY_AFTER_MAX_MS ? value : RETRY_AFTER_MAX_MS);
	job_remove(job);
	job->result(job, &result);
}

static void end_process(pid_t *pid, int *status)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	while (waitpid(*pid, status, 0) < 0 && errno == EINTR)
		continue;
	*pid = -1;
}

/* Of the dialer that is gone. */
static void forget_named(struct workerlink *link)
{
	while (link->n_named)
		free(link->named[--link->n_named]);
}

static void end_dialer(struct workerlink *link)
{
	if (link->dialer_sock >= 0)
		close(steal_fd(&link->dialer_sock));
	end_process(&link->dialer_pid, NULL);
	forget_named(link);
}

static void on_death(struct workerlink *link)
{
	const struct timeval wait = { .tv_usec = RESTART_WAIT_MS * 1000 };
	const struct worker_result result = { .error = -EPIPE,
					      .problem = "the network worker died",
					      .retry_after_ms = -1,
					      .worker_died = true,
					      .is_suspect = link->ready };
	const struct timeval at_once = { .tv_usec = 0 };
	struct worker_job *job;
	int status = 0;

	event_del(link->readable);
	event_free(link->readable);
	link->readable = NULL;
	close(steal_fd(&link->sock));
	end_process(&link->pid, &status);
	end_dialer(link);
	log_error("the network worker died (%s %d); a new one is started",
		  WIFSIGNALED(status) ? "signal" : "exit code",
		  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	/* A worker that dies as soon as it starts must not be restarted in a tight loop. */
	event_add(link->restart, now_ms() - link->started_ms < RESTART_WAIT_MS ? &wait : &at_once);
	while ((job = link->jobs)) {
		job_remove(job);
		job->result(job, &result);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct workerlink *link = context;
	char message[WORKER_MESSAGE_MAX];

	(void)what;
	for (int i = 0; i < 64; i++) {
		int passed = -1;
		ssize_t n = fdpass_receive(fd, message, sizeof(message), &passed);

		if (passed >= 0)
			close(passed);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			on_death(link);
			return;
		}
		on_message(link, message, (size_t)n);
		if (link->sock != fd)
			return;
	}
}

/* Both ends away from the numbers that a child gets them as. */
static int make_pair(int pair[2])
{
	const int buffer = 1024 * 1024;
	int low[2], r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, low))
		return -errno;
	for (int i = 0; i < 2; i++) {
		setsockopt(low[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
		pair[i] = r ? -1 : fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
		if (pair[i] < 0)
			r = r ? r : -errno;
	}
	close(low[0]);
	close(low[1]);
	if (r && pair[0] >= 0)
		close(pair[0]);
	return r;
}

/* One of the other roles of this binary, with @fds as 3, 4 and so on. */
static int spawn_role(const char *role, const int *fds, size_t n_fds, pid_t *pid)
{
	static const char name[] = "intinode-fetchd";
	char *const argv[] = { (char *)(uintptr_t)name, (char *)(uintptr_t)role, NULL };
	posix_spawn_file_actions_t actions;
	int r;

	/* posix_spawn uses vfork: no copy of a writable cache descriptor exists meanwhile. */
	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	for (size_t i = 0; !r && i < n_fds; i++)
		r = posix_spawn_file_actions_adddup2(&actions, fds[i], WORKER_SOCKET_FD + (int)i);
	if (!r)
		r = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		*pid = -1;
	return -r;
}

static int send_setting(int sock, const struct registry_rule *rule)
{
	cleanup_json json_t *message = json_pack("{s:s, s:b, s:b, s:s*}", "host", rule->host,
						 "plain_http", rule->plain_http, "insecure",
						 rule->insecure, "ca_file", rule->ca_file);
	cleanup_free char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	return text ? fdpass_send(sock, text, strlen(text), -1) : -ENOMEM;
}

/* What files it needs it reads before it gives up the right to. */
static int send_settings(struct workerlink *link, int sock)
{
	static const char begin[] = "{\"begin\":true}";
	const struct options *options = link->options;
	int r = 0;

	for (size_t i = 0; !r && i < options->n_rules; i++) {
		const struct registry_rule *rule = &options->rules[i];

		if (rule->plain_http || rule->insecure || rule->ca_file)
			r = send_setting(sock, rule);
	}
	for (size_t i = 0; !r && i < options->n_buckets; i++) {
		const struct bucket *bucket = &options->buckets[i];
		const struct registry_rule plain = { .host = bucket->host, .plain_http = true };

		if (bucket->host && !strncmp(bucket->endpoint, "http:", 5))
			r = send_setting(sock, &plain);
	}
	return r ? r : fdpass_send(sock, begin, strlen(begin), -1);
}

static int spawn_both(struct workerlink *link, int worker_sock, int dialer_sock)
{
	int pair[2] = { -1, -1 }, r = make_pair(pair);

	if (r)
		return r;
	const int of_dialer[] = { dialer_sock, pair[0], link->network_fd };
	const int of_worker[] = { worker_sock, pair[1] };

	if (link->network_fd >= 0)
		r = spawn_role("--dialer-elsewhere", of_dialer, 3, &link->dialer_pid);
	else
		r = spawn_role("--dialer", of_dialer, 2, &link->dialer_pid);
	if (!r)
		r = spawn_role("--worker", of_worker, 2, &link->pid);
	close(pair[0]);
	close(pair[1]);
	return r;
}

static int start(struct workerlink *link)
{
	int worker[2] = { -1, -1 }, dialer[2] = { -1, -1 }, r = make_pair(worker);

	if (!r)
		r = make_pair(dialer);
	link->sock = worker[0];
	link->dialer_sock = dialer[0];
	link->ready = false;
	link->started_ms = now_ms();
	if (!r)
		r = spawn_both(link, worker[1], dialer[1]);
	if (worker[1] >= 0)
		close(worker[1]);
	if (dialer[1] >= 0)
		close(dialer[1]);
	if (!r && (fcntl(link->sock, F_SETFL, O_NONBLOCK) ||
		   fcntl(link->dialer_sock, F_SETFL, O_NONBLOCK)))
		r = -errno;
	if (!r)
		r = send_settings(link, link->sock);
	if (!r) {
		link->readable =
			event_new(link->base, link->sock, EV_READ | EV_PERSIST, on_readable, link);
		if (!link->readable || event_add(link->readable, NULL))
			r = -ENOMEM;
	}
	if (!r)
		return 0;
	if (link->readable)
		event_free(steal_ptr(link->readable));
	if (link->sock >= 0)
		close(steal_fd(&link->sock));
	end_process(&link->pid, NULL);
	end_dialer(link);
	return r;
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	const struct timeval wait = { .tv_usec = RESTART_WAIT_MS * 1000 };
	struct workerlink *link = context;
	int r = start(link);

	(void)fd;
	(void)what;
	if (r) {
		log_error("the network worker cannot be started: %s", strerror(-r));
		event_add(link->restart, &wait);
	}
}

int workerlink_new(struct event_base *base, const struct options *options, int network_fd,
		   struct workerlink **out)
{
	struct workerlink *link = calloc(1, sizeof(*link));
	struct problem problem = { "" };
	int r;

	if (!link)
		return -ENOMEM;
	link->base = base;
	link->main = link;
	link->options = options;
	link->network_fd = network_fd;
	link->sock = link->dialer_sock = -1;
	link->pid = link->dialer_pid = -1;
	link->next_id = 1;
	link->auth = auth_new();
	link->restart = event_new(base, -1, 0, on_restart, link);
	if (!link->auth || !link->restart) {
		workerlink_free(link);
		return -ENOMEM;
	}
	if (options->auth_file)
		r = auth_load_file(link->auth, options->auth_file, &problem);
	else
		r = auth_load_default(link->auth, &problem);
	if (r)
		log_warning("fetching without credentials: %s", problem_text(&problem, r));
	r = start(link);
	if (r) {
		workerlink_free(link);
		return r;
	}
	*out = link;
	return 0;
}

int workerlink_new_like(struct workerlink *link, struct workerlink **out)
{
	int r = workerlink_new(link->base, link->options, link->network_fd, out);

	if (!r)
		(*out)->main = link->main;
	return r;
}

void workerlink_free(struct workerlink *link)
{
	if (!link)
		return;
	if (link->readable)
		event_free(link->readable);
	if (link->restart)
		event_free(link->restart);
	if (link->sock >= 0)
		close(link->sock);
	end_process(&link->pid, NULL);
	end_dialer(link);
	auth_free(link->auth);
	free(link);
}

static json_t *job_message(struct workerlink *link, const struct worker_job *job,
			   const struct source *source, const struct digest *digest,
			   uint64_t size_bytes, uint64_t offset, int64_t deadline_ms)
{
	char text[DIGEST_TEXT_SIZE];
	cleanup_free char *url = NULL;
	struct auth_credentials found;
	json_t *message;

	if (source->url && source_url(source, digest, &url))
		return NULL;
	message = json_pack("{s:I, s:s, s:s*, s:s*, s:s*, s:s*, s:s, s:I, s:I, s:I}", "id",
			    (json_int_t)job->id, "host", source->host, "repository",
			    source->repository, "url", url, "s3_region", source->region,
			    "namespace", source->namespace, "digest", digest_format(digest, text),
			    "size", (json_int_t)size_bytes, "offset", (json_int_t)offset,
			    "deadline_ms", (json_int_t)deadline_ms);
	if (message && auth_find(link->auth, source->host, source->repository, &found)) {
		json_object_set_new(message, "user", json_string(found.user));
		json_object_set_new(message, "password", json_string(found.password));
	}
	return message;
}

/* The dialer hears of a host before the worker does. */
static int name_host(struct workerlink *link, const char *host)
{
	char *copy;
	int r;

	for (unsigned int i = 0; i < link->n_named; i++) {
		if (!strcmp(link->named[i], host))
			return 0;
	}
	if (link->n_named == NAMED_MAX)
		forget_named(link);
	copy = strdup(host);
	if (!copy)
		return -ENOMEM;
	r = fdpass_send(link->dialer_sock, host, strlen(host), -1);
	if (r) {
		free(copy);
		return r;
	}
	link->named[link->n_named++] = copy;
	return 0;
}

int workerlink_submit(struct workerlink *link, struct worker_job *job, const struct source *source,
		      const struct digest *digest, uint64_t size_bytes, uint64_t offset,
		      int64_t deadline_ms, int pipe_fd)
{
	cleanup_json json_t *message = NULL;
	cleanup_free char *text = NULL;
	int r;

	if (link->sock < 0)
		return -EAGAIN;
	job->id = link->next_id++;
	message = job_message(link, job, source, digest, size_bytes, offset, deadline_ms);
	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	if (strlen(text) > WORKER_MESSAGE_MAX)
		return -E2BIG;
	r = name_host(link, source->host);
	if (!r)
		r = fdpass_send(link->sock, text, strlen(text), pipe_fd);
	if (r) /* it died, and we have not heard of it yet */
		return r == -EPIPE || r == -ECONNRESET ? -EAGAIN : r;
	job->next = link->jobs;
	job->prev = &link->jobs;
	if (job->next)
		job->next->prev = &job->next;
	link->jobs = job;
	return 0;
}

void workerlink_cancel(struct workerlink *link, struct worker_job *job)
{
	char text[64];
	int n;

	if (!job->prev)
		return;
	job_remove(job);
	n = snprintf(text, sizeof(text), "{\"cancel\":%llu}", (unsigned long long)job->id);
	/* A worker that does not hear it stops when its pipe is closed. */
	if (link->sock >= 0 && fdpass_send(link->sock, text, (size_t)n, -1))
		log_debug("the network worker could not be told to cancel");
}

void workerlink_forget(struct workerlink *link, struct worker_job *job)
{
	(void)link;
	if (job->prev)
		job_remove(job);
}

pid_t workerlink_pid(const struct workerlink *link)
{
	return link->pid;
}

uint64_t workerlink_wire_bytes(const struct workerlink *link)
{
	return link->wire_bytes;
}
