/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what with which repositories: the [repository PATTERN] sections of the settings.
 * A pattern is a name, "PREFIX/" followed by "*", or "*"; of those that fit a name the longest
 * one that says something about an action counts. What nobody says anything about is allowed to
 * who is authenticated.
 *
 * Context: filled at start-up, read by any thread.
 */
#pragma once

#include "lib/util.h"

struct problem;

enum { RULES_MAX = 4096, RULE_NAMES_MAX = 1024 };

enum action {
	ACTION_PULL, /* also implied by a rule that gives the right to push */
	ACTION_PUSH,
	ACTION_DELETE,
	ACTIONS,
};

struct rule {
	char *pattern;	       /* owned */
	char **names[ACTIONS]; /* owned; NULL: says nothing. NULL-terminated */
	uint64_t quota_bytes;  /* 0: says nothing */
};

struct rules {
	struct rule *rules; /* owned */
	size_t n;
};

/**
 * rules_set() - one key of one section: "pull", "push", "delete" with names divided by spaces
 * or commas ("anonymous", "authenticated", a user, "cert:NAME"), or "quota" with a size.
 * Return: 0; -EINVAL, -E2BIG with @problem; -ENOMEM.
 */
int rules_set(struct rules *rules, const char *pattern, const char *key, const char *value,
	      struct problem *problem) must_check;
void rules_deinit(struct rules *rules);

/**
 * rules_allow() - @user: NULL for who did not say.
 */
bool rules_allow(const struct rules *rules, const char *repository, enum action action,
		 const char *user);

/** rules_say_who() - does any say something about an action? */
bool rules_say_who(const struct rules *rules);

/** rules_quota() - the rule that limits a repository, or NULL. What fits its pattern shares it. */
const struct rule *rules_quota(const struct rules *rules, const char *repository);

/** rule_fits() - does the pattern fit the name? */
bool rule_fits(const struct rule *rule, const char *repository);
