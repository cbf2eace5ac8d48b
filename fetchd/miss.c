/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the answers of the miss layers: who waits for what, for how long. Loop thread.
 *
 * How an open() ends, measured on Linux 6.18: the kernel asks twice in a path walk (plain,
 * then with LOOKUP_REVAL) and walks twice. Only an ESTALE in the first walk can be followed by
 * success, because the cache comes first in the second walk, and the second walk's ESTALE
 * goes to the application. So a caller has two lookups: the first is answered ESTALE when half
 * of its deadline is over, the second EIO at the deadline.
 */
#include "fetchd/miss-internal.h"

#include <event2/event.h>
#include <string.h>
#include <sys/stat.h>

#include "fetchd/caller.h"
#include "fetchd/fetch.h"

enum {
	DIR_INO = 2,
	MAX_WRITE_BYTES = 4096,
	KILL_POLL_MS = 50,
	/*
	 * The kernel retries at once, but may have to queue behind another caller's slice; what
	 * comes later is another open().
	 */
	RETRY_MARGIN_MS = 1000,
	QUEUED_MS = 500,      /* a busy machine is slow to wake them */
	QUEUED_MAX_MS = 2000, /* who comes later has not queued, but tries again */
	ATTEMPTS_MAX = 4096,
};

static const double forever_s = 86400.0;

/* A caller whose first lookup was answered and whose second one is expected. */
struct attempt {
	uint64_t pid;
	struct digest digest;
	int64_t deadline_ms, answered_ms;
	struct attempt *next;
};

struct request {
	struct miss *miss;
	fuse_req_t req;
	struct fetch_waiter waiter;
	struct digest digest;
	uint64_t pid;
	int64_t slice_end_ms, deadline_ms;
	bool interrupted;
	struct event *timer; /* owned */
	struct request *next, **prev;
};

/* ---- attempts ---- */

static void attempt_add(struct miss *miss, const struct request *request)
{
	struct attempt *attempt;

	if (miss->n_attempts == ATTEMPTS_MAX)
		return;
	attempt = calloc(1, sizeof(*attempt));
	if (!attempt)
		return;
	attempt->pid = request->pid;
	attempt->digest = request->digest;
	attempt->deadline_ms = request->deadline_ms;
	attempt->answered_ms = now_ms();
	attempt->next = miss->attempts;
	miss->attempts = attempt;
	miss->n_attempts++;
}

/* Takes the caller's attempt out, and whatever is too old on the way. Return: its deadline or 0. */
static int64_t attempt_take(struct miss *miss, uint64_t pid, const struct digest *digest)
{
	struct attempt **p = &miss->attempts, *attempt;
	int64_t window_ms = miss->options.deadline_ms / 2 + RETRY_MARGIN_MS;
	int64_t now = now_ms(), deadline_ms = 0;

	while ((attempt = *p)) {
		bool mine = attempt->pid == pid && digest_equal(&attempt->digest, digest);
		bool old = now - attempt->answered_ms > window_ms;

		if (!mine && !old) {
			p = &attempt->next;
			continue;
		}
		if (mine && !old)
			deadline_ms = attempt->deadline_ms;
		*p = attempt->next;
		free(attempt);
		miss->n_attempts--;
	}
	return deadline_ms;
}

/* ---- failures ---- */

/*
 * overlayfs lets one opener of a file in at a time. Those who queued behind one whose deadline
 * has passed come here right after it, and have waited as well: they get its answer at once,
 * not one deadline after the other.
 */
static void failure_note(struct miss *miss, const struct digest *digest, int error)
{
	struct failure *failure = &miss->failures[miss->next_failure++ % MISS_FAILURES];

	failure->digest = *digest;
	failure->error = error;
	failure->first_ms = now_ms();
	failure->until_ms = failure->first_ms + QUEUED_MS;
}

/* Return: the errno that the one before got, or 0. */
static int failure_fresh(struct miss *miss, const struct digest *digest)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < MISS_FAILURES; i++) {
		struct failure *failure = &miss->failures[i];

		if (failure->until_ms > now && now - failure->first_ms < QUEUED_MAX_MS &&
		    digest_equal(&failure->digest, digest)) {
			failure->until_ms = now + QUEUED_MS;
			return failure->error;
		}
	}
	return 0;
}

/* ---- requests ---- */

static void request_end(struct request *request, int error)
{
	fetch_unwait(request->miss->options.table, &request->waiter);
	fuse_req_interrupt_func(request->req, NULL, NULL);
	fuse_reply_err(request->req, error);
	*request->prev = request->next;
	if (request->next)
		request->next->prev = request->prev;
	if (request->timer)
		event_free(request->timer);
	free(request);
}

static int errno_for_application(int error)
{
	return error == -ENOSPC || error == -EDQUOT ? -error : EIO;
}

static void on_fetched(struct fetch_waiter *waiter, int error, const char *problem)
{
	struct request *request = container_of(waiter, struct request, waiter);

	(void)problem;
	if (error)
		failure_note(request->miss, &request->digest, errno_for_application(error));
	request_end(request, error ? errno_for_application(error) : ESTALE);
}

