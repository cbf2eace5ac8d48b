/* SPDX-License-Identifier: Apache-2.0 */
/* Rules, passwords, and the Authorization header. */
#include "tests/unit/test.h"

#include <pthread.h>
#include <string.h>

#include "lib/log.h"
#include "server/access.h"

/* Of "secret"; the least cost there is. */
#define HASH "$2y$04$n0x85msjzMHyMmDTJuegkuXINbUeSj4TjYncJtMg4p8GuS8moIBBy"

static void set(struct rules *rules, const char *pattern, const char *key, const char *value)
{
	struct problem problem = { "" };

	if (rules_set(rules, pattern, key, value, &problem))
		fail_msg("%s %s = %s: %s", pattern, key, value, problem.text);
}

static void without_a_rule_users_may_and_others_may_not(void **state)
{
	struct rules rules = { .rules = NULL };

	(void)state;
	for (enum action action = 0; action < ACTIONS; action++) {
		assert_true(rules_allow(&rules, "a", action, "alice"));
		assert_false(rules_allow(&rules, "a", action, NULL));
	}
	assert_false(rules_say_who(&rules));
	set(&rules, "a", "quota", "1G");
	assert_false(rules_say_who(&rules));
	set(&rules, "a", "pull", "");
	assert_true(rules_say_who(&rules));
	rules_deinit(&rules);
}

/* In both orders. */
static void the_longest_pattern_counts(void **state)
{
	static const char *const lines[][2] = {
		{ "*", "star" }, { "a/*", "prefix" }, { "a/b/*", "longer" }, { "a/b/c", "name" }
	};

	(void)state;
	for (int reverse = 0; reverse < 2; reverse++) {
		struct rules rules = { .rules = NULL };

		for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
			const char *const *line = lines[reverse ? 3 - i : i];

			set(&rules, line[0], "delete", line[1]);
		}
		assert_true(rules_allow(&rules, "a/b/c", ACTION_DELETE, "name"));
		assert_false(rules_allow(&rules, "a/b/c", ACTION_DELETE, "longer"));
		assert_true(rules_allow(&rules, "a/b/d", ACTION_DELETE, "longer"));
		assert_true(rules_allow(&rules, "a/b/c/d", ACTION_DELETE, "longer"));
		assert_false(rules_allow(&rules, "a/b/d", ACTION_DELETE, "prefix"));
		assert_true(rules_allow(&rules, "a/b", ACTION_DELETE, "prefix"));
		assert_true(rules_allow(&rules, "a", ACTION_DELETE, "star"));
		assert_true(rules_allow(&rules, "ab", ACTION_DELETE, "star"));
		assert_false(rules_allow(&rules, "ab", ACTION_DELETE, "prefix"));
		rules_deinit(&rules);
	}
}

static void each_action_has_its_own_most_specific_rule(void **state)
{
	struct rules rules = { .rules = NULL };

	(void)state;
	set(&rules, "*", "pull", "anonymous");
	set(&rules, "a", "push", "alice, cert:bob");
	assert_true(rules_allow(&rules, "a", ACTION_PULL, NULL));
	assert_true(rules_allow(&rules, "a", ACTION_PUSH, "alice"));
	assert_true(rules_allow(&rules, "a", ACTION_PUSH, "cert:bob"));
	assert_false(rules_allow(&rules, "a", ACTION_PUSH, "bob"));
	assert_false(rules_allow(&rules, "a", ACTION_PUSH, "alic"));
	assert_false(rules_allow(&rules, "a", ACTION_PUSH, NULL));
	assert_true(rules_allow(&rules, "a", ACTION_DELETE, "carol"));
	rules_deinit(&rules);
}

