/* SPDX-License-Identifier: Apache-2.0 */
/* The store's files, upload sessions, and the index that is made from them. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "server/index_rebuild.h"
#include "server/upload.h"

static char dir[64];
static struct store *store;
static struct uploads *uploads;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(dir, sizeof(dir), "/var/tmp/test-store.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, NULL), 0);
	assert_int_equal(uploads_new(store, &uploads), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	uploads_free(uploads);
	store_close(store);
	return remove_tree_at(AT_FDCWD, dir);
}

static struct digest digest_of(const char *text)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, text, strlen(text), &digest), 0);
	return digest;
}

static void blob_is(const struct digest *digest, const char *text)
{
	cleanup_blob struct blob blob = { .fd = -1 };
	cleanup_free char *got = NULL;

	assert_int_equal(store_open_blob(store, digest, &blob), 0);
	assert_int_equal(blob.size_bytes, strlen(text));
	assert_int_equal(blob_read_all(&blob, 64, &got), 0);
	assert_string_equal(got, text);
}

static bool blob_is_missing(const struct digest *digest)
{
	struct blob blob;

	return store_open_blob(store, digest, &blob) == -ENOENT;
}

static void a_published_blob_is_there(void **state)
{
	struct digest digest = digest_of("hello");

	(void)state;
	assert_int_equal(store_publish_bytes(store, &digest, "hello", 5), 0);
	blob_is(&digest, "hello");
}

static void a_blob_of_no_bytes_is_a_blob(void **state)
{
	struct digest digest = digest_of("");

	(void)state;
	assert_int_equal(store_publish_bytes(store, &digest, "", 0), 0);
	blob_is(&digest, "");
}

static void a_put_of_a_digest_that_exists_is_not_an_error(void **state)
{
	struct digest digest = digest_of("again");
	struct stat a, b;
	struct blob blob;

	(void)state;
	assert_int_equal(store_publish_bytes(store, &digest, "again", 5), 0);
	assert_int_equal(store_open_blob(store, &digest, &blob), 0);
	assert_int_equal(fstat(blob.fd, &a), 0);
	blob_close(&blob);
	assert_int_equal(store_publish_bytes(store, &digest, "again", 5), 0);
	assert_int_equal(store_open_blob(store, &digest, &blob), 0);
	assert_int_equal(fstat(blob.fd, &b), 0);
	blob_close(&blob);
	assert_int_equal(a.st_ino, b.st_ino);
}

static void a_link_is_what_gives_a_repository_its_blob(void **state)
{
	struct digest digest = digest_of("linked");

	(void)state;
	assert_int_equal(store_has_repository(store, "a/b"), 0);
	assert_int_equal(store_create_repository(store, "a/b"), 0);
	assert_int_equal(store_has_repository(store, "a/b"), 1);
	assert_int_equal(store_add_link(store, "a/b", STORE_LAYERS, &digest, "", 0), 0);
	assert_int_equal(store_add_link(store, "a/b", STORE_LAYERS, &digest, "", 0), 0);
	assert_int_equal(store_has_link(store, "a/b", STORE_LAYERS, &digest), 1);
	assert_int_equal(store_has_link(store, "a", STORE_LAYERS, &digest), 0);
	assert_int_equal(store_remove_link(store, "a/b", STORE_LAYERS, &digest), 0);
	assert_int_equal(store_remove_link(store, "a/b", STORE_LAYERS, &digest), -ENOENT);
	assert_int_equal(store_remove_link(store, "never", STORE_LAYERS, &digest), -ENOENT);
}

static void a_tag_says_what_it_was_set_to_last(void **state)
{
	struct digest one = digest_of("one"), two = digest_of("two"), got;

	(void)state;
	assert_int_equal(store_create_repository(store, "r"), 0);
	assert_int_equal(store_get_tag(store, "r", "latest", &got), -ENOENT);
	assert_int_equal(store_set_tag(store, "r", "latest", &one), 0);
	assert_int_equal(store_set_tag(store, "r", "latest", &two), 0);
	assert_int_equal(store_get_tag(store, "r", "latest", &got), 0);
	assert_true(digest_equal(&got, &two));
	assert_int_equal(store_remove_tag(store, "r", "latest"), 0);
	assert_int_equal(store_remove_tag(store, "r", "latest"), -ENOENT);
}

static void a_second_server_does_not_get_the_store(void **state)
{
	struct problem problem = { "" };
	struct store *second;

	(void)state;
	assert_int_equal(store_open(dir, &second, &problem), -EWOULDBLOCK);
	assert_non_null(strstr(problem.text, "another intinode-serve"));
}

/* ---- Uploads ---- */

