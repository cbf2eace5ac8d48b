/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the way from a request to gc, fsck and stat, and from their results to JSON. */
#include "server/admin_run.h"

#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "server/collector.h"
#include "server/fsck.h"
#include "server/packer.h"
#include "server/storestat.h"

enum { PROGRESS_MS = 200 };

struct run {
	const struct admin_request *request;
	struct services *services;
	const struct admin_output *output;
	int64_t shown_ms;
	/* gc cannot be told to end by its progress, so this tells it. */
	atomic_bool stop;
};

/* Takes over @line. */
static int put_line(struct run *run, json_t *line)
{
	cleanup_json json_t *owned = line;

	return owned ? run->output->line(run->output->context, owned) : -ENOMEM;
}

static int progress(void *context, const char *what, uint64_t n)
{
	struct run *run = context;
	int64_t now = now_ms();

	if (run->output->stop && *run->output->stop)
		return -ECANCELED;
	if (now - run->shown_ms < PROGRESS_MS)
		return 0;
	run->shown_ms = now;
	return put_line(run, json_pack("{s:s, s:I}", "progress", what, "done", (json_int_t)n));
}

static void gc_progress(void *context, const char *what, uint64_t n)
{
	struct run *run = context;

	if (progress(context, what, n))
		run->stop = true;
}

static int found(void *context, const struct fsck_problem *problem)
{
	return put_line(context,
			json_pack("{s:{s:s, s:s?, s:s, s:s, s:b}}", "found", "kind", problem->kind,
				  "repository", problem->repository, "name", problem->name, "text",
				  problem->text, "repaired", problem->repaired));
}

static const char *index_state(const struct services *services)
{
	struct stat st;

	if (services->index)
		return index_is_ready(services->index) ? "ready" : "being rebuilt";
	return fstatat(services->store->root_fd, "index/data.mdb", &st, 0) ? "missing" : "present";
}

static int run_stat(struct run *run, json_t **report)
{
	struct store_stat s;
	int r = storestat_collect(run->services->store, run->output->stop, &s);

	if (r)
		return r;
	*report = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I}",
		"repositories", (json_int_t)s.n_repositories, "tags", (json_int_t)s.n_tags,
		"manifests", (json_int_t)s.n_manifests, "blobs", (json_int_t)s.n_blobs,
		"packed_blobs", (json_int_t)s.n_packed, "content_bytes",
		(json_int_t)s.content_bytes, "stored_bytes", (json_int_t)s.stored_bytes, "links",
		(json_int_t)s.n_links, "linked_bytes", (json_int_t)s.linked_bytes, "uploads",
		(json_int_t)s.n_uploads, "upload_bytes", (json_int_t)s.upload_bytes, "index",
		index_state(run->services), "free_bytes", (json_int_t)s.free_bytes, "quarantined",
		(json_int_t)s.n_quarantined, "packing_backlog",
		(json_int_t)packer_backlog(run->services->packer));
	return *report ? 0 : -ENOMEM;
}

static int run_fsck(struct run *run, json_t **report, struct problem *problem)
{
	const struct fsck_options options = {
		.repair = run->request->repair,
		.quick = run->request->quick,
		.live = run->output->live,
		.index_lost = run->output->index_lost,
		.rate = run->request->rate,
		.stop = run->output->stop,
		.found = found,
		.progress = progress,
		.context = run,
	};
	struct fsck_report f;
	int r = fsck_run(run->services->store, run->services->index, &options, &f, problem);

	if (r)
		return r;
	*report = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I}", "blobs",
			    (json_int_t)f.n_blobs, "bytes", (json_int_t)f.n_bytes, "repositories",
			    (json_int_t)f.n_repositories, "links", (json_int_t)f.n_links,
			    "manifests", (json_int_t)f.n_manifests, "tags", (json_int_t)f.n_tags,
			    "index_checked", f.index_checked, "problems", (json_int_t)f.n_problems,
			    "repaired", (json_int_t)f.n_repaired, "duration_ms",
			    (json_int_t)f.duration_ms);
	return *report ? 0 : -ENOMEM;
}

static int run_gc(struct run *run, json_t **report, struct problem *problem)
{
	const struct gc_options options = {
		.dry_run = run->request->dry_run,
		.untagged_s = run->request->has_untagged &&
					      run->request->untagged_s < (uint64_t)INT64_MAX / 2
				      ? (int64_t)run->request->untagged_s
				      : GC_NEVER,
		.stop = &run->stop,
		.progress = gc_progress,
		.context = run,
	};
	struct services *services = run->services;
	struct gc_report g;
	int r = services->collector
			? collector_run(services->collector, &options, &g, problem)
			: gc_run(services->store, services->index, &options, &g, problem);

	if (r)
		return r;
	*report = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dry_run", options.dry_run,
			    "repositories", (json_int_t)g.repositories, "unreadable",
			    (json_int_t)g.unreadable, "manifests", (json_int_t)g.manifests, "links",
			    (json_int_t)g.links, "blobs", (json_int_t)g.blobs, "bytes",
			    (json_int_t)g.bytes, "duration_ms", (json_int_t)g.duration_ms);
	return *report ? 0 : -ENOMEM;
}

int admin_run(const struct admin_request *request, struct services *services,
	      const struct admin_output *output, json_t **report, struct problem *problem)
{
	struct run run = { .request = request, .services = services, .output = output };
	int r = -EINVAL;

	switch (request->op) {
	case ADMIN_STAT:
		r = run_stat(&run, report);
		break;
	case ADMIN_FSCK:
		r = run_fsck(&run, report, problem);
		break;
	case ADMIN_GC:
		r = run_gc(&run, report, problem);
		break;
	}
	if (r && problem && !problem->text[0])
		return problem_set(problem, r, "the store cannot be read: %s", strerror(-r));
	return r;
}