static void who_may_push_may_pull_and_not_the_other_way(void **state)
{
	struct rules rules = { .rules = NULL };

	(void)state;
	set(&rules, "a", "pull", "");
	set(&rules, "a", "push", "alice");
	assert_true(rules_allow(&rules, "a", ACTION_PULL, "alice"));
	assert_false(rules_allow(&rules, "a", ACTION_PULL, "bob"));
	set(&rules, "b", "pull", "authenticated");
	set(&rules, "b", "push", "");
	assert_true(rules_allow(&rules, "b", ACTION_PULL, "alice"));
	assert_false(rules_allow(&rules, "b", ACTION_PUSH, "alice"));
	assert_false(rules_allow(&rules, "b", ACTION_PULL, NULL));
	rules_deinit(&rules);
}

static void what_is_no_rule_is_refused(void **state)
{
	static const char *const lines[][3] = {
		{ "A", "pull", "x" },	 { "a*", "pull", "x" },	  { "*/a", "pull", "x" },
		{ "/*", "pull", "x" },	 { "a//*", "pull", "x" }, { "", "pull", "x" },
		{ "../*", "pull", "x" }, { "a", "pulls", "x" },	  { "a", "quota", "many" },
	};
	struct rules rules = { .rules = NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct problem problem = { "" };

		assert_int_equal(rules_set(&rules, lines[i][0], lines[i][1], lines[i][2], &problem),
				 -EINVAL);
		assert_true(problem.text[0]);
	}
	rules_deinit(&rules);
}

static struct htpasswd *users(const char *text)
{
	struct htpasswd *htpasswd = NULL;
	struct problem problem = { "" };

	if (htpasswd_parse(text, strlen(text), &htpasswd, &problem))
		fail_msg("%s: %s", text, problem.text);
	return htpasswd;
}

static void a_right_password_is_right(void **state)
{
	struct htpasswd *htpasswd = users("# people\r\n\nalice:" HASH "\r\nbob:" HASH);

	(void)state;
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), -EAGAIN);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "secret"), 0);
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), 0);
	assert_int_equal(htpasswd_remembers(htpasswd, "bob", "secret"), -EAGAIN);
	assert_int_equal(htpasswd_verify(htpasswd, "bob", "secret"), 0);
	assert_int_equal(htpasswd_remembers(htpasswd, "alic", "esecret"), -EAGAIN);
	htpasswd_free(htpasswd);
}

/* The same number of verifications for a user who is there and for one who is not. */
static void a_wrong_pair_costs_the_same_work_for_unknown_users(void **state)
{
	static const char *const names[] = { "alice", "nobody" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct htpasswd *htpasswd = users("alice:" HASH "\n");

		for (int round = 0; round < 3; round++)
			assert_int_equal(htpasswd_verify(htpasswd, names[i], "wrong"), -EACCES);
		assert_int_equal(htpasswd_verifications(htpasswd), 1);
		assert_int_equal(htpasswd_remembers(htpasswd, names[i], "wrong"), -EACCES);
		assert_int_equal(htpasswd_verify(htpasswd, names[i], "worse"), -EACCES);
		assert_int_equal(htpasswd_verify(htpasswd, names[i], ""), -EACCES);
		assert_int_equal(htpasswd_verifications(htpasswd), 3);
		/* What is right for another is wrong for him. */
		assert_int_equal(htpasswd_verify(htpasswd, "nobody", "secret"), -EACCES);
		htpasswd_free(htpasswd);
	}
}

static void *verify_right(void *argument)
{
	return (void *)(intptr_t)htpasswd_verify(argument, "alice", "secret");
}

static void who_comes_with_the_same_pair_shares_its_verification(void **state)
{
	struct htpasswd *htpasswd = users("alice:" HASH "\n");
	pthread_t threads[3 * HTPASSWD_VERIFYING_MAX] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, verify_right, htpasswd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_int_equal((intptr_t)result, 0);
	}
	assert_int_equal(htpasswd_verifications(htpasswd), 1);
	htpasswd_free(htpasswd);
}