static struct upload *start_upload(void)
{
	struct upload *upload;

	assert_int_equal(upload_new(uploads, "r", true, &upload), 0);
	return upload;
}

static void chunks_make_one_blob(void **state)
{
	struct digest digest = digest_of("abcdef");
	struct upload *upload = start_upload(), *again;
	char id[UPLOAD_ID_LEN + 1];

	(void)state;
	snprintf(id, sizeof(id), "%s", upload_id(upload));
	assert_int_equal(upload_append(upload, "ab", 2, true, DIGEST_SHA256, NULL), 0);
	upload_release(uploads, upload);
	assert_int_equal(upload_acquire(uploads, id, "other", &again), -ENOENT);
	assert_int_equal(upload_acquire(uploads, id, "r", &again), 0);
	assert_int_equal(upload_acquire(uploads, id, "r", &upload), -EBUSY);
	assert_int_equal(upload_size(again), 2);
	assert_int_equal(upload_append(again, "cd", 2, true, DIGEST_SHA256, NULL), 0);
	assert_int_equal(upload_commit(again, "ef", 2, &digest), 0);
	upload_drop(uploads, again);
	assert_int_equal(upload_acquire(uploads, id, "r", &again), -ENOENT);
	blob_is(&digest, "abcdef");
}

static void an_upload_with_another_digest_is_not_published(void **state)
{
	struct digest digest = digest_of("expected");
	struct upload *upload = start_upload();

	(void)state;
	assert_int_equal(upload_commit(upload, "unexpected", 10, &digest), -EBADMSG);
	assert_int_equal(upload_append(upload, "unex", 4, true, DIGEST_SHA256, NULL), 0);
	assert_int_equal(upload_commit(upload, "pected", 6, &digest), -EBADMSG);
	upload_drop(uploads, upload);
	assert_true(blob_is_missing(&digest));
}

