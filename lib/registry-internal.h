/* SPDX-License-Identifier: Apache-2.0 */
/* What lib/registry*.c share. */
#pragma once

#include "lib/exchange.h"

enum { REGISTRY_HOSTS_MAX = 32 };

/* What a registry was seen to do; forgotten when there are too many. */
struct registry_host {
	char name[HOST_MAX + 1];
	bool push_worked;
	bool single_post_works, single_post_fails;
};

/* A host that is spoken to without TLS. */
struct plain_host {
	struct plain_host *next;
	char name[]; /* lower case, "HOST[:PORT]" */
};

struct registry {
	struct exchange_client client;
	struct auth *auth;
	bool plain_http; /* all hosts are */
	struct plain_host *plain_hosts;
	struct registry_host hosts[REGISTRY_HOSTS_MAX];
	unsigned int n_hosts;
	struct registry_fetch *fetches;
	int n_fetches;
};

static inline void cleanup_exchangep(struct exchange *exchange)
{
	exchange_clear(exchange);
}

#define cleanup_exchange __attribute__((cleanup(cleanup_exchangep)))

/** registry_host() - the record of @name; never NULL. */
struct registry_host *registry_host(struct registry *registry, const char *name);

/** registry_uses_http() - is @host spoken to without TLS? */
bool registry_uses_http(const struct registry *registry, const char *host);

/**
 * registry_prepare() - fill in an exchange for SCHEME://HOST/v2/PATH.
 * @actions: "pull" or "pull,push"; NULL: the scope is what the registry says.
 * @path: owned by the exchange's URL afterwards, freed here; NULL is -ENOMEM. So is @what.
 * Return: 0; -EINVAL for a host or repository that is none; -ENOMEM.
 */
int registry_prepare(const struct registry *registry, struct exchange *exchange, const char *host,
		     const char *repository, const char *actions, char *path, char *what,
		     struct problem *problem) must_check;

/** registry_call() - run an exchange to its end. Return: its error, with @problem. */
int registry_call(struct registry *registry, struct exchange *exchange,
		  struct problem *problem) must_check;
