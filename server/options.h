/* SPDX-License-Identifier: Apache-2.0 */
/* What intinode-serve is told: the command line, and the configuration file behind it. */
#pragma once

#include "lib/log.h"
#include "server/access.h"
#include "server/collector.h"
#include "server/http.h"
#include "server/tls.h"

struct problem;

struct options {
	struct http_options http;
	char *listen;	      /* owned */
	char *metrics_listen; /* owned; may be NULL */
	char *store;	      /* owned */
	char *port_file;      /* owned; may be NULL */
	char *log_level;      /* owned */
	enum log_level level;
	uint64_t drain_s;
	char *namespace; /* owned */
	bool sparse_index;
	uint64_t body_memory;
	uint64_t index_map;
	bool compress;
	uint64_t min_free;
	uint64_t quota_total; /* 0: none */
	uint64_t hot;
	uint64_t scrub_s; /* 0: never */
	uint64_t scrub_rate;
	struct collector_options collector;
	uint64_t lease_s;
	uint64_t upload_ttl_s;
	uint64_t untagged_s; /* 0: for ever */
	struct access_options access;
	char *htpasswd, *realm, *token_realm, *token_service, *token_issuer,
		*token_keys;	/* owned */
	uint64_t failed_logins; /* 0: any number */
	struct rules rules;
	struct tls_options tls;
	char *tls_certificate, *tls_key, *tls_client_ca, *tls_client_crl, *tls_client; /* owned */
	bool check_config;
	bool has_file; /* a configuration file was read */
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT };

/**
 * options_read() - defaults, then the configuration file, then the command line, which wins.
 * --help and --version print and give OPTIONS_EXIT.
 * Return: 0 with *@result, or -EINVAL, -ENOENT … with @problem. Free with options_free().
 */
int options_read(int argc, char **argv, struct options *out, enum options_result *result,
		 struct problem *problem) must_check;

/**
 * options_restart_needed() - log each setting that differs but is only read at start-up.
 */
void options_restart_needed(const struct options *now, const struct options *fresh);
void options_free(struct options *options);
