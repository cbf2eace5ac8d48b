/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What intinode-fetchd was told on its command line and in its configuration file
 * (intinode-fetchd(8)).
 */
#pragma once

#include "fetchd/sandbox.h"
#include "lib/log.h"

enum { REGISTRIES_MAX = 256, MIRRORS_MAX = 8, BUCKETS_MAX = 64 };

/* [registry HOST]: a host that blobs may be fetched from. */
struct registry_rule {
	char *host; /* owned, lower case, "HOST[:PORT]" */
	bool allow; /* stubs may name this host in their urls */
	bool plain_http, insecure;
	char *ca_file; /* owned, may be NULL */
	/* Asked before it, in this order; each "HOST[:PORT][/PREFIX]". Owned. */
	char **mirrors;
	size_t n_mirrors;
};

/* [s3 BUCKET]: a bucket that files may be fetched from. */
struct bucket {
	char *name;	/* owned */
	char *endpoint; /* owned: "https://HOST[:PORT]"; the bucket is the first part of the path */
	char *host;	/* owned: of endpoint, "HOST[:PORT]"; the auth file's entry is its key */
	char *region;	/* owned */
};

struct options {
	char *cache, *state, *run; /* owned */
	char *socket;		   /* owned: RUN/fetchd.sock */
	char *config;		   /* owned, NULL: none given */
	char *auth_file;	   /* owned, NULL: docker's and podman's places */
	uint64_t deadline_s;	   /* a caller waits no longer for a miss */
	uint64_t fetches_max;	   /* at one time; more wait */
	uint64_t cache_size;	   /* bytes of the cache; UINT64_MAX: as many as there are */
	uint64_t scrub_s;	   /* seconds between looks at all files of the cache; 0: never */
	uint64_t scrub_rate;	   /* bytes a second of these */
	uint64_t cache_free;	   /* of its file system that stay free, at most a twentieth */
	enum log_level log_level;
	enum sandbox_mode sandbox; /* of the processes that meet the network */
	bool check_config;
	struct registry_rule *rules; /* owned */
	size_t n_rules;
	struct bucket *buckets; /* owned */
	size_t n_buckets;
};

/**
 * options_parse() - command line first, then the file it names (or the default one where it
 * exists). Prints help or version and exits where these were asked for.
 */
int options_parse(int argc, char **argv, struct options *out, struct problem *problem) must_check;
void options_free(struct options *options);

/** options_rule() - the rule of a host, or NULL. Borrowed. */
const struct registry_rule *options_rule(const struct options *options, const char *host);

/** options_bucket() - the same of a bucket's name of @len bytes. */
const struct bucket *options_bucket(const struct options *options, const char *name, size_t len);