static void a_session_survives_a_restart(void **state)
{
	static const struct timespec long_ago[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct digest digest = digest_of("before and after");
	struct upload *upload = start_upload();
	char id[UPLOAD_ID_LEN + 1];

	(void)state;
	snprintf(id, sizeof(id), "%s", upload_id(upload));
	assert_int_equal(upload_append(upload, "before ", 7, true, DIGEST_SHA256, NULL), 0);
	upload_release(uploads, upload);
	uploads_free(uploads);
	/* Also where the clock jumped meanwhile. */
	assert_int_equal(utimensat(store->uploads_fd, id, long_ago, 0), 0);
	assert_int_equal(uploads_new(store, &uploads), 0);
	uploads_expire(uploads, 3600);
	assert_int_equal(upload_acquire(uploads, id, "r", &upload), 0);
	assert_int_equal(upload_size(upload), 7);
	assert_int_equal(upload_append(upload, "and", 3, true, DIGEST_SHA256, NULL), 0);
	assert_int_equal(upload_commit(upload, " after", 6, &digest), 0);
	upload_drop(uploads, upload);
	blob_is(&digest, "before and after");
}

static void data_of_a_single_request_goes_with_it(void **state)
{
	struct upload *upload = start_upload();
	char id[UPLOAD_ID_LEN + 1];

	(void)state;
	snprintf(id, sizeof(id), "%s", upload_id(upload));
	assert_int_equal(upload_append(upload, "half", 4, false, DIGEST_SHA256, NULL), 0);
	upload_release(uploads, upload);
	assert_int_equal(upload_acquire(uploads, id, "r", &upload), 0);
	assert_int_equal(upload_size(upload), 0);
	upload_drop(uploads, upload);
}

static void a_sha512_upload_is_checked_as_sha512(void **state)
{
	struct upload *upload = start_upload();
	struct digest digest;

	(void)state;
	assert_int_equal(digest_compute(DIGEST_SHA512, "abc", 3, &digest), 0);
	assert_int_equal(upload_append(upload, "ab", 2, true, DIGEST_SHA256, NULL), 0);
	assert_int_equal(upload_commit(upload, "c", 1, &digest), 0);
	upload_drop(uploads, upload);
	blob_is(&digest, "abc");
}

static void what_a_crash_left_of_an_upload_is_removed(void **state)
{
	static const char *const left[] = {
		"uploads/0123456789abcdef0123456789abcdef.repository", /* without data */
		"uploads/1123456789abcdef0123456789abcdef",	       /* without repository */
		"uploads/tmp-1-1",
	};
	struct upload *upload = start_upload();
	struct stat st;

	(void)state;
	assert_int_equal(upload_append(upload, "x", 1, true, DIGEST_SHA256, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		int fd = openat(store->root_fd, left[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		close(fd);
	}
	upload_release(uploads, upload);
	uploads_free(uploads);
	assert_int_equal(uploads_new(store, &uploads), 0);
	for (size_t i = 0; i < ARRAY_SIZE(left); i++)
		assert_int_equal(fstatat(store->root_fd, left[i], &st, 0), -1);
}

static int count_name(void *context, const char *name)
{
	(void)name;
	(*(int *)context)++;
	return 0;
}

static void what_a_crash_left_of_a_tag_is_removed(void **state)
{
	struct digest digest = digest_of("x");
	struct stat st;
	int fd, n = 0;

	(void)state;
	assert_int_equal(store_create_repository(store, "r"), 0);
	assert_int_equal(store_set_tag(store, "r", "v1", &digest), 0);
	fd = openat(store->repositories_fd, "r/_tags/.new-1-2", O_CREAT | O_WRONLY | O_CLOEXEC,
		    0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_each_name(store, "r", STORE_TAGS, count_name, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(fstatat(store->repositories_fd, "r/_tags/.new-1-2", &st, 0), 0);
	store_sweep_links(store, "r");
	assert_int_equal(fstatat(store->repositories_fd, "r/_tags/.new-1-2", &st, 0), -1);
}

/* ---- Index ---- */

static char names[4096];

static int add_name(void *context, const struct index_row *row)
{
	size_t len = strlen(names);

	(void)context;
	snprintf(names + len, sizeof(names) - len, "%s ", row->name);
	return 0;
}

static const char *list(struct index *index, enum index_table table, const char *repository,
			const struct digest *subject, const char *after)
{
	names[0] = '\0';
	assert_int_equal(index_list(index, table, repository, subject, after, add_name, NULL), 0);
	return names;
}

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

static struct digest put_manifest(const char *repository, const struct digest *subject)
{
	char text[2048], config[DIGEST_TEXT_SIZE], of[DIGEST_TEXT_SIZE], link[512];
	struct digest digest = digest_of("config");
	int len = snprintf(text, sizeof(text),
			   "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x/config\","
			   "\"digest\":\"%s\",\"size\":6},\"layers\":[]",
			   digest_format(&digest, config));

	if (subject)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				",\"subject\":{\"mediaType\":\"" MANIFEST_TYPE
				"\",\"digest\":\"%s\",\"size\":1}",
				digest_format(subject, of));
	snprintf(text + len, sizeof(text) - (size_t)len, "}");
	digest = digest_of(text);
	assert_int_equal(store_publish_bytes(store, &digest, text, strlen(text)), 0);
	len = snprintf(link, sizeof(link), MANIFEST_TYPE "\n%s%s", subject ? of : "",
		       subject ? "\n" : "");
	assert_int_equal(
		store_add_link(store, repository, STORE_MANIFESTS, &digest, link, (size_t)len), 0);
	return digest;
}

static struct digest fill_repository(void)
{
	struct digest image, referrer;

	assert_int_equal(store_create_repository(store, "a/b"), 0);
	assert_int_equal(store_create_repository(store, "a"), 0);
	image = put_manifest("a/b", NULL);
	referrer = put_manifest("a/b", &image);
	(void)referrer;
	assert_int_equal(store_set_tag(store, "a/b", "v1", &image), 0);
	assert_int_equal(store_set_tag(store, "a/b", "v10", &image), 0);
	assert_int_equal(store_set_tag(store, "a/b", "V2", &image), 0);
	assert_int_equal(store_set_tag(store, "a", "other", &image), 0);
	return image;
}

static void an_index_is_made_from_the_files(void **state)
{
	struct digest image = fill_repository();
	enum index_state index_state;
	struct index *index;

	(void)state;
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_state, INDEX_EMPTY);
	assert_int_equal(index_rebuild(index, store, NULL), 0);
	assert_string_equal(list(index, INDEX_REPOSITORIES, NULL, NULL, NULL), "a a/b ");
	assert_string_equal(list(index, INDEX_REPOSITORIES, NULL, NULL, "a"), "a/b ");
	assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, NULL), "V2 v1 v10 ");
	assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, "v1"), "v10 ");
	assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, "W"), "v1 v10 ");
	assert_string_equal(list(index, INDEX_TAGS, "a", NULL, NULL), "other ");
	assert_string_equal(list(index, INDEX_TAGS, "b", NULL, NULL), "");
	assert_int_equal(strlen(list(index, INDEX_REFERRERS, "a/b", &image, NULL)), 72);
	assert_string_equal(list(index, INDEX_REFERRERS, "a", &image, NULL), "");
	index_close(index, true);
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_state, INDEX_CLEAN);
	assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, NULL), "V2 v1 v10 ");
	index_close(index, false);
}

