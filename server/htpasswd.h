/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User names and passwords in the form of Apache's htpasswd -B: bcrypt and nothing else.
 * A verification takes tens of milliseconds, on purpose; who was verified is remembered for a
 * while, by a keyed hash of what was sent.
 *
 * Context: any thread, after it was loaded.
 */
#pragma once

#include "server/failures.h"

struct htpasswd;
struct problem;

enum {
	HTPASSWD_FILE_MAX = 4 * 1024 * 1024,
	HTPASSWD_USERS_MAX = 100000,
	HTPASSWD_USER_MAX = 255,
	HTPASSWD_REMEMBER_S = 300,
	HTPASSWD_REFUSE_S = 5, /* how long a wrong pair is refused unverified */
	HTPASSWD_VERIFYING_MAX = 8,
};

/* Who logs in: embedded in what it is for, and left alone until it is over. */
struct login {
	unsigned char address[FAILURES_ADDRESS_BYTES]; /* where from */
	void (*again)(struct login *login);	       /* see htpasswd_verify() */
	struct login *next;			       /* under the lock of the htpasswd */
};

/** htpasswd_parse() - Return: 0; -EINVAL with @problem, that names the line; -ENOMEM. */
int htpasswd_parse(const char *text, size_t len, struct htpasswd **out,
		   struct problem *problem) must_check;
int htpasswd_load(const char *path, struct htpasswd **out, struct problem *problem) must_check;
void htpasswd_free(struct htpasswd *htpasswd);

/**
 * htpasswd_limit() - before it is used.
 * @verifying: different pairs at a time, at most HTPASSWD_VERIFYING_MAX; each takes a thread.
 * @failures: wrong pairs from one address in a minute, behind which it is refused; 0: any number.
 */
void htpasswd_limit(struct htpasswd *htpasswd, unsigned int verifying, uint64_t failures);

/**
 * htpasswd_remembers() - what is known of this pair without a verification. Quick.
 * Return: 0 it was right; -EACCES it was wrong; -EAGAIN nothing is known; -ENOMEM.
 */
int htpasswd_remembers(struct htpasswd *htpasswd, const char *user,
		       const char *password) must_check;

/**
 * htpasswd_verify() - is the pair right? Blocks for a verification, which is the same work for
 * a user who is not there. Those who come with the same pair meanwhile share it, and hold no
 * thread while they wait.
 * Return: 0; -EACCES; -EBUSY: too many are being verified, or were wrong from that address;
 * -EINPROGRESS: another verifies the pair, and calls @login->again when it is to be asked again.
 * That may be before this returns: what holds @login is not to be touched any more. -ENOMEM.
 */
int htpasswd_verify(struct htpasswd *htpasswd, const char *user, const char *password,
		    struct login *login) must_check;

/** htpasswd_verifications() - how many there have been. */
uint64_t htpasswd_verifications(struct htpasswd *htpasswd);
