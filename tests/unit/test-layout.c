/* SPDX-License-Identifier: Apache-2.0 */
/* lib/layout and lib/image on OCI layouts: what is published when, and what stays. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/image.h"
#include "lib/log.h"

static char dir[] = "/tmp/test-layout-XXXXXX";
static char made[sizeof(dir)];

static int set_up(void **state)
{
	(void)state;
	memcpy(made, dir, sizeof(dir));
	return mkdtemp(made) && !chdir(made) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return chdir("/") || remove_tree_at(AT_FDCWD, made);
}

static struct image_store *open_store(const char *name, enum image_access access)
{
	cleanup_reference struct reference reference = { .host = NULL };
	struct problem problem = { "" };
	struct image_store *store;

	assert_int_equal(reference_parse(name, &reference, &problem), 0);
	if (image_store_open(&reference, access, NULL, &store, &problem))
		fail_msg("%s", problem.text);
	return store;
}

static int try_open(const char *name, enum image_access access, struct problem *problem)
{
	cleanup_reference struct reference reference = { .host = NULL };
	struct image_store *store;
	int r;

	assert_int_equal(reference_parse(name, &reference, problem), 0);
	r = image_store_open(&reference, access, NULL, &store, problem);
	if (!r)
		image_store_close(store);
	return r;
}

static const char manifest[] = "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MEDIA_MANIFEST "\"}";

static void put_tag(struct image_store *store, const char *tag)
{
	assert_int_equal(image_put_manifest(store, tag, OCI_MEDIA_MANIFEST, manifest,
					    strlen(manifest), NULL),
			 0);
}

static int get_tag(const char *name)
{
	struct image_store *store = open_store(name, IMAGE_READ);
	struct registry_manifest got = { .bytes = NULL };
	int r = image_get_manifest(store, NULL, &got, NULL);

	if (!r) {
		assert_string_equal(got.bytes, manifest);
		assert_string_equal(got.media_type, OCI_MEDIA_MANIFEST);
	}
	registry_manifest_free(&got);
	image_store_close(store);
	return r;
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

static void digest_of(const char *text, struct digest *out, char path[static 256])
{
	char hex[DIGEST_TEXT_SIZE];

	assert_int_equal(digest_compute(DIGEST_SHA256, text, strlen(text), out), 0);
	snprintf(path, 256, "l/blobs/sha256/%s", digest_format_hex(out, hex));
}

static void a_blob_has_no_name_before_it_is_published(void **state)
{
	struct image_store *store = open_store("oci:l:a", IMAGE_WRITE);
	struct digest digest;
	char path[256];

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(image_has_blob(store, &digest, NULL), 0);
	assert_int_equal(image_put_bytes(store, &digest, "content", 7, NULL), 0);
	assert_int_equal(image_has_blob(store, &digest, NULL), 1);
	assert_false(exists(path));
	put_tag(store, "a");
	assert_true(exists(path));
	image_store_close(store);
	assert_int_equal(get_tag("oci:l:a"), 0);
	assert_int_equal(get_tag("oci:l"), 0);
	assert_int_equal(get_tag("oci:l:b"), -ENOENT);
}

static void what_was_not_published_is_gone_when_the_writer_closes(void **state)
{
	struct image_store *store = open_store("oci:l:a", IMAGE_WRITE);
	struct digest digest;
	char path[256];

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(image_put_bytes(store, &digest, "content", 7, NULL), 0);
	image_store_close(store);
	assert_false(exists("l"));
}

static void other_tags_are_kept_and_the_same_one_is_replaced(void **state)
{
	struct image_store *store = open_store("oci:l:a", IMAGE_WRITE);
	cleanup_free char *index = NULL;
	size_t len;

	(void)state;
	put_tag(store, "a");
	put_tag(store, "b");
	put_tag(store, "a");
	image_store_close(store);
	assert_int_equal(get_tag("oci:l:a"), 0);
	assert_int_equal(get_tag("oci:l:b"), 0);
	assert_int_equal(get_tag("oci:l"), -ENOENT); /* which one? */
	assert_int_equal(read_file_at(AT_FDCWD, "l/index.json", 10000, &index, &len), 0);
	assert_null(strstr(strstr(index, "\"a\"") + 1, "\"a\""));
}

static void what_a_crashed_writer_left_is_removed_by_the_next(void **state)
{
	(void)state;
	image_store_close(open_store("oci:l:a", IMAGE_WRITE));
	assert_int_equal(mkdir("l", 0755), 0);
	assert_int_equal(mkdir("l/.intinode-1-0", 0700), 0);
	image_store_close(open_store("oci:l:a", IMAGE_WRITE));
	assert_false(exists("l/.intinode-1-0"));
}

static void what_another_writer_is_writing_stays(void **state)
{
	struct image_store *first = open_store("oci:l:a", IMAGE_WRITE);
	struct image_store *second = open_store("oci:l:b", IMAGE_WRITE);
	struct digest digest;
	char path[256];

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(image_put_bytes(second, &digest, "content", 7, NULL), 0);
	image_store_close(first);
	put_tag(second, "b");
	image_store_close(second);
	assert_int_equal(get_tag("oci:l:b"), 0);
	assert_true(exists(path));
}

