/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the endpoints that look at the server itself, and the gauges of parts too small to have
 * their own table. They need no log-in and name nothing that is stored.
 */
#include "server/monitor.h"

#include <string.h>
#include <sys/statvfs.h>

#include "server/metrics.h"
#include "server/operations.h"
#include "server/packer.h"
#include "server/scrub.h"

#define STATE_READER(name_, state_)                                            \
	static uint64_t name_(void *context)                                   \
	{                                                                      \
		return connections_count(server_connections(context), state_); \
	}
#define CUT_READER(name_, why_)                                             \
	static uint64_t name_(void *context)                                \
	{                                                                   \
		return connections_cuts(server_connections(context), why_); \
	}
STATE_READER(read_new, CONNECTION_NEW)
STATE_READER(read_idle, CONNECTION_IDLE)
STATE_READER(read_header, CONNECTION_HEADER)
STATE_READER(read_body, CONNECTION_BODY)
STATE_READER(read_working, CONNECTION_WORKING)
STATE_READER(read_sending, CONNECTION_SENDING)
CUT_READER(read_cut_header, CUT_HEADER)
CUT_READER(read_cut_body, CUT_BODY)
CUT_READER(read_cut_answer, CUT_ANSWER)
CUT_READER(read_cut_full, CUT_FULL)

static uint64_t read_refused(void *context)
{
	return connections_refused(server_connections(context));
}

static uint64_t read_jobs(void *context)
{
	return server_jobs(context);
}

static const char states_help[] = "Open connections, by what they do.";
static const char cuts_help[] = "Connections closed by the watchdog, by reason.";

static const struct metric server_metrics[] = {
	{ "connections", states_help, METRIC_GAUGE, "state=\"new\"", read_new },
	{ "connections", states_help, METRIC_GAUGE, "state=\"idle\"", read_idle },
	{ "connections", states_help, METRIC_GAUGE, "state=\"header\"", read_header },
	{ "connections", states_help, METRIC_GAUGE, "state=\"body\"", read_body },
	{ "connections", states_help, METRIC_GAUGE, "state=\"working\"", read_working },
	{ "connections", states_help, METRIC_GAUGE, "state=\"sending\"", read_sending },
	{ "connections_cut_total", cuts_help, METRIC_COUNTER, "reason=\"header\"",
	  read_cut_header },
	{ "connections_cut_total", cuts_help, METRIC_COUNTER, "reason=\"body\"", read_cut_body },
	{ "connections_cut_total", cuts_help, METRIC_COUNTER, "reason=\"answer\"",
	  read_cut_answer },
	{ "connections_cut_total", cuts_help, METRIC_COUNTER, "reason=\"full\"", read_cut_full },
	{ "requests_refused_total", "Requests refused for too many connections.", METRIC_COUNTER,
	  NULL, read_refused },
	{ "worker_jobs", "Requests that workers have or that wait for one.", METRIC_GAUGE, NULL,
	  read_jobs },
};

static uint64_t read_uploads(void *context)
{
	return uploads_count(((struct services *)context)->uploads);
}

static uint64_t read_body_memory(void *context)
{
	return ((struct services *)context)->body_memory;
}

static uint64_t read_index_ready(void *context)
{
	return index_is_ready(((struct services *)context)->index);
}

static uint64_t read_free(void *context)
{
	struct statvfs fs;

	if (fstatvfs(((struct services *)context)->store->root_fd, &fs))
		return 0;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static uint64_t read_read_only(void *context)
{
	return store_is_read_only(((struct services *)context)->store);
}

static uint64_t read_backlog(void *context)
{
	return packer_backlog(((struct services *)context)->packer);
}

static uint64_t read_scrub_blobs(void *context)
{
	return scrub_blobs(((struct services *)context)->scrub);
}

static uint64_t read_scrub_bad(void *context)
{
	return scrub_bad(((struct services *)context)->scrub);
}

static const struct metric service_metrics[] = {
	{ "store_read_only", "1 when no changes are taken.", METRIC_GAUGE, NULL, read_read_only },
	{ "uploads_open", "Upload sessions.", METRIC_GAUGE, NULL, read_uploads },
	{ "body_memory_bytes", "Memory of request bodies that are being collected.", METRIC_GAUGE,
	  NULL, read_body_memory },
	{ "packing_backlog", "Blobs that are to be packed; a walk over the store counts as one.",
	  METRIC_GAUGE, NULL, read_backlog },
	{ "scrub_blobs_total", "Blobs hashed in the background.", METRIC_COUNTER, NULL,
	  read_scrub_blobs },
	{ "scrub_bad_total", "Of those, what was not what its name says.", METRIC_COUNTER, NULL,
	  read_scrub_bad },
	{ "index_ready", "1 when listings are answered, 0 during a rebuild.", METRIC_GAUGE, NULL,
	  read_index_ready },
	{ "store_free_bytes", "What the store's file system has left.", METRIC_GAUGE, NULL,
	  read_free },
};

void monitor_register(struct services *services, struct server *server)
{
	metrics_register(server_metrics, ARRAY_SIZE(server_metrics), server);
	metrics_register(service_metrics, ARRAY_SIZE(service_metrics), services);
}

void metrics_begin(struct request *request)
{
	size_t len = 0;
	char *text = metrics_render(&len);

	reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
	reply_header_text(request, "Cache-Control", "no-store");
}

static void reply_line(struct request *request, unsigned int status, const char *line)
{
	char *text = strdup(line);

	reply_text(request, status, "text/plain; charset=utf-8", text, strlen(line));
	reply_header_text(request, "Cache-Control", "no-store");
}

void health_begin(struct request *request)
{
	reply_line(request, 200, "alive\n");
}

void ready_begin(struct request *request)
{
	struct services *services = request->services;
	const char *why = store_read_only_reason(services->store);
	char line[256];

	if (services->draining) {
		reply_line(request, 503, "not ready: stopping\n");
	} else if (why) {
		snprintf(line, sizeof(line), "not ready: no changes are taken: %s\n", why);
		reply_line(request, 503, line);
	} else if (!store_has_room(services->store, 0)) {
		reply_line(request, 503,
			   "not ready: the disk is nearly full, pushes are refused\n");
	} else if (!index_is_ready(services->index)) {
		reply_line(request, 200, "ready, but for listings: the index is being rebuilt\n");
	} else {
		reply_line(request, 200, "ready\n");
	}
}
