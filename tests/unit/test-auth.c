/* SPDX-License-Identifier: Apache-2.0 */
/* Auth files: which entry is for whom, and which files are read. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/auth.h"
#include "lib/log.h"

/* base64 of "bob:secret", "eve:other" and "tim:a:b" */
#define BOB "Ym9iOnNlY3JldA=="
#define EVE "ZXZlOm90aGVy"
#define TIM "dGltOmE6Yg=="

static char dir[] = "/tmp/auth-XXXXXX";
static struct problem problem;

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	unsetenv("REGISTRY_AUTH_FILE");
	unsetenv("DOCKER_CONFIG");
	unsetenv("XDG_RUNTIME_DIR");
	return setenv("HOME", dir, 1);
}

static int remove_dir(void **state)
{
	(void)state;
	return remove_tree_at(AT_FDCWD, dir);
}

/* The name of a file with this content; static. */
static const char *file(const char *name, const char *content)
{
	static char path[256];
	char *slash;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(make_dirs(path, 0700), 0);
	*slash = '/';
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_return_code(fd, errno);
	assert_int_equal(write_all(fd, content, strlen(content)), 0);
	close(fd);
	return path;
}

static int load(struct auth **auth, const char *content)
{
	problem.text[0] = '\0';
	*auth = auth_new();
	assert_non_null(*auth);
	return auth_load_file(*auth, file("config.json", content), &problem);
}

/* "USER:PASSWORD" of what is found, or "". */
static const char *find(const struct auth *auth, const char *host, const char *repository)
{
	static char text[256];
	struct auth_credentials found;

	text[0] = '\0';
	if (auth_find(auth, host, repository, &found))
		snprintf(text, sizeof(text), "%s:%s", found.user, found.password);
	return text;
}

static void an_entry_is_found_by_its_host_and_by_no_other(void **state)
{
	struct auth *auth;

	(void)state;
	assert_int_equal(load(&auth, "{\"auths\":{\"registry.example:5000\":{\"auth\":\"" BOB
				     "\"},\"other.example\":{\"username\":\"eve\",\"password\":"
				     "\"other\"}}}"),
			 0);
	assert_string_equal(find(auth, "registry.example:5000", "a/b"), "bob:secret");
	assert_string_equal(find(auth, "Registry.Example:5000", NULL), "bob:secret");
	assert_string_equal(find(auth, "other.example", "a"), "eve:other");
	assert_string_equal(find(auth, "registry.example", "a/b"), "");
	assert_string_equal(find(auth, "registry.example:50000", "a/b"), "");
	assert_string_equal(find(auth, "example", "a/b"), "");
	auth_free(auth);
}

static void the_longest_path_that_holds_the_repository_wins(void **state)
{
	struct auth *auth;

	(void)state;
	assert_int_equal(load(&auth, "{\"auths\":{\"r.example\":{\"auth\":\"" BOB
				     "\"},\"r.example/team\":{\"auth\":\"" EVE
				     "\"},\"r.example/team/app\":{\"auth\":\"" TIM "\"}}}"),
			 0);
	assert_string_equal(find(auth, "r.example", "team/app"), "tim:a:b");
	assert_string_equal(find(auth, "r.example", "team/app/x"), "tim:a:b");
	assert_string_equal(find(auth, "r.example", "team/application"), "eve:other");
	assert_string_equal(find(auth, "r.example", "teams"), "bob:secret");
	assert_string_equal(find(auth, "r.example", NULL), "bob:secret");
	auth_free(auth);
}

static void the_urls_that_docker_writes_are_hosts(void **state)
{
	struct auth *auth;

	(void)state;
	assert_int_equal(
		load(&auth, "{\"auths\":{\"https://r.example/v1/\":{\"auth\":\"" BOB "\"}}}"), 0);
	assert_string_equal(find(auth, "r.example", "a"), "bob:secret");
	auth_free(auth);
}

static void an_identity_token_comes_along(void **state)
{
	struct auth_credentials found;
	struct auth *auth;

	(void)state;
	assert_int_equal(load(&auth,
			      "{\"auths\":{\"r.example\":{\"auth\":\"" BOB
			      "\",\"identitytoken\":\"token\"},\"s.example\":{\"auth\":\"" BOB
			      "\"}}}"),
			 0);
	assert_true(auth_find(auth, "r.example", NULL, &found));
	assert_string_equal(found.identity_token, "token");
	assert_true(auth_find(auth, "s.example", NULL, &found));
	assert_null(found.identity_token);
	auth_free(auth);
}

static void a_helper_is_named_only_for_its_hosts(void **state)
{
	struct auth *auth;

	(void)state;
	assert_int_equal(load(&auth,
			      "{\"auths\":{\"r.example\":{},\"s.example\":{\"auth\":\"" BOB
			      "\"}},\"credsStore\":\"desktop\",\"credHelpers\":{\"h.example\":"
			      "\"cloud\"}}"),
			 0);
	assert_string_equal(auth_helper(auth, "r.example"), "desktop");
	assert_string_equal(auth_helper(auth, "h.example"), "cloud");
	assert_null(auth_helper(auth, "s.example"));
	assert_null(auth_helper(auth, "x.example"));
	assert_string_equal(find(auth, "r.example", NULL), "");
	assert_string_equal(find(auth, "s.example", NULL), "bob:secret");
	auth_free(auth);
}

