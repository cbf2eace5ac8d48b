/* SPDX-License-Identifier: Apache-2.0 */
/* Runs tests/lib/badserver.py beside a test and reads its log. */
#pragma once

#include <sys/types.h>

#include "lib/json.h"

struct badserver {
	pid_t pid;
	int stdin_fd;
	unsigned int port, other_port, tls_port; /* tls_port: 0 without a certificate */
	char dir[32];				 /* private; removed in the end */
	char log_path[64], cert_path[64];	 /* cert_path: "" where openssl is missing */
	long log_offset;
};

/** badserver_start() - Return: 0 or -1. */
int badserver_start(struct badserver *server);
void badserver_stop(struct badserver *server);

/** badserver_mark() - badserver_count() looks at requests from now on. */
void badserver_mark(struct badserver *server);

struct badserver_filter {
	unsigned int port;  /* 0: any */
	const char *method; /* NULL: any */
	const char *path;   /* part of the path; NULL: any */
	const char *header; /* has this header (lower case); NULL: any */
	const char *value;  /* and its value begins so; NULL: any */
};

/** badserver_count() - requests since the mark that fit. */
unsigned int badserver_count(struct badserver *server, const struct badserver_filter *filter);

/** badserver_connections() - how many connections the requests since the mark came over. */
unsigned int badserver_connections(struct badserver *server);
