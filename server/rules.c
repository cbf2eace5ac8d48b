/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of rules and what follows from them. */
#include "server/rules.h"

#include <string.h>

#include "lib/config.h"
#include "lib/log.h"
#include "lib/reference.h"

static const char *const action_names[ACTIONS] = {
	[ACTION_PULL] = "pull",
	[ACTION_PUSH] = "push",
	[ACTION_DELETE] = "delete",
};

static bool pattern_is_valid(const char *pattern)
{
	size_t len = strlen(pattern);

	if (!strcmp(pattern, "*"))
		return true;
	if (len > 2 && !strcmp(pattern + len - 2, "/*"))
		len -= 2;
	return repository_is_valid(pattern, len);
}

static int rule_for(struct rules *rules, const char *pattern, struct rule **out,
		    struct problem *problem)
{
	struct rule *more;

	if (!pattern_is_valid(pattern))
		return problem_set(problem, -EINVAL,
				   "'%s' is neither a repository's name, nor PREFIX/* or *",
				   pattern);
	for (size_t i = 0; i < rules->n; i++) {
		if (!strcmp(rules->rules[i].pattern, pattern)) {
			*out = &rules->rules[i];
			return 0;
		}
	}
	if (rules->n == RULES_MAX)
		return problem_set(problem, -E2BIG, "more than %d [repository] sections",
				   RULES_MAX);
	more = reallocarray(rules->rules, rules->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	rules->rules = more;
	more[rules->n] = (struct rule){ .pattern = strdup(pattern) };
	if (!more[rules->n].pattern)
		return -ENOMEM;
	*out = &more[rules->n++];
	return 0;
}

static void free_names(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

static int split_names(const char *value, char ***out, struct problem *problem)
{
	static const char between[] = " \t,";
	const char *p = value + strspn(value, between);
	char **names = calloc(1, sizeof(*names));
	size_t n = 0;

	while (names && *p) {
		size_t len = strcspn(p, between);
		char **more = n < RULE_NAMES_MAX ? reallocarray(names, n + 2, sizeof(*names))
						 : NULL;

		if (!more) {
			free_names(names);
			return n < RULE_NAMES_MAX
				       ? -ENOMEM
				       : problem_set(problem, -E2BIG, "more than %d names",
						     RULE_NAMES_MAX);
		}
		names = more;
		names[n] = strndup(p, len);
		names[++n] = NULL;
		if (!names[n - 1]) {
			free_names(names);
			return -ENOMEM;
		}
		p += len;
		p += strspn(p, between);
	}
	*out = names;
	return names ? 0 : -ENOMEM;
}

int rules_set(struct rules *rules, const char *pattern, const char *key, const char *value,
	      struct problem *problem)
{
	struct rule *rule = NULL;
	char **names = NULL;
	int r = rule_for(rules, pattern, &rule, problem);

	if (r)
		return r;
	if (!strcmp(key, "quota")) {
		r = config_parse_size(value, &rule->quota_bytes);
		return r ? problem_set(problem, -EINVAL, "'%s' is not a size, as in 512M or 20G",
				       value)
			 : 0;
	}
	for (size_t i = 0; i < ACTIONS; i++) {
		if (strcmp(action_names[i], key))
			continue;
		r = split_names(value, &names, problem);
		if (r)
			return r;
		free_names(rule->names[i]);
		rule->names[i] = names;
		return 0;
	}
	return problem_set(problem, -EINVAL, "'%s': pull, push, delete and quota are possible",
			   key);
}

void rules_deinit(struct rules *rules)
{
	for (size_t i = 0; i < rules->n; i++) {
		free(rules->rules[i].pattern);
		for (size_t k = 0; k < ACTIONS; k++)
			free_names(rules->rules[i].names[k]);
	}
	free(rules->rules);
	*rules = (struct rules){ .rules = NULL };
}

bool rule_fits(const struct rule *rule, const char *repository)
{
	size_t len = strlen(rule->pattern);

	if (rule->pattern[len - 1] != '*')
		return !strcmp(rule->pattern, repository);
	return !strncmp(rule->pattern, repository, len - 1);
}

/* A name says more than a prefix of the same length. */
static size_t weight(const struct rule *rule)
{
	size_t len = strlen(rule->pattern);

	return rule->pattern[len - 1] == '*' ? 2 * (len - 1) : 2 * len + 1;
}

static bool names_allow(char *const *names, const char *user)
{
	for (; *names; names++) {
		if (!strcmp(*names, "anonymous") ||
		    (user && (!strcmp(*names, "authenticated") || !strcmp(*names, user))))
			return true;
	}
	return false;
}

/* The one that counts for an action; NULL: none says anything about it. */
static const struct rule *best_rule(const struct rules *rules, const char *repository,
				    enum action action)
{
	const struct rule *best = NULL;

	for (size_t i = 0; i < rules->n; i++) {
		const struct rule *rule = &rules->rules[i];

		if (rule->names[action] && rule_fits(rule, repository) &&
		    (!best || weight(rule) > weight(best)))
			best = rule;
	}
	return best;
}

bool rules_allow(const struct rules *rules, const char *repository, enum action action,
		 const char *user)
{
	const struct rule *rule = best_rule(rules, repository, action), *push;

	if (rule ? names_allow(rule->names[action], user) : user != NULL)
		return true;
	/* Only a right that somebody gave: where none says who pushes, "pull = alice" holds. */
	push = action == ACTION_PULL ? best_rule(rules, repository, ACTION_PUSH) : NULL;
	return push && names_allow(push->names[ACTION_PUSH], user);
}

bool rules_say_who(const struct rules *rules)
{
	for (size_t i = 0; i < rules->n; i++) {
		for (size_t k = 0; k < ACTIONS; k++) {
			if (rules->rules[i].names[k])
				return true;
		}
	}
	return false;
}

const struct rule *rules_quota(const struct rules *rules, const char *repository)
{
	const struct rule *best = NULL;

	for (size_t i = 0; i < rules->n; i++) {
		const struct rule *rule = &rules->rules[i];

		if (rule->quota_bytes && rule_fits(rule, repository) &&
		    (!best || weight(rule) > weight(best)))
			best = rule;
	}
	return best;
}
