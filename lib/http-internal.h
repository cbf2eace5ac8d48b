/* SPDX-License-Identifier: Apache-2.0 */
/* What lib/http.c and lib/http-setup.c share. */
#pragma once

#include <assert.h>
#include <curl/curl.h>

#include "lib/http.h"

enum {
	HTTP_IDLE_MAX = 64, /* easy handles kept; each about 6 KiB */
	HTTP_EXTRA_MAX = 64,
};

struct http {
	CURLM *multi;
	CURL *idle[HTTP_IDLE_MAX];
	unsigned int n_idle;
	char *ca_file; /* owned, may be NULL */
	bool insecure;
	unsigned int connect_timeout_ms, stall_timeout_ms;
	struct http_transfer *resuming;
	struct http_timer *timers;
	int64_t next_due_ms;   /* no timer is due before */
	bool is_busy;	       /* inside libcurl */
	unsigned int n_events; /* of this http_run() */
};

/** http_setup() - all options of transfer->easy. Return: 0 or -ENOMEM. */
int http_setup(struct http_transfer *transfer) must_check;

/** http_conclude() - fill in the answer once libcurl is done. */
void http_conclude(struct http_transfer *transfer, CURLcode result);
