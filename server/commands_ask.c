/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the choice: the running server, or this process with the store's lock. A store is never
 * made here, and what this process writes belongs to the store's owner, not to root.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/control.h"
#include "lib/log.h"
#include "server/admin.h"
#include "server/admin_run.h"
#include "server/commands-internal.h"
#include "server/index_rebuild.h"

enum {
	/* A server that starts has the lock before its socket; one that ends, the other way. */
	TRIES = 50,
	TRY_PAUSE_MS = 200,
};

/* ---- By the server ---- */

static int ask_server(struct control *control, const struct admin_request *request,
		      int (*line)(void *context, const json_t *line), void *context,
		      json_t **report, struct problem *problem)
{
	cleanup_json json_t *value = admin_request_json(request);
	const char *text;
	int r = value ? control_send(control, value) : -ENOMEM;

	while (!r) {
		cleanup_json json_t *reply = NULL;

		r = control_receive(control, &reply);
		if (r || !json_object_get(reply, "ok")) {
			r = r ? r : line(context, reply);
			continue;
		}
		*report = json_incref(json_object_get(reply, "report"));
		if (json_is_true(json_object_get(reply, "ok")) && *report)
			return 0;
		text = json_get_string(reply, "problem");
		r = control_errno_parse(json_get_string(reply, "error"));
		return problem_set(problem, r, "%s", text ? text : strerror(-r));
	}
	if (r == -EPIPE)
		return problem_set(problem, r, "the server went away before it answered");
	return problem_set(problem, r, "talking to the server: %s", strerror(-r));
}

/* ---- By this process ---- */

static int become_owner(const struct stat *st, const char *path, struct problem *problem)
{
	if (geteuid() || !st->st_uid)
		return 0;
	if (setresgid(st->st_gid, st->st_gid, st->st_gid) ||
	    setresuid(st->st_uid, st->st_uid, st->st_uid))
		return problem_set(problem, -errno, "store %s: cannot become its owner: %s", path,
				   strerror(errno));
	return 0;
}

/* A check alone leaves no new index behind: the server would take it for a good one. */
static void close_index(struct services *services, bool clean, bool lost)
{
	int root_fd = services->store->root_fd;

	if (!services->index)
		return;
	index_close(services->index, clean);
	if (lost && remove_tree_at(root_fd, "index"))
		log_warning("the empty index cannot be removed");
}

static int work(const struct admin_request *request, const struct options *options,
		struct services *services, struct admin_output *output, json_t **report,
		struct problem *problem)
{
	bool changes = request->op == ADMIN_GC || request->repair;
	enum index_state state = INDEX_CLEAN;
	bool clean;
	int r = 0;

	if (request->op != ADMIN_STAT)
		r = index_open(services->store->root_fd, options->index_map, &services->index,
			       &state, problem);
	if (r)
		return r;
	clean = state == INDEX_CLEAN;
	output->index_lost = state == INDEX_EMPTY;
	if (request->op == ADMIN_GC && !clean) {
		r = index_rebuild(services->index, services->store, NULL);
		clean = !r;
	}
	if (services->index && (!output->index_lost || request->op == ADMIN_GC))
		index_set_ready(services->index, index_failures(services->index));
	if (!r)
		r = admin_run(request, services, output, report, problem);
	if (!r && request->op == ADMIN_FSCK && request->repair)
		clean = true;
	close_index(services, clean, output->index_lost && !changes);
	return r;
}

static int ask_self(const struct admin_request *request, const struct options *options,
		    int (*line)(void *context, const json_t *line), void *context, json_t **report,
		    struct problem *problem)
{
	struct admin_output output = { .line = line, .context = context };
	struct services services = { .store = NULL };
	int r = store_open(options->store, &services.store, problem);

	if (r)
		return r;
	services.store->lease_s = (int64_t)options->lease_s;
	services.store->sparse_index = options->sparse_index;
	r = work(request, options, &services, &output, report, problem);
	store_close(services.store);
	return r;
}

static int open_store_dir(const char *path, struct stat *st, struct problem *problem)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return problem_set(problem, -errno, "store %s: %s; --store names it", path,
				   strerror(errno));
	if (fstat(fd, st))
		return -errno;
	if (faccessat(fd, "blobs", F_OK, 0) || faccessat(fd, "repositories", F_OK, 0))
		return problem_set(problem, -ENOENT,
				   "%s is no store of intinode-serve: it has no 'blobs' and "
				   "'repositories'; --store names one",
				   path);
	return steal_fd(&fd);
}

int commands_ask(const struct admin_request *request, const struct options *options,
		 int (*line)(void *context, const json_t *line), void *context, json_t **report,
		 struct problem *problem)
{
	static const struct timespec pause = { .tv_nsec = TRY_PAUSE_MS * 1000000L };
	struct stat st;
	cleanup_close int fd = open_store_dir(options->store, &st, problem);
	cleanup_free char *socket = format_text("/proc/self/fd/%d/" ADMIN_SOCKET, fd);
	int r = fd < 0 ? fd : socket ? 0 : -ENOMEM;

	for (unsigned int i = 0; !r && i < TRIES; i++) {
		struct control *control;
		struct problem why = { "" };

		r = control_connect(socket, &control, NULL);
		if (!r) {
			r = ask_server(control, request, line, context, report, problem);
			control_close(control);
			return r;
		}
		if (r != -ENOENT && r != -ECONNREFUSED)
			return problem_set(problem, r,
					   "store %s: the socket of its server: %s; run this as "
					   "root or as the server's user",
					   options->store, strerror(-r));
		r = i ? 0 : become_owner(&st, options->store, problem);
		if (r)
			return r;
		r = ask_self(request, options, line, context, report, &why);
		if (r != -EWOULDBLOCK)
			return r ? problem_set(problem, r, "%s", problem_text(&why, r)) : 0;
		r = 0;
		nanosleep(&pause, NULL);
	}
	return r ? r
		 : problem_set(problem, -EWOULDBLOCK,
			       "store %s: a server has it open, and does not answer on its socket "
			       "'control'",
			       options->store);
}
