/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the worker process and its dialer: messages, death and replacement. They live and die
 * together: a worker whose dialer is gone ends. Loop thread.
 */
#include "fetchd/workerlink.h"

#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

#include "fetchd/workerspawn.h"
#include "lib/address.h"
#include "lib/auth.h"
#include "lib/fdpass.h"
#include "lib/json.h"
#include "lib/reference.h"

enum {
	RESTART_WAIT_MS = 500,
	RETRY_AFTER_MAX_MS = 24 * 3600 * 1000,
	NAMED_MAX = 512, /* fewer than the dialer keeps */
};

/* What a dialer says of a host, for the next: where it led to first (dialer.h). */
struct named_host {
	struct named_host *next;
	unsigned int class;
	char name[];
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
	struct workerlink *main;   /* borrowed; whose counts it adds to; may be itself */
	struct event *dialer_says; /* owned */
	struct named_host *hosts;  /* owned; of the main one: what all dialers learned */
	struct worker_job *jobs;   /* borrowed entries */
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

static struct named_host *find_host(struct workerlink *link, const char *name, size_t len)
{
	struct named_host *host = link->main->hosts;

	while (host && (strlen(host->name) != len || strncasecmp(host->name, name, len) != 0))
		host = host->next;
	return host;
}

static bool was_named(const struct workerlink *link, const char *name, size_t len)
{
	for (unsigned int i = 0; i < link->n_named; i++) {
		if (strlen(link->named[i]) == len && !strncasecmp(link->named[i], name, len))
			return true;
	}
	return false;
}

/* "HOST[:PORT] CLASS" */
static void on_dialer_says(evutil_socket_t fd, short what, void *context)
{
	struct workerlink *link = context;
	char message[HOST_MAX + 32];
	struct named_host *host;
	int passed = -1;
	ssize_t n = fdpass_receive(fd, message, sizeof(message) - 1, &passed);
	char *class;

	(void)what;
	if (passed >= 0)
		close(passed);
	if (n <= 0) { /* its worker ends, too */
		if (n != -EAGAIN)
			event_del(link->dialer_says);
		return;
	}
	message[n] = '\0';
	class = strchr(message, ' ');
	/* Only of hosts that it was told of: nothing grows with what it says. */
	if (!class || !was_named(link, message, (size_t)(class - message)) || class[1] < '1' ||
	    class[1] > '0' + ADDRESS_PUBLIC || class[2])
		return;
	if (find_host(link, message, (size_t)(class - message)))
		return;
	*class ++ = '\0';
	host = malloc(sizeof(*host) + strlen(message) + 1);
	if (!host)
		return;
	memcpy(host->name, message, strlen(message) + 1);
	host->class = (unsigned int)(*class - '0');
	host->next = link->main->hosts;
	link->main->hosts = host;
}

static void end_dialer(struct workerlink *link)
{
	if (link->dialer_says)
		event_free(steal_ptr(link->dialer_says));
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
		if (n <= 0 || passed >= 0) { /* it has nothing to pass */
			on_death(link);
			return;
		}
		on_message(link, message, (size_t)n);
		if (link->sock != fd)
			return;
	}
}

static int start(struct workerlink *link)
{
	struct worker_processes processes;
	int r = worker_spawn(link->options, link->network_fd, &processes);

	if (r)
		return r;
	link->sock = processes.sock;
	link->pid = processes.pid;
	link->dialer_sock = processes.dialer_sock;
	link->dialer_pid = processes.dialer_pid;
	link->ready = false;
	link->started_ms = now_ms();
	link->readable = event_new(link->base, link->sock, EV_READ | EV_PERSIST, on_readable, link);
	link->dialer_says = event_new(link->base, link->dialer_sock, EV_READ | EV_PERSIST,
				      on_dialer_says, link);
	if (link->readable && !event_add(link->readable, NULL) && link->dialer_says &&
	    !event_add(link->dialer_says, NULL))
		return 0;
	if (link->readable)
		event_free(steal_ptr(link->readable));
	close(steal_fd(&link->sock));
	end_process(&link->pid, NULL);
	end_dialer(link);
	return -ENOMEM;
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
	while (link->hosts) {
		struct named_host *host = link->hosts;

		link->hosts = host->next;
		free(host);
	}
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
	const struct named_host *known;
	char *copy, message[HOST_MAX + 32];
	int n, r;

	for (unsigned int i = 0; i < link->n_named; i++) {
		if (!strcmp(link->named[i], host))
			return 0;
	}
	if (link->n_named == NAMED_MAX)
		forget_named(link);
	copy = strdup(host);
	if (!copy)
		return -ENOMEM;
	known = find_host(link, host, strlen(host));
	n = snprintf(message, sizeof(message), "%s %u", host, known ? known->class : 0);
	r = fdpass_send(link->dialer_sock, message, (size_t)n, -1);
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