static void a_rebuild_forgets_what_the_files_do_not_say(void **state)
{
	enum index_state index_state;
	struct index *index;

	(void)state;
	fill_repository();
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_rebuild(index, store, NULL), 0);
	index_close(index, false);
	assert_int_equal(store_remove_tag(store, "a/b", "v1"), 0);
	assert_int_equal(remove_tree_at(store->repositories_fd, "a"), 0);
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(index_state, INDEX_UNCERTAIN);
	assert_int_equal(index_rebuild(index, store, NULL), 0);
	assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, NULL), "V2 v10 ");
	assert_string_equal(list(index, INDEX_REPOSITORIES, NULL, NULL, NULL), "a/b ");
	index_close(index, true);
}

static void a_damaged_index_is_replaced(void **state)
{
	static const char *const damage[] = { "garbage", "" };
	enum index_state index_state;
	struct index *index;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	fill_repository();
	for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
		char text[8192] = "";
		int fd;

		assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL),
				 0);
		assert_int_equal(index_rebuild(index, store, NULL), 0);
		index_close(index, true);
		fd = openat(store->root_fd, "index/data.mdb", O_WRONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		for (size_t at = 0; *damage[i] && at < sizeof(text); at++)
			text[at] = damage[i][at % 7];
		if (*damage[i])
			assert_int_equal(pwrite(fd, text, sizeof(text), 0), sizeof(text));
		else /* cut behind its two head pages */
			assert_int_equal(ftruncate(fd, 8192), 0);
		close(fd);
		assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL),
				 0);
		assert_int_equal(index_state, INDEX_EMPTY);
		assert_int_equal(index_rebuild(index, store, NULL), 0);
		assert_string_equal(list(index, INDEX_TAGS, "a/b", NULL, NULL), "V2 v1 v10 ");
		index_close(index, true);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_published_blob_is_there),
		TEST(a_blob_of_no_bytes_is_a_blob),
		TEST(a_put_of_a_digest_that_exists_is_not_an_error),
		TEST(a_link_is_what_gives_a_repository_its_blob),
		TEST(a_tag_says_what_it_was_set_to_last),
		TEST(a_second_server_does_not_get_the_store),
		TEST(chunks_make_one_blob),
		TEST(an_upload_with_another_digest_is_not_published),
		TEST(a_session_survives_a_restart),
		TEST(data_of_a_single_request_goes_with_it),
		TEST(a_sha512_upload_is_checked_as_sha512),
		TEST(what_a_crash_left_of_an_upload_is_removed),
		TEST(what_a_crash_left_of_a_tag_is_removed),
		TEST(an_index_is_made_from_the_files),
		TEST(a_rebuild_forgets_what_the_files_do_not_say),
		TEST(a_damaged_index_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