static void arm(struct request *request, int64_t wait_ms)
{
	struct timeval tv;

	if (wait_ms < 0)
		wait_ms = 0;
	tv.tv_sec = wait_ms / 1000;
	tv.tv_usec = wait_ms % 1000 * 1000;
	evtimer_add(request->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct request *request = context;
	int64_t left_ms = request->slice_end_ms - now_ms();

	(void)fd;
	(void)what;
	if (request->interrupted && request->pid && caller_is_dying(request->pid)) {
		request_end(request, EINTR);
	} else if (left_ms <= 0 && request->slice_end_ms < request->deadline_ms) {
		attempt_add(request->miss, request);
		request_end(request, ESTALE);
	} else if (left_ms <= 0) {
		char text[DIGEST_TEXT_SIZE];

		log_warning("%s was not there at the deadline; process %llu gets an I/O error",
			    digest_format(&request->digest, text),
			    (unsigned long long)request->pid);
		failure_note(request->miss, &request->digest, EIO);
		request_end(request, EIO);
	} else {
		arm(request,
		    request->interrupted && left_ms > KILL_POLL_MS ? KILL_POLL_MS : left_ms);
	}
}

static void on_interrupt(fuse_req_t req, void *context)
{
	struct request *request = context;

	(void)req;
	request->interrupted = true;
	arm(request, 0);
}

static void wait_for(struct miss *miss, fuse_req_t req, const struct digest *digest,
		     uint64_t size_bytes, const struct source_list *sources)
{
	struct request *request = calloc(1, sizeof(*request));
	int64_t now = now_ms(), deadline_ms;
	int r;

	if (!request) {
		fuse_reply_err(req, EIO);
		return;
	}
	request->miss = miss;
	request->req = req;
	request->digest = *digest;
	request->pid = (uint64_t)fuse_req_ctx(req)->pid;
	request->waiter.done = on_fetched;
	request->timer = evtimer_new(miss->options.base, on_timer, request);
	request->prev = &miss->requests;
	request->next = miss->requests;
	if (request->next)
		request->next->prev = &request->next;
	miss->requests = request;

	deadline_ms = attempt_take(miss, request->pid, digest);
	request->deadline_ms = deadline_ms ? deadline_ms : now + miss->options.deadline_ms;
	request->slice_end_ms = deadline_ms ? deadline_ms : now + miss->options.deadline_ms / 2;
	r = request->timer ? fetch_wait(miss->options.table, digest, size_bytes, sources,
					request->deadline_ms, &request->waiter)
			   : -ENOMEM;
	if (r) {
		request_end(request, r > 0 ? ESTALE : errno_for_application(r));
		return;
	}
	arm(request, request->slice_end_ms - now);
	fuse_req_interrupt_func(req, on_interrupt, request);
}

/* ---- FUSE operations ---- */

static void reply_dir(fuse_req_t req)
{
	const struct fuse_entry_param entry = {
		.ino = DIR_INO,
		.attr_timeout = forever_s,
		.entry_timeout = forever_s,
		.attr = { .st_ino = DIR_INO, .st_mode = S_IFDIR | 0755, .st_nlink = 2 },
	};

	fuse_reply_entry(req, &entry);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct miss *miss = fuse_req_userdata(req);
	struct source_list sources = { .n = 0 };
	struct digest digest;
	uint64_t size_bytes;
	int error;

	if (parent == FUSE_ROOT_ID && !strcmp(name, "sha256")) {
		reply_dir(req);
		return;
	}
	if (parent != DIR_INO || digest_parse_hex(DIGEST_SHA256, name, strlen(name), &digest)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	error = failure_fresh(miss, &digest);
	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	if (miss->options.find(miss->options.context, &digest, &size_bytes, &sources)) {
		log_error("image %s has no stub with sha256:%s; is its layer directory damaged?",
			  miss->id, name);
		fuse_reply_err(req, EIO);
		return;
	}
	wait_for(miss, req, &digest, size_bytes, &sources);
	source_list_clear(&sources);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct stat st = { .st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2 };

	(void)fi;
	fuse_reply_attr(req, &st, forever_s);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct statvfs st = { .f_namemax = 255 };

	(void)ino;
	fuse_reply_statfs(req, &st);
}

static void op_init(void *context, struct fuse_conn_info *conn)
{
	(void)context;
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
	/*
	 * Nothing is written here. The kernel asks for read buffers of this size and more, also
	 * from a later fetchd, whose own INIT could not negotiate it.
	 */
	conn->max_write = MAX_WRITE_BYTES;
}

const struct fuse_lowlevel_ops miss_operations = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.statfs = op_statfs,
};

/* ---- the end ---- */

void miss_forget_requests(struct miss *miss, bool answer)
{
	struct request *request;
	struct attempt *attempt;

	while ((request = miss->requests)) {
		if (answer) {
			request_end(request, EIO);
			continue;
		}
		fetch_unwait(miss->options.table, &request->waiter);
		miss->requests = request->next;
		event_free(request->timer);
		free(request);
	}
	while ((attempt = miss->attempts)) {
		miss->attempts = attempt->next;
		free(attempt);
	}
}
