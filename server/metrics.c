/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the counters of requests, the list of what else is counted, and the text format. */
#include "server/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

enum { METHODS = 7, CLASSES = 6, ENDPOINTS = ENDPOINT_READY + 2, BUCKETS = 10 };

static const char *const method_names[METHODS] = { "GET",   "HEAD",   "POST", "PUT",
						   "PATCH", "DELETE", "other" };
/* The last one: whatever is no endpoint. */
static const char *const endpoint_names[ENDPOINTS] = {
	[ENDPOINT_BASE] = "base",	[ENDPOINT_CATALOG] = "catalog",
	[ENDPOINT_BLOB] = "blob",	[ENDPOINT_UPLOADS] = "uploads",
	[ENDPOINT_UPLOAD] = "upload",	[ENDPOINT_MANIFEST] = "manifest",
	[ENDPOINT_TAGS] = "tags",	[ENDPOINT_REFERRERS] = "referrers",
	[ENDPOINT_METRICS] = "metrics", [ENDPOINT_HEALTH] = "healthz",
	[ENDPOINT_READY] = "readyz",	[ENDPOINTS - 1] = "none",
};
static const struct {
	uint64_t us;
	const char *text;
} buckets[BUCKETS] = {
	{ 500, "0.0005" },  { 1000, "0.001" },	{ 5000, "0.005" }, { 10000, "0.01" },
	{ 50000, "0.05" },  { 100000, "0.1" },	{ 500000, "0.5" }, { 1000000, "1" },
	{ 10000000, "10" }, { 60000000, "60" },
};

static atomic_uint_least64_t requests[ENDPOINTS][METHODS][CLASSES];
static atomic_uint_least64_t durations[ENDPOINTS][BUCKETS + 1], duration_sums_us[ENDPOINTS];
static atomic_uint_least64_t received, sent;

static struct {
	const struct metric *metrics;
	size_t n;
	void *context;
} tables[METRICS_TABLES_MAX];
static unsigned int n_tables;

void metrics_register(const struct metric *metrics, size_t n, void *context)
{
	assert(n_tables < METRICS_TABLES_MAX);
	tables[n_tables].metrics = metrics;
	tables[n_tables].n = n;
	tables[n_tables++].context = context;
}

static void add(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(atomic_uint_least64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_count_request(const struct metrics_request *request)
{
	unsigned int endpoint = request->is_routed ? request->endpoint : ENDPOINTS - 1;
	unsigned int class = request->status / 100, method = 0, bucket = 0;

	while (method < METHODS - 1 && request->method != (enum method)(1u << method))
		method++;
	while (bucket < BUCKETS && request->duration_us > buckets[bucket].us)
		bucket++;
	add(&requests[endpoint][method][class < CLASSES ? class : 0], 1);
	add(&durations[endpoint][bucket], 1);
	add(&duration_sums_us[endpoint], request->duration_us);
	add(&received, request->received);
	add(&sent, request->sent);
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP intinode_%s %s\n# TYPE intinode_%s %s\n", name, help, name, type);
}

static void render_requests(FILE *out)
{
	head(out, "http_requests_total", "counter",
	     "Requests done, by endpoint, method and class of status.");
	for (unsigned int e = 0; e < ENDPOINTS; e++) {
		for (unsigned int m = 0; m < METHODS; m++) {
			for (unsigned int c = 0; c < CLASSES; c++) {
				uint64_t n = get(&requests[e][m][c]);

				if (n)
					fprintf(out,
						"intinode_http_requests_total{endpoint=\"%s\","
						"method=\"%s\",status=\"%uxx\"} %" PRIu64 "\n",
						endpoint_names[e], method_names[m], c, n);
			}
		}
	}
	head(out, "http_received_bytes_total", "counter", "Bytes of request bodies.");
	fprintf(out, "intinode_http_received_bytes_total %" PRIu64 "\n", get(&received));
	head(out, "http_sent_bytes_total", "counter", "Bytes of answers' bodies.");
	fprintf(out, "intinode_http_sent_bytes_total %" PRIu64 "\n", get(&sent));
}

static void render_durations(FILE *out)
{
	static const char name[] = "intinode_http_request_duration_seconds";

	head(out, name + sizeof("intinode"), "histogram",
	     "From the head of a request to the last byte of its answer.");
	for (unsigned int e = 0; e < ENDPOINTS; e++) {
		uint64_t n = 0, us = get(&duration_sums_us[e]);

		for (unsigned int b = 0; b <= BUCKETS; b++) {
			n += get(&durations[e][b]);
			fprintf(out, "%s_bucket{endpoint=\"%s\",le=\"%s\"} %" PRIu64 "\n", name,
				endpoint_names[e], b < BUCKETS ? buckets[b].text : "+Inf", n);
		}
		fprintf(out, "%s_sum{endpoint=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", name,
			endpoint_names[e], us / 1000000, us % 1000000);
		fprintf(out, "%s_count{endpoint=\"%s\"} %" PRIu64 "\n", name, endpoint_names[e], n);
	}
}

static void render_tables(FILE *out)
{
	for (unsigned int t = 0; t < n_tables; t++) {
		const char *last = "";

		for (size_t i = 0; i < tables[t].n; i++) {
			const struct metric *metric = &tables[t].metrics[i];

			if (strcmp(last, metric->name))
				head(out, metric->name,
				     metric->type == METRIC_COUNTER ? "counter" : "gauge",
				     metric->help);
			last = metric->name;
			fprintf(out, "intinode_%s%s%s%s %" PRIu64 "\n", metric->name,
				metric->labels ? "{" : "", metric->labels ? metric->labels : "",
				metric->labels ? "}" : "", metric->read(tables[t].context));
		}
	}
}

char *metrics_render(size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	bool failed;

	if (!out)
		return NULL;
	head(out, "build_info", "gauge", "The version that runs.");
	fprintf(out, "intinode_build_info{version=\"%s\",libmicrohttpd=\"%s\"} 1\n",
		PACKAGE_VERSION, MHD_get_version());
	render_requests(out);
	render_durations(out);
	render_tables(out);
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}
