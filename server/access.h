/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who somebody is and what he may do: passwords (htpasswd.h), tokens (jwt.h), certificates
 * (tls.h) and rules (rules.h) together. Knows nothing of HTTP but the Authorization header.
 *
 * Nothing here looks at the store: whether something is forbidden depends on the user, the
 * name and the action alone, so an answer cannot tell whether the thing exists.
 *
 * Context: any thread.
 */
#pragma once

#include "lib/digest.h"
#include "lib/json.h"
#include "server/htpasswd.h"
#include "server/rules.h"

struct access;	     /* as long as the server */
struct access_state; /* what was loaded at one time; counted references */
struct problem;

struct access_options {
	const char *htpasswd;						     /* file, or NULL */
	const char *realm;						     /* what clients show */
	const char *token_realm, *token_service, *token_issuer, *token_keys; /* NULL: no tokens */
	bool certificates;	    /* client certificates name users */
	unsigned int verifying_max; /* see htpasswd_limit() */
	uint64_t failures_max;
};

struct identity {
	bool known;			   /* by password or certificate */
	char user[HTPASSWD_USER_MAX + 16]; /* "cert:NAME" for a certificate */
	json_t *claims;			   /* owned; of a token, else NULL */
};

/**
 * access_new() - load what the options name.
 * @rules: moved into it, also on failure.
 * Return: 0; negative errno with @problem.
 */
int access_new(const struct access_options *options, struct rules *rules, struct access **out,
	       struct problem *problem) must_check;
void access_free(struct access *access);

/**
 * access_stays_closed() - would a reload open a registry to everybody that was not? A file that is
 * empty, or being written at that moment, must not.
 * Return: 0; -EPERM with @problem.
 */
int access_stays_closed(struct access *access, const struct access_options *options,
			const struct rules *rules, struct problem *problem) must_check;

/**
 * access_reload() - load anew; on failure everything stays as it was.
 * @rules: moved into it, also on failure.
 * Return: as access_new(), and -EPERM: see access_stays_closed().
 */
int access_reload(struct access *access, const struct access_options *options, struct rules *rules,
		  struct problem *problem) must_check;

/** access_get() - what counts now. Give it back with access_state_unref(). */
struct access_state *access_get(struct access *access);
void access_state_unref(struct access_state *state);

/** access_is_open() - no authentication and no rule: everybody may do everything. */
bool access_is_open(const struct access_state *state);

/** access_knows_users() - is there a way to say who one is? */
bool access_knows_users(const struct access_state *state);

/**
 * access_identify() - who sends this Authorization header (or NULL)?
 * @certificate: name in the client's verified certificate, or NULL.
 * @login: NULL: do not block, which verifying a password that is not remembered does for tens of
 * milliseconds, and trying more than JWT_KEYS_QUICK keys on a token for some.
 * Return: 0 (also for nobody in particular); -EAGAIN: call again with @login; -EACCES: what was
 * sent is wrong, with @problem; -EBUSY, -EINPROGRESS: see htpasswd_verify(); -ENOMEM.
 */
int access_identify(struct access_state *state, const char *authorization, const char *certificate,
		    struct login *login, struct identity *out, struct problem *problem) must_check;
void identity_deinit(struct identity *identity);

/** access_allows() - may he do that with this repository? */
bool access_allows(const struct access_state *state, const struct identity *identity,
		   const char *repository, enum action action);

/** access_allows_catalog() - may he list repositories? He sees those that he may pull. */
bool access_allows_catalog(const struct access_state *state, const struct identity *identity);

/** access_is_somebody() - did he say who he is? */
bool access_is_somebody(const struct identity *identity);

/** access_options_of(), access_rules_of() - borrowed from the state. */
const struct access_options *access_options_of(const struct access_state *state);
const struct rules *access_rules_of(const struct access_state *state);

/**
 * basic_parse() - "Basic BASE64" into user and password, in place of @out, which has room for
 * the header. Return: false when it is nothing of the kind.
 */
enum { AUTHORIZATION_MAX = 24 * 1024 };
bool basic_parse(const char *authorization, char *out, size_t size, const char **user,
		 const char **password);
