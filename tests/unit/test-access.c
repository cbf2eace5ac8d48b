/* SPDX-License-Identifier: Apache-2.0 */
/* Rules, passwords, and the Authorization header. */
#include "tests/unit/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "server/access.h"

/* Of "secret"; the least cost there is. */
#define HASH "$2y$04$n0x85msjzMHyMmDTJuegkuXINbUeSj4TjYncJtMg4p8GuS8moIBBy"
/* Of "secret", too, and slow: a second or so. */
#define SLOW_HASH "$2y$14$w1fEeo4qZl4j9U0gSvdNze65lCtydg5mSLQghWHH5VXFCWqsvQMPK"

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

/* That everybody may push who is somebody does not let him read. */
static void a_rule_for_pull_holds_without_one_for_push(void **state)
{
	struct rules rules = { .rules = NULL };

	(void)state;
	set(&rules, "a", "pull", "alice");
	assert_true(rules_allow(&rules, "a", ACTION_PULL, "alice"));
	assert_false(rules_allow(&rules, "a", ACTION_PULL, "bob"));
	assert_true(rules_allow(&rules, "a", ACTION_PUSH, "bob"));
	assert_true(rules_allow(&rules, "b", ACTION_PULL, "bob"));
	set(&rules, "*", "push", "bob");
	assert_true(rules_allow(&rules, "a", ACTION_PULL, "bob"));
	assert_false(rules_allow(&rules, "a", ACTION_PULL, "carol"));
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

static int verify(struct htpasswd *htpasswd, const char *user, const char *password)
{
	struct login login = { .again = NULL };

	return htpasswd_verify(htpasswd, user, password, &login);
}

static void a_right_password_is_right(void **state)
{
	struct htpasswd *htpasswd = users("# people\r\n\nalice:" HASH "\r\nbob:" HASH);

	(void)state;
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), -EAGAIN);
	assert_int_equal(verify(htpasswd, "alice", "secret"), 0);
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), 0);
	assert_int_equal(htpasswd_remembers(htpasswd, "bob", "secret"), -EAGAIN);
	assert_int_equal(verify(htpasswd, "bob", "secret"), 0);
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
			assert_int_equal(verify(htpasswd, names[i], "wrong"), -EACCES);
		assert_int_equal(htpasswd_verifications(htpasswd), 1);
		assert_int_equal(htpasswd_remembers(htpasswd, names[i], "wrong"), -EACCES);
		assert_int_equal(verify(htpasswd, names[i], "worse"), -EACCES);
		assert_int_equal(verify(htpasswd, names[i], ""), -EACCES);
		assert_int_equal(htpasswd_verifications(htpasswd), 3);
		/* What is right for another is wrong for him. */
		assert_int_equal(verify(htpasswd, "nobody", "secret"), -EACCES);
		htpasswd_free(htpasswd);
	}
}

struct waiter {
	struct login login;
	struct htpasswd *htpasswd;
	atomic_int asked; /* again */
};

static void note_again(struct login *login)
{
	container_of(login, struct waiter, login)->asked++;
}

static void *verify_slow(void *argument)
{
	return (void *)(intptr_t)verify(argument, "slow", "secret");
}

/* None of them holds a thread while the one verification, a second or so long, goes on. */
static void who_comes_with_the_same_pair_shares_its_verification(void **state)
{
	struct htpasswd *htpasswd = users("alice:" HASH "\nslow:" SLOW_HASH "\n");
	struct waiter waiters[3 * HTPASSWD_VERIFYING_MAX] = { 0 };
	pthread_t thread;
	void *result;

	(void)state;
	htpasswd_limit(htpasswd, 1, 0);
	assert_int_equal(verify(htpasswd, "alice", "secret"), 0);
	assert_int_equal(pthread_create(&thread, NULL, verify_slow, htpasswd), 0);
	while (htpasswd_verifications(htpasswd) < 2)
		sched_yield();
	for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
		waiters[i].login.again = note_again;
		assert_int_equal(htpasswd_verify(htpasswd, "slow", "secret", &waiters[i].login),
				 -EINPROGRESS);
	}
	assert_int_equal(verify(htpasswd, "slow", "other"), -EBUSY);
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), 0);
	assert_int_equal(verify(htpasswd, "alice", "secret"), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	for (size_t i = 0; i < ARRAY_SIZE(waiters); i++)
		assert_int_equal(waiters[i].asked, 1);
	assert_int_equal(htpasswd_remembers(htpasswd, "slow", "secret"), 0);
	assert_int_equal(htpasswd_verifications(htpasswd), 2);
	htpasswd_free(htpasswd);
}

