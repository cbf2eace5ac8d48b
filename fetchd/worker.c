/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network worker: the only process of fetchd that parses what comes from the network. Before
 * the first job it reads what it needs of files, and gives up its privileges (sandbox.h); then it
 * owns nothing but its sockets to the supervisor and the dialer, the pipes of its jobs and the
 * connections that the dialer made for it. One thread.
 *
 * The one hard idea is back pressure: a pipe that is full pauses its transfer, and
 * registry_run() waits for those pipes, however many, together with everything else.
 */
#include "config.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "fetchd/sandbox.h"
#include "fetchd/workerlink.h"
#include "lib/fdpass.h"
#include "lib/json.h"
#include "lib/registry.h"

enum {
	WORKER_JOBS_MAX = 4096, /* the supervisor runs fewer; more would be its bug */
	IDLE_WAIT_MS = 60 * 1000,
	READY_MAX = 64, /* pipes looked at in one turn */
};

struct job {
	struct worker *worker;	      /* borrowed */
	struct registry_fetch *fetch; /* borrowed while it runs */
	uint64_t id;
	int pipe_fd;   /* owned */
	char *pending; /* owned: what the pipe did not take */
	size_t pending_len, pending_off;
	bool paused;
	/* The transfer is over, and its last bytes wait for the pipe: */
	bool finished;
	int error;
	char problem[PROBLEM_MAX];
	uint64_t wire_bytes;
	int64_t retry_after_ms;
	struct job *next, **prev;
};

struct worker {
	int sock;
	int full_fd; /* epoll: the pipes of jobs with something pending */
	bool stopping;
	struct registry *registry;
	struct job *jobs;
	size_t n_jobs;
};

static void drop_pending(struct job *job)
{
	if (!job->pending)
		return;
	epoll_ctl(job->worker->full_fd, EPOLL_CTL_DEL, job->pipe_fd, NULL);
	free(steal_ptr(job->pending));
	job->pending_len = job->pending_off = 0;
}

static void job_free(struct job *job)
{
	drop_pending(job);
	if (job->prev) {
		*job->prev = job->next;
		if (job->next)
			job->next->prev = job->prev;
		job->worker->n_jobs--;
	}
	if (job->pipe_fd >= 0)
		close(job->pipe_fd);
	free(job);
}

static int keep_pending(struct job *job, const char *bytes, size_t len)
{
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = job };

	job->pending = malloc(len);
	if (!job->pending)
		return -ENOMEM;
	if (epoll_ctl(job->worker->full_fd, EPOLL_CTL_ADD, job->pipe_fd, &event)) {
		free(steal_ptr(job->pending));
		return -errno;
	}
	memcpy(job->pending, bytes, len);
	job->pending_len = len;
	job->pending_off = 0;
	return 0;
}

