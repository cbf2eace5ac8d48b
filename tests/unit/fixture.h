/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the registry client share: a bad server, a blob on it, a client. */
#pragma once

#include "tests/unit/test.h"

#include <string.h>

#include "lib/log.h"
#include "lib/registry.h"
#include "tests/unit/badserver.h"

enum { BLOB_SIZE = 200 * 1000, STALL_MS = 1000, RETRIES = 2 };

struct received {
	char *bytes;
	size_t len;
};

struct fixture {
	struct badserver server;
	struct registry *registry;
	char host[32], other_host[32];
	char blob[BLOB_SIZE];
	struct digest digest;
	char digest_text[DIGEST_TEXT_SIZE];
	struct problem problem;
	struct received got;
	int blob_fd;
};

extern struct fixture fx;

/** fixture_setup(), fixture_teardown() - for a group of tests. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/** fixture_client() - a new client, a new mark in the log; for each test. */
int fixture_client(void **state);
int fixture_drop_client(void **state);

/** fixture_login() - what the server takes: bob:secret. */
void fixture_login(const char *password);

/** get() - the blob from REPOSITORY (whose first component is the mode) into fx.got. */
int get(const char *repository);

/** sink_keep() - a sink that appends to a struct received. */
int sink_keep(void *context, const void *bytes, size_t len);

/** got_blob() - is what came exactly the blob? */
bool got_blob(void);

/** count() - requests since the mark: see struct badserver_filter. */
unsigned int count(unsigned int port, const char *method, const char *path);
unsigned int count_header(unsigned int port, const char *header, const char *value);

/** says() - is this part of the problem's text? */
bool says(const char *part);

/** file_with() - an unnamed file with this content. */
int file_with(const void *bytes, size_t len);