static void a_directory_with_other_things_is_refused(void **state)
{
	struct problem problem = { "" };

	(void)state;
	assert_int_equal(mkdir("l", 0755), 0);
	assert_int_equal(mkdir("l/mine", 0755), 0);
	assert_int_equal(try_open("oci:l:a", IMAGE_WRITE, &problem), -ENOTEMPTY);
	assert_non_null(strstr(problem.text, "neither empty nor an OCI layout"));
	assert_int_equal(try_open("oci:l:a", IMAGE_READ, &problem), -ENOENT);
	assert_int_equal(try_open("oci:none:a", IMAGE_READ, &problem), -ENOENT);
	assert_int_equal(try_open("dir:l", IMAGE_READ, &problem), -EINVAL);
}

/* An unnamed file is linked, one with a name is copied: it stays its owner's. */
static void a_file_with_a_name_is_copied(void **state)
{
	struct image_store *store = open_store("oci:l:a", IMAGE_WRITE);
	int fd = open("named", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct digest digest;
	struct stat st;
	char path[256];

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(write_all(fd, "content", 7), 0);
	assert_int_equal(image_put_blob(store, &digest, fd, 7, NULL, NULL, NULL), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd);
	put_tag(store, "a");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 7);
	image_store_close(store);
}

static int ignore(void *context, const void *bytes, size_t len)
{
	(void)context;
	(void)bytes;
	(void)len;
	return 0;
}

static void a_damaged_blob_is_an_error(void **state)
{
	struct image_store *store = open_store("oci:l:a", IMAGE_WRITE);
	struct problem problem = { "" };
	struct digest digest;
	char path[256];
	int fd;

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(image_put_bytes(store, &digest, "content", 7, NULL), 0);
	put_tag(store, "a");
	assert_int_equal(image_get_blob(store, &digest, 7, ignore, NULL, NULL), 0);
	assert_int_equal(image_get_blob(store, &digest, 8, ignore, NULL, NULL), -EBADMSG);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write_all(fd, "C", 1), 0);
	close(fd);
	assert_int_equal(image_get_blob(store, &digest, 7, ignore, NULL, &problem), -EBADMSG);
	assert_non_null(strstr(problem.text, "damaged"));
	image_store_close(store);
}

static void an_archive_appears_when_it_is_finished(void **state)
{
	struct image_store *store = open_store("oci-archive:a.tar:a", IMAGE_WRITE);
	struct problem problem = { "" };
	cleanup_free char *bytes = NULL;
	struct digest digest;
	char path[256];

	(void)state;
	digest_of("content", &digest, path);
	assert_int_equal(image_put_bytes(store, &digest, "content", 7, NULL), 0);
	put_tag(store, "a");
	assert_false(exists("a.tar"));
	assert_int_equal(image_store_finish(store, &problem), 0);
	image_store_close(store);
	assert_int_equal(get_tag("oci-archive:a.tar:a"), 0);
	store = open_store("oci-archive:a.tar:a", IMAGE_READ);
	assert_int_equal(image_get_small_blob(store, &digest, 7, 100, &bytes, NULL), 0);
	assert_string_equal(bytes, "content");
	image_store_close(store);
	/* Nothing else is left. */
	assert_int_equal(unlink("a.tar"), 0);
	assert_int_equal(rmdir(made), 0);
	assert_int_equal(mkdir(made, 0700), 0);
}

static void an_archive_that_is_not_finished_is_dropped(void **state)
{
	struct image_store *store = open_store("oci-archive:a.tar:a", IMAGE_WRITE);

	(void)state;
	put_tag(store, "a");
	image_store_close(store);
	assert_int_equal(rmdir(made), 0);
	assert_int_equal(mkdir(made, 0700), 0);
}

static void a_compressed_archive_is_refused_with_advice(void **state)
{
	static const uint8_t gzip[512] = { 0x1f, 0x8b, 8 };
	struct problem problem = { "" };
	int fd = open("a.tar", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_int_equal(write_all(fd, gzip, sizeof(gzip)), 0);
	close(fd);
	assert_int_equal(try_open("oci-archive:a.tar:a", IMAGE_READ, &problem), -EBADMSG);
	assert_non_null(strstr(problem.text, "uncompress it first"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blob_has_no_name_before_it_is_published),
		TEST(what_was_not_published_is_gone_when_the_writer_closes),
		TEST(other_tags_are_kept_and_the_same_one_is_replaced),
		TEST(what_a_crashed_writer_left_is_removed_by_the_next),
		TEST(what_another_writer_is_writing_stays),
		TEST(a_directory_with_other_things_is_refused),
		TEST(a_file_with_a_name_is_copied),
		TEST(a_damaged_blob_is_an_error),
		TEST(an_archive_appears_when_it_is_finished),
		TEST(an_archive_that_is_not_finished_is_dropped),
		TEST(a_compressed_archive_is_refused_with_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