static void files_that_are_not_auth_files_are_refused_by_name(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{\"auths\":{\"r.example\":{\"auth\":\"!!!!\"}}}",
		"{\"auths\":{\"r.example\":{\"auth\":\"abc\"}}}",
		"{\"auths\":{\"r.example\":{\"auth\":\"Ym9i\"}}}",	   /* "bob" */
		"{\"auths\":{\"r.example\":{\"auth\":\"OnNlY3JldA==\"}}}", /* ":secret" */
		"{\"credHelpers\":{\"r.example\":1}}",
	};
	struct auth *auth;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (load(&auth, bad[i]) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_non_null(strstr(problem.text, "config.json"));
		assert_null(strstr(problem.text, "secret"));
		auth_free(auth);
	}
	auth = auth_new();
	assert_int_equal(auth_load_file(auth, "/nonexistent/file", &problem), -ENOENT);
	assert_non_null(strstr(problem.text, "/nonexistent/file"));
	auth_free(auth);
}

static void what_is_set_by_hand_comes_first_and_can_be_forgotten(void **state)
{
	struct auth *auth;

	(void)state;
	assert_int_equal(load(&auth, "{\"auths\":{\"r.example/team\":{\"auth\":\"" BOB "\"}}}"), 0);
	assert_int_equal(auth_set(auth, "r.example", "me", "mine"), 0);
	assert_string_equal(find(auth, "r.example", "team/x"), "me:mine");
	assert_int_equal(auth_set(auth, "r.example", "me", "new"), 0);
	assert_string_equal(find(auth, "r.example", "team/x"), "me:new");
	assert_int_equal(auth_set(auth, "r.example", NULL, NULL), 0);
	assert_string_equal(find(auth, "r.example", "team/x"), "bob:secret");
	assert_int_equal(auth_set(auth, "r.example", "a:b", "c"), -EINVAL);
	auth_free(auth);
}

static void the_default_files_are_read_in_order(void **state)
{
	struct auth *auth = auth_new();

	(void)state;
	assert_int_equal(auth_load_default(auth, &problem), 0);
	assert_string_equal(find(auth, "r.example", NULL), "");
	auth_free(auth);

	file(".config/containers/auth.json", "{\"auths\":{\"r.example\":{\"auth\":\"" EVE
					     "\"},\"s.example\":{\"auth\":\"" EVE "\"}}}");
	file(".docker/config.json", "{\"auths\":{\"r.example\":{\"auth\":\"" BOB "\"}}}");
	auth = auth_new();
	assert_int_equal(auth_load_default(auth, &problem), 0);
	assert_string_equal(find(auth, "r.example", NULL), "bob:secret");
	assert_string_equal(find(auth, "s.example", NULL), "eve:other");
	auth_free(auth);
}

static void a_file_that_the_environment_names_counts_alone_and_must_be_there(void **state)
{
	struct auth *auth = auth_new();

	(void)state;
	file(".docker/config.json", "{\"auths\":{\"r.example\":{\"auth\":\"" BOB "\"}}}");
	setenv("REGISTRY_AUTH_FILE",
	       file("mine", "{\"auths\":{\"s.example\":{\"auth\":\"" EVE "\"}}}"), 1);
	assert_int_equal(auth_load_default(auth, &problem), 0);
	assert_string_equal(find(auth, "r.example", NULL), "");
	assert_string_equal(find(auth, "s.example", NULL), "eve:other");
	auth_free(auth);
	auth = auth_new();
	setenv("REGISTRY_AUTH_FILE", "/nonexistent/file", 1);
	assert_int_equal(auth_load_default(auth, &problem), -ENOENT);
	unsetenv("REGISTRY_AUTH_FILE");
	auth_free(auth);
}

static void basic_authorization_is_the_base64_of_the_pair(void **state)
{
	const struct auth_credentials bob = { .user = "bob", .password = "secret" };
	char *text = auth_basic(&bob);

	(void)state;
	assert_string_equal(text, "Basic " BOB);
	auth_forget(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_found_by_its_host_and_by_no_other),
		cmocka_unit_test(the_longest_path_that_holds_the_repository_wins),
		cmocka_unit_test(the_urls_that_docker_writes_are_hosts),
		cmocka_unit_test(an_identity_token_comes_along),
		cmocka_unit_test(a_helper_is_named_only_for_its_hosts),
		cmocka_unit_test(files_that_are_not_auth_files_are_refused_by_name),
		cmocka_unit_test(what_is_set_by_hand_comes_first_and_can_be_forgotten),
		cmocka_unit_test(the_default_files_are_read_in_order),
		cmocka_unit_test(a_file_that_the_environment_names_counts_alone_and_must_be_there),
		cmocka_unit_test(basic_authorization_is_the_base64_of_the_pair),
	};

	return cmocka_run_group_tests_name("auth", tests, make_dir, remove_dir);
}
