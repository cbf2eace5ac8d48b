/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bearer tokens of a Docker token service: JSON Web Tokens (RFC 7519) signed with RS256,
 * RS384, RS512, ES256 or EdDSA by one of the keys in our settings, and by nothing else: what
 * a token says of its key is not looked at, and neither "none" nor a shared secret is taken.
 *
 * Context: any thread, after the keys were loaded.
 */
#pragma once

#include "lib/json.h"

struct jwt_keys;
struct problem;

enum {
	JWT_SIZE_MAX = 16 * 1024,
	JWT_KEYS_MAX = 64,
	JWT_KEYS_QUICK = 4, /* that a token is tried with in less than a millisecond */
	JWT_KEY_FILE_MAX = 1024 * 1024,
	JWT_LEEWAY_S = 60, /* clocks differ */
};

/** jwt_keys_parse() - PEM: certificates and public keys. Return: 0; -EINVAL with @problem. */
int jwt_keys_parse(const char *text, size_t len, struct jwt_keys **out,
		   struct problem *problem) must_check;
int jwt_keys_load(const char *path, struct jwt_keys **out, struct problem *problem) must_check;
void jwt_keys_free(struct jwt_keys *keys);
size_t jwt_keys_count(const struct jwt_keys *keys);

struct jwt_expect {
	const char *issuer;   /* NULL: any */
	const char *audience; /* NULL: any */
	int64_t now_s;
};

/**
 * jwt_verify() - signature, times, issuer and audience.
 * @claims: owned by the caller.
 * @expires_s: wall clock.
 * Return: 0; -EBADMSG: it is no token; -EACCES: signature, issuer or audience are not ours;
 * -ETIME: its time has not come, or is over; -ENOMEM. @problem says it for the log.
 */
int jwt_verify(const struct jwt_keys *keys, const char *token, const struct jwt_expect *expect,
	       json_t **claims, int64_t *expires_s, struct problem *problem) must_check;

/**
 * jwt_grants() - does the "access" claim allow @action ("pull", "push", "delete", "*") on the
 * resource @type ("repository", "registry") named @name?
 */
bool jwt_grants(const json_t *claims, const char *type, const char *name, const char *action);
