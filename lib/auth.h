/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User names and passwords of registries: docker's config.json, which podman and skopeo
 * read and write too (containers-auth.json(5)), and what is set by hand.
 */
#pragma once

#include "lib/util.h"

struct auth;
struct problem;

enum {
	AUTH_FILE_MAX = 1024 * 1024,
	AUTH_ENTRIES_MAX = 4096,
};

/* Borrowed from the struct auth. */
struct auth_credentials {
	const char *user, *password;
	const char *identity_token; /* NULL: user and password are what there is */
};

/** auth_new() - knows nothing. Return: NULL without memory. Free with auth_free(). */
struct auth *auth_new(void) must_check;

/** auth_free() - secrets are overwritten first. NULL is fine. */
void auth_free(struct auth *auth);

/**
 * auth_load_file() - add the entries of a config.json behind those that are known.
 * Return: 0; -ENOENT; -errno; -EINVAL (not such a file); all with @problem.
 */
int auth_load_file(struct auth *auth, const char *path, struct problem *problem) must_check;

/**
 * auth_load_default() - $REGISTRY_AUTH_FILE alone where it is set, which then has to exist;
 * else those that exist of $DOCKER_CONFIG/config.json (without that variable:
 * ~/.docker/config.json), ${XDG_RUNTIME_DIR:-/run/containers/UID}/containers/auth.json and
 * ~/.config/containers/auth.json, in this order.
 */
int auth_load_default(struct auth *auth, struct problem *problem) must_check;

/** auth_set() - credentials for @host, ahead of everything else. NULL @user: forget them. */
int auth_set(struct auth *auth, const char *host, const char *user,
	     const char *password) must_check;

/**
 * auth_find() - the entry for HOST/REPOSITORY, else for its longest prefix at a '/', else for
 * HOST. In each file; the first file that has one counts.
 * @repository: may be NULL.
 */
bool auth_find(const struct auth *auth, const char *host, const char *repository,
	       struct auth_credentials *out);

/**
 * auth_helper() - the credential helper that a file names for @host ("credHelpers", or
 * "credsStore" with an entry for the host), or NULL. Helpers are not run; this is for the
 * message when credentials turn out to be needed.
 */
const char *auth_helper(const struct auth *auth, const char *host);

/** auth_basic() - "Basic <base64 of user:password>". The caller frees it; NULL = no memory. */
char *auth_basic(const struct auth_credentials *credentials) must_check;

/** auth_forget() - free a secret text, overwriting it first. NULL is fine. */
void auth_forget(char *secret);