/* Bytes that are accepted are never lost: what the pipe does not take waits in pending. */
static int on_bytes(void *context, const void *bytes, size_t len)
{
	struct job *job = context;
	const char *p = bytes;

	if (job->pending) {
		job->paused = true;
		return -EAGAIN;
	}
	while (len > 0) {
		ssize_t n = write(job->pipe_fd, p, len);

		if (n < 0 && errno == EAGAIN)
			return keep_pending(job, p, len);
		if (n < 0 && errno != EINTR)
			return -errno; /* EPIPE: the supervisor wants no more */
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void send_result(struct worker *worker, uint64_t id, int error, const char *problem,
			uint64_t wire_bytes, int64_t retry_after_ms)
{
	cleanup_json json_t *message = NULL;
	cleanup_free char *text = NULL;
	char shown[PROBLEM_MAX];

	log_escape(shown, sizeof(shown), problem, strlen(problem));
	message = json_pack("{s:I, s:i, s:s, s:I}", "id", (json_int_t)id, "error", error, "problem",
			    shown, "wire_bytes", (json_int_t)wire_bytes);
	if (message && retry_after_ms >= 0)
		json_object_set_new(message, "retry_after_ms", json_integer(retry_after_ms));
	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	if (!text || fdpass_send(worker->sock, text, strlen(text), -1))
		worker->stopping = true;
}

/* Write out what is pending. Return: 1 all gone, 0 not yet, negative errno: reader gone. */
static int flush_pending(struct job *job)
{
	while (job->pending_off < job->pending_len) {
		ssize_t n = write(job->pipe_fd, job->pending + job->pending_off,
				  job->pending_len - job->pending_off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		job->pending_off += (size_t)n;
	}
	return 1;
}

static void job_finish(struct job *job)
{
	send_result(job->worker, job->id, job->error, job->problem, job->wire_bytes,
		    job->retry_after_ms);
	job_free(job);
}

static void on_done(struct registry_fetch *fetch, void *context)
{
	struct job *job = context;

	job->fetch = NULL;
	job->finished = true;
	job->error = registry_fetch_error(fetch);
	snprintf(job->problem, sizeof(job->problem), "%s", registry_fetch_problem(fetch));
	job->wire_bytes = registry_fetch_wire_bytes(fetch);
	job->retry_after_ms = registry_fetch_retry_after_ms(fetch);
	if (!job->pending)
		job_finish(job);
}

/* What is pending is gone, or nobody wants it. */
static void job_unblocked(struct job *job)
{
	drop_pending(job);
	if (job->finished) {
		job_finish(job);
	} else if (job->paused) {
		job->paused = false;
		registry_fetch_resume(job->fetch);
	}
}

static int read_request(const json_t *message, struct registry_fetch_request *request)
{
	const char *digest = json_get_string(message, "digest");
	uint64_t deadline_ms = 0;

	request->host = json_get_string(message, "host");
	request->repository = json_get_string(message, "repository");
	request->url = json_get_string(message, "url");
	request->s3_region = json_get_string(message, "s3_region");
	request->namespace = json_get_string(message, "namespace");
	if (!digest || !request->host || digest_parse(digest, strlen(digest), &request->digest) ||
	    json_get_size(message, "size", &request->size_bytes) ||
	    json_get_size(message, "offset", &request->offset) ||
	    json_get_size(message, "deadline_ms", &deadline_ms))
		return -EINVAL;
	request->deadline_ms = (int64_t)deadline_ms;
	return 0;
}

static void start_job(struct worker *worker, const json_t *message, uint64_t id, int pipe_fd)
{
	struct registry_fetch_request request = { .sink = on_bytes, .done = on_done };
	const char *user = json_get_string(message, "user");
	struct job *job = calloc(1, sizeof(*job));
	int r = job ? read_request(message, &request) : -ENOMEM;

	if (!job) {
		close(pipe_fd);
		send_result(worker, id, -ENOMEM, "", 0, -1);
		return;
	}
	job->worker = worker;
	job->id = id;
	job->pipe_fd = pipe_fd;
	request.context = job;
	if (!r && worker->n_jobs >= WORKER_JOBS_MAX)
		r = -EBUSY;
	if (!r && fcntl(pipe_fd, F_SETFL, O_NONBLOCK))
		r = -errno;
	if (!r && user)
		r = registry_set_credentials(worker->registry, request.host, user,
					     json_get_string(message, "password"));
	if (!r) {
		job->next = worker->jobs;
		job->prev = &worker->jobs;
		if (job->next)
			job->next->prev = &job->next;
		worker->jobs = job;
		worker->n_jobs++;
		r = registry_fetch_start(worker->registry, &request, &job->fetch);
	}
	if (r) {
		send_result(worker, id, r, strerror(-r), 0, -1);
		job_free(job);
	}
}

static void cancel_job(struct worker *worker, uint64_t id)
{
	for (struct job *job = worker->jobs; job; job = job->next) {
		if (job->id != id)
			continue;
		if (job->finished) {
			job_unblocked(job);
			return;
		}
		drop_pending(job);
		registry_fetch_cancel(job->fetch);
		return;
	}
}

static void on_message(struct worker *worker, const char *text, size_t len, int fd)
{
	cleanup_json json_t *message = NULL;
	uint64_t id;

	if (json_parse(text, len, &message, NULL)) {
		worker->stopping = true;
	} else if (!json_get_size(message, "cancel", &id)) {
		cancel_job(worker, id);
	} else if (!json_get_size(message, "id", &id) && fd >= 0) {
		start_job(worker, message, id, fd);
		return;
	} else {
		worker->stopping = true;
	}
	if (fd >= 0)
		close(fd);
}

static void read_messages(struct worker *worker)
{
	char message[WORKER_MESSAGE_MAX];

	while (!worker->stopping) {
		int fd = -1;
		ssize_t n = fdpass_receive(worker->sock, message, sizeof(message), &fd);

		if (n == -EAGAIN)
			return;
		if (n <= 0)
			worker->stopping = true;
		else
			on_message(worker, message, (size_t)n, fd);
	}
}

static void resume_jobs(struct worker *worker)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(worker->full_fd, ready, READY_MAX, 0);

	/* Gone or broken; in the second case the next write says EPIPE. */
	for (int i = 0; i < n; i++) {
		if (flush_pending(ready[i].data.ptr))
			job_unblocked(ready[i].data.ptr);
	}
}

static int run_once(struct worker *worker)
{
	struct pollfd polls[] = { { .fd = worker->sock, .events = POLLIN },
				  { .fd = worker->full_fd, .events = POLLIN } };
	int r = registry_run(worker->registry, polls, ARRAY_SIZE(polls), IDLE_WAIT_MS);

	if (r < 0)
		return r;
	if (polls[1].revents)
		resume_jobs(worker);
	if (polls[0].revents)
		read_messages(worker);
	return 0;
}

/* ---- start: what needs files comes before the door is shut ---- */

/* Return: 1: that was the last one; 0; negative errno. */
static int read_setting(struct worker *worker, struct problem *problem)
{
	cleanup_json json_t *message = NULL;
	struct registry_host_options options = { .plain_http = false };
	char text[WORKER_MESSAGE_MAX];
	const char *host;
	int fd = -1, r;
	ssize_t n = fdpass_receive(worker->sock, text, sizeof(text), &fd);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return n ? (int)n : -EPIPE;
	if (json_parse(text, (size_t)n, &message, NULL))
		return -EBADMSG;
	if (json_is_true(json_object_get(message, "begin")))
		return 1;
	host = json_get_string(message, "host");
	if (!host)
		return -EBADMSG;
	options.plain_http = json_is_true(json_object_get(message, "plain_http"));
	options.insecure = json_is_true(json_object_get(message, "insecure"));
	options.ca_file = json_get_string(message, "ca_file");
	r = registry_set_host(worker->registry, host, &options, problem);
	if (r == -EINVAL) { /* of this host nothing will be believed; others are fine */
		log_error("[registry %s]: %s", host, problem_text(problem, r));
		r = 0;
	}
	return r;
}

static int read_settings(struct worker *worker, struct problem *problem)
{
	int r;

	do
		r = read_setting(worker, problem);
	while (!r);
	return r < 0 ? r : 0;
}

static int set_up(struct worker *worker, struct problem *problem)
{
	/* Another source may be better than trying again; the supervisor knows them. */
	const struct registry_options options = { .no_auth_file = true,
						  .retries = UINT32_MAX,
						  .dialer_fd = WORKER_DIALER_FD };
	static const char ready[] = "{\"ready\":true}";
	int r = registry_new(&options, &worker->registry, problem);

	if (!r)
		r = read_settings(worker, problem);
	if (r)
		return r;
	worker->full_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->full_fd < 0 || fcntl(worker->sock, F_SETFD, FD_CLOEXEC) ||
	    fcntl(worker->sock, F_SETFL, O_NONBLOCK) ||
	    fcntl(WORKER_DIALER_FD, F_SETFD, FD_CLOEXEC) ||
	    fcntl(WORKER_DIALER_FD, F_SETFL, O_NONBLOCK))
		return -errno;
	r = sandbox_worker();
	return r ? r : fdpass_send(worker->sock, ready, strlen(ready), -1);
}

int worker_main(int fd)
{
	struct worker worker = { .sock = fd, .full_fd = -1 };
	struct problem problem = { "" };
	int r;

	/* The supervisor may have been started with others, such as those of the miss layers. */
	close_from(WORKER_DIALER_FD + 1, false);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "intinode-net");
	r = set_up(&worker, &problem);
	if (r)
		log_error("network worker: %s", problem_text(&problem, r));
	while (!worker.stopping && !r)
		r = run_once(&worker);
	while (worker.jobs) {
		struct job *job = worker.jobs;

		drop_pending(job);
		if (job->finished)
			job_free(job);
		else
			registry_fetch_cancel(job->fetch);
	}
	registry_free(worker.registry);
	if (worker.full_fd >= 0)
		close(worker.full_fd);
	return r;
}
