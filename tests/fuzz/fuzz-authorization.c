/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What says who somebody is: any bytes as an Authorization header, as a file of users, and as
 * the names of a rule. Nobody gets in, and what is read out lies within what came.
 */
#include <assert.h>
#include <string.h>

#include "lib/log.h"
#include "server/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_header(const char *text)
{
	size_t size = strlen(text) + 1;
	char *out = malloc(size);
	const char *user, *password;

	if (!out)
		return;
	if (basic_parse(text, out, size, &user, &password)) {
		assert(user == out && strlen(user) <= HTPASSWD_USER_MAX && !strchr(user, ':'));
		assert(password == user + strlen(user) + 1);
		assert(password + strlen(password) < out + size);
	}
	free(out);
}

static void identify(const char *text)
{
	const struct access_options options = { .realm = "x", .certificates = true };
	struct rules rules = { .rules = NULL };
	struct access *access = NULL;
	struct access_state *state;
	struct identity identity;
	struct login login = { .again = NULL };
	struct problem problem = { "" };

	if (access_new(&options, &rules, &access, &problem))
		abort();
	state = access_get(access);
	if (!access_identify(state, text, NULL, &login, &identity, &problem))
		assert(!access_is_somebody(&identity));
	identity_deinit(&identity);
	access_state_unref(state);
	access_free(access);
}

static void read_users(const char *text, size_t len)
{
	struct htpasswd *htpasswd = NULL;
	struct problem problem = { "" };
	int r = htpasswd_parse(text, len, &htpasswd, &problem);

	if (r)
		assert(r == -ENOMEM || problem.text[0]);
	else
		htpasswd_free(htpasswd);
}

static void read_rule(const char *text)
{
	struct rules rules = { .rules = NULL };
	struct problem problem = { "" };

	if (!rules_set(&rules, "a/*", "push", text, &problem)) {
		assert(!rules_allow(&rules, "a/b", ACTION_PUSH, "") || strstr(text, "a"));
		assert(!rules_allow(&rules, "b", ACTION_PULL, NULL));
	}
	if (!rules_set(&rules, text, "pull", "alice", &problem))
		assert(!rules_allow(&rules, "a", ACTION_DELETE, NULL));
	rules_deinit(&rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);

	if (!text)
		return 0;
	read_header(text);
	identify(text);
	read_users((const char *)data, size);
	read_rule(text);
	return 0;
}