static void a_file_with_anything_else_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"# nobody\n",
		"alice",
		":" HASH,
		"alice:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"alice:$apr1$abcdefgh$0123456789012345678901",
		"alice:" HASH "x",
		"alice:$2y$03"
		"$n0x85msjzMHyMmDTJuegkuXINbUeSj4TjYncJtMg4p8GuS8moIBBy",
		"alice:$2y$31"
		"$n0x85msjzMHyMmDTJuegkuXINbUeSj4TjYncJtMg4p8GuS8moIBBy",
		"alice:$2z$04"
		"$n0x85msjzMHyMmDTJuegkuXINbUeSj4TjYncJtMg4p8GuS8moIBBy",
		"anonymous:" HASH,
		"authenticated:" HASH,
		"alice:" HASH "\nbob:secret\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct htpasswd *htpasswd = NULL;
		struct problem problem = { "" };

		if (htpasswd_parse(texts[i], strlen(texts[i]), &htpasswd, &problem) != -EINVAL)
			fail_msg("taken: %s", texts[i]);
		assert_true(problem.text[0]);
		assert_null(strstr(problem.text, "secret"));
	}
}

static void a_reload_closes_a_registry_but_never_opens_it(void **state)
{
	const struct access_options open = { .realm = "x" };
	const struct access_options closed = { .realm = "x", .certificates = true };
	struct rules none = { .rules = NULL }, some = { .rules = NULL };
	struct access *access = NULL;
	struct access_state *now;
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(access_new(&open, &none, &access, &problem), 0);
	assert_int_equal(access_reload(access, &open, &none, &problem), 0);
	assert_int_equal(access_reload(access, &closed, &none, &problem), 0);
	assert_int_equal(access_reload(access, &open, &none, &problem), -EPERM);
	set(&none, "a", "quota", "1G");
	assert_int_equal(access_reload(access, &open, &none, &problem), -EPERM);
	set(&some, "a", "pull", "anonymous");
	assert_int_equal(access_reload(access, &open, &some, &problem), 0);
	assert_int_equal(access_reload(access, &open, &none, &problem), -EPERM);
	now = access_get(access);
	assert_false(access_is_open(now));
	access_state_unref(now);
	access_free(access);
}

static void is_pair(const char *header, const char *user, const char *password)
{
	const char *got_user, *got_password;
	char out[256];

	if (!basic_parse(header, out, sizeof(out), &got_user, &got_password))
		fail_msg("refused: %s", header);
	assert_string_equal(got_user, user);
	assert_string_equal(got_password, password);
}

static void basic_is_a_user_and_a_password(void **state)
{
	static const char *const bad[] = {
		"Basic", "Basic ", "Bearer YTpi", "Basic YTp", "Basic YWxpY2U=", "Basic !!!!", "",
	};
	const char *user, *password;
	char out[64], small[3];

	(void)state;
	is_pair("Basic YWxpY2U6cHc=", "alice", "pw");
	is_pair("basic   YWxpY2U6cHc=", "alice", "pw");
	is_pair("Basic YWxpY2U6YTpi", "alice", "a:b");
	is_pair("Basic Og==", "", "");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (basic_parse(bad[i], out, sizeof(out), &user, &password))
			fail_msg("taken: %s", bad[i]);
	}
	assert_false(basic_parse("Basic YTpi", small, sizeof(small), &user, &password));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_rule_users_may_and_others_may_not),
		cmocka_unit_test(the_longest_pattern_counts),
		cmocka_unit_test(each_action_has_its_own_most_specific_rule),
		cmocka_unit_test(who_may_push_may_pull_and_not_the_other_way),
		cmocka_unit_test(what_is_no_rule_is_refused),
		cmocka_unit_test(a_right_password_is_right),
		cmocka_unit_test(a_wrong_pair_costs_the_same_work_for_unknown_users),
		cmocka_unit_test(who_comes_with_the_same_pair_shares_its_verification),
		cmocka_unit_test(a_file_with_anything_else_is_refused),
		cmocka_unit_test(a_reload_closes_a_registry_but_never_opens_it),
		cmocka_unit_test(basic_is_a_user_and_a_password),
	};

	return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