static void wrong_pairs_make_no_right_one_forgotten(void **state)
{
	struct htpasswd *htpasswd = users("alice:" HASH "\n");
	char password[16];

	(void)state;
	assert_int_equal(verify(htpasswd, "alice", "secret"), 0);
	for (int i = 0; i < 2000; i++) {
		snprintf(password, sizeof(password), "%d", i);
		assert_int_equal(verify(htpasswd, "alice", password), -EACCES);
	}
	assert_int_equal(htpasswd_remembers(htpasswd, "alice", "secret"), 0);
	htpasswd_free(htpasswd);
}

static void an_address_with_many_failures_is_refused_unverified(void **state)
{
	struct htpasswd *htpasswd = users("alice:" HASH "\nbob:" HASH "\n");
	struct login here = { .address = "here" }, there = { .address = "there" };

	(void)state;
	htpasswd_limit(htpasswd, 8, 3);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "secret", &here), 0);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "1", &here), -EACCES);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "1", &here), -EACCES); /* known */
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "2", &here), -EACCES);
	assert_int_equal(htpasswd_verify(htpasswd, "nobody", "3", &here), -EACCES);
	assert_int_equal(htpasswd_verifications(htpasswd), 4);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "4", &here), -EBUSY);
	assert_int_equal(htpasswd_verify(htpasswd, "bob", "secret", &here), -EBUSY);
	assert_int_equal(htpasswd_verifications(htpasswd), 4);
	assert_int_equal(htpasswd_verify(htpasswd, "alice", "secret", &here), 0);
	assert_int_equal(htpasswd_verify(htpasswd, "bob", "secret", &there), 0);
	assert_int_equal(htpasswd_verify(htpasswd, "bob", "secret", &here), 0);
	htpasswd_free(htpasswd);
}

static void failures_are_forgotten_after_a_minute(void **state)
{
	static struct failures failures;
	unsigned char crowd[FAILURES_ADDRESS_BYTES] = "", one[FAILURES_ADDRESS_BYTES] = "one";

	(void)state;
	failures_count(&failures, one, 1000);
	failures_count(&failures, one, 2000);
	/* Nor does a crowd hide it before. */
	for (unsigned int i = 0; i < 3 * FAILURES_SLOTS; i++) {
		memcpy(crowd + 8, &i, sizeof(i));
		failures_count(&failures, crowd, 3000);
	}
	assert_int_equal(failures_of(&failures, one, 1000 + FAILURES_WINDOW_MS - 1), 2);
	assert_int_equal(failures_of(&failures, one, 1000 + FAILURES_WINDOW_MS), 0);
	failures_count(&failures, one, 1000 + FAILURES_WINDOW_MS);
	assert_int_equal(failures_of(&failures, one, 1000 + FAILURES_WINDOW_MS), 1);
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
		"alice:" HASH "\nbob:" HASH "\nalice:" HASH "\n",
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

static void a_user_who_is_there_twice_is_named_with_both_lines(void **state)
{
	static const char text[] = "# users\nbob:" HASH "\nalice:" HASH "\nbob:" SLOW_HASH "\n";
	struct htpasswd *htpasswd = NULL;
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(htpasswd_parse(text, strlen(text), &htpasswd, &problem), -EINVAL);
	assert_string_equal(problem.text, "line 4: the user 'bob' is in line 2, too");
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
		cmocka_unit_test(a_rule_for_pull_holds_without_one_for_push),
		cmocka_unit_test(what_is_no_rule_is_refused),
		cmocka_unit_test(a_right_password_is_right),
		cmocka_unit_test(a_wrong_pair_costs_the_same_work_for_unknown_users),
		cmocka_unit_test(who_comes_with_the_same_pair_shares_its_verification),
		cmocka_unit_test(wrong_pairs_make_no_right_one_forgotten),
		cmocka_unit_test(an_address_with_many_failures_is_refused_unverified),
		cmocka_unit_test(failures_are_forgotten_after_a_minute),
		cmocka_unit_test(a_file_with_anything_else_is_refused),
		cmocka_unit_test(a_user_who_is_there_twice_is_named_with_both_lines),
		cmocka_unit_test(a_reload_closes_a_registry_but_never_opens_it),
		cmocka_unit_test(basic_is_a_user_and_a_password),
	};

	return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
