/* SPDX-License-Identifier: Apache-2.0 */
/* Leases of links and contents, what goes and what crashes leave, sets of digests, quotas. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/log.h"
#include "server/digestset.h"
#include "server/gc.h"
#include "server/quota.h"
#include "server/store.h"

static char dir[64];
static struct store *store;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(dir, sizeof(dir), "/var/tmp/test-gc.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, NULL), 0);
	assert_int_equal(quotas_new(store, &store->quotas), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	quotas_free(store->quotas);
	store_close(store);
	return remove_tree_at(AT_FDCWD, dir);
}

static struct digest digest_of(const char *text)
{
	struct digest digest;

	assert_int_equal(digest_compute(DIGEST_SHA256, text, strlen(text), &digest), 0);
	return digest;
}

static void set_age(const char *path, int dirfd, int64_t age_s)
{
	struct timespec times[2] = { { .tv_sec = store_now() - age_s },
				     { .tv_sec = store_now() - age_s } };

	assert_int_equal(utimensat(dirfd, path, times, 0), 0);
}

static void a_link_stays_while_its_lease_lasts(void **state)
{
	struct digest digest = digest_of("lease");
	int64_t before_s = store_now() - store->lease_s;
	char path[256];

	(void)state;
	assert_int_equal(store_create_repository(store, "r"), 0);
	assert_int_equal(store_add_link(store, "r", STORE_LAYERS, &digest, "", 0), 0);
	digest_format(&digest, path);
	path[6] = '-';
	char *name = format_text("r/_layers/%s", path);

	assert_int_equal(store_remove_idle_link(store, "r", STORE_LAYERS, &digest, before_s),
			 -EBUSY);
	set_age(name, store->repositories_fd, store->lease_s + 10);
	assert_int_equal(store_link_is_idle(store, "r", STORE_LAYERS, &digest, before_s), 0);
	assert_int_equal(store_renew_link(store, "r", STORE_LAYERS, &digest), 0);
	assert_int_equal(store_remove_idle_link(store, "r", STORE_LAYERS, &digest, before_s),
			 -EBUSY);
	/* Half of a lease is enough not to be written again. */
	set_age(name, store->repositories_fd, store->lease_s / 2 - 100);
	assert_int_equal(store_renew_link(store, "r", STORE_LAYERS, &digest), 0);
	assert_int_equal(store_remove_idle_link(store, "r", STORE_LAYERS, &digest,
						store_now() - store->lease_s / 2 + 200),
			 0);
	assert_int_equal(store_renew_link(store, "r", STORE_LAYERS, &digest), -ENOENT);
	free(name);
}

static void content_that_is_pushed_again_has_a_new_lease(void **state)
{
	struct digest digest = digest_of("old content");
	int64_t before_s = store_now() - store->lease_s;
	uint64_t bytes = 0;
	char hex[DIGEST_TEXT_SIZE];
	char *path;

	(void)state;
	assert_int_equal(store_publish_bytes(store, &digest, "old content", 11), 0);
	path = format_text("sha256/%02x/%s", digest.bytes[0], digest_format_hex(&digest, hex));
	set_age(path, store->blobs_fd, store->lease_s + 10);
	assert_int_equal(store_publish_content(store, &digest, "old content", 11), 0);
	assert_int_equal(store_remove_blob(store, &digest, before_s, &bytes), -EBUSY);
	set_age(path, store->blobs_fd, store->lease_s + 10);
	assert_int_equal(store_remove_blob(store, &digest, before_s, &bytes), 0);
	assert_int_equal(bytes, 11);
	assert_int_equal(store_has_blob(store, &digest), 0);
	assert_int_equal(store_remove_blob(store, &digest, INT64_MAX, &bytes), -ENOENT);
	free(path);
}

enum { LONG_TEXT = 300000 };

/* Pushed in pieces, as what is large is: it comes to a name of its own. */
static void push_long(const struct digest *digest, const char *text)
{
	struct store_temp temp;

	assert_int_equal(store_temp_create(store, &temp), 0);
	assert_int_equal(write_all(temp.fd, text, LONG_TEXT), 0);
	assert_int_equal(store_publish_blob(store, &temp, digest), 0);
}

static char *packed_path(const struct digest *digest)
{
	char hex[DIGEST_TEXT_SIZE];

	return format_text("sha256/%02x/%s.zst", digest->bytes[0], digest_format_hex(digest, hex));
}

static char *long_text(struct digest *digest)
{
	char *text = malloc(LONG_TEXT);

	assert_non_null(text);
	for (size_t i = 0; i < LONG_TEXT; i++)
		text[i] = (char)('a' + i / 7 % 5);
	assert_int_equal(digest_compute(DIGEST_SHA256, text, LONG_TEXT, digest), 0);
	push_long(digest, text);
	assert_int_equal(store_pack_blob(store, digest, NULL), 0);
	return text;
}

static void packing_again_keeps_the_lease_of_the_second_push(void **state)
{
	struct digest digest;
	char *text = long_text(&digest), *path = packed_path(&digest);
	int64_t before_s = store_now() - store->lease_s;

	(void)state;
	for (int named = 0; named < 2; named++) {
		store->no_tmpfile = named;
		set_age(path, store->blobs_fd, store->lease_s + 10);
		push_long(&digest, text);
		assert_int_equal(store_pack_blob(store, &digest, NULL), 0);
		assert_int_equal(store_remove_blob(store, &digest, before_s, NULL), -EBUSY);
	}
	free(text);
	free(path);
}

static void a_second_push_heals_what_is_damaged(void **state)
{
	struct digest digest;
	char *text = long_text(&digest), *path = packed_path(&digest), *got;
	cleanup_blob struct blob blob = { .fd = -1 };
	int fd;

	(void)state;
	assert_int_equal(fchmodat(store->blobs_fd, path, 0644, 0), 0);
	fd = openat(store->blobs_fd, path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "rotten", 6, 20), 6);
	close(fd);
	push_long(&digest, text);
	assert_int_equal(store_pack_blob(store, &digest, NULL), 0);
	assert_int_equal(store_open_blob(store, &digest, &blob), 0);
	assert_true(blob.packed);
	assert_int_equal(blob_read_all(&blob, LONG_TEXT, &got), 0);
	assert_memory_equal(got, text, LONG_TEXT);
	free(got);
	free(text);
	free(path);
}

static void nothing_is_packed_without_room_for_both_forms(void **state)
{
	static const char *const path = "sha256/00/"
					"0000000000000000000000000000000000000000000000000000000000"
					"000000";
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	atomic_bool stop = true;
	struct statvfs fs;
	bool is_possible;
	int fd = openat(store->blobs_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);

	(void)state;
	assert_int_equal(fstatvfs(store->root_fd, &fs), 0);
	assert_true(fd >= 0);
	is_possible = !ftruncate(fd, (off_t)(fs.f_bavail * fs.f_frsize) + (1 << 20));
	close(fd);
	if (!is_possible) /* no file of this file system can be larger than its disk */
		skip();
	assert_int_equal(store_pack_blob(store, &digest, &stop), -ENOSPC);
}

static void content_of_a_slow_upload_has_its_lease_from_its_end(void **state)
{
	struct digest digest = digest_of("slow");
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct store_temp temp;

	(void)state;
	assert_int_equal(store_temp_create(store, &temp), 0);
	assert_int_equal(write_all(temp.fd, "slow", 4), 0);
	assert_int_equal(futimens(temp.fd, old), 0);
	assert_int_equal(store_publish_blob(store, &temp, &digest), 0);
	assert_int_equal(store_remove_blob(store, &digest, store_now() - 100, NULL), -EBUSY);
}

/* ---- What a crash leaves ---- */

static void what_a_process_of_the_same_number_left_is_in_nobodys_way(void **state)
{
	struct digest digest = digest_of("x"), got;
	char name[64];

	(void)state;
	assert_int_equal(store_create_repository(store, "r"), 0);
	for (int i = 0; i < 200; i++) {
		int fd;

		snprintf(name, sizeof(name), "r/_tags/.new-%d-%d", (int)getpid(), i);
		fd = openat(store->repositories_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(store_set_tag(store, "r", "v1", &digest), 0);
	assert_int_equal(store_get_tag(store, "r", "v1", &got), 0);
	assert_true(digest_equal(&got, &digest));
}

/* ---- Manifests that nothing leads to ---- */

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

enum { PROGRESS_EVERY = 1000, N_MANIFESTS = 3 };

static struct digest add_manifest(const char *bytes, const char *type)
{
	struct digest digest = digest_of(bytes);
	char name[DIGEST_TEXT_SIZE];
	char *text = format_text("%s\n", type), *path;

	assert_int_equal(store_publish_bytes(store, &digest, bytes, strlen(bytes)), 0);
	assert_int_equal(store_add_link(store, "r", STORE_MANIFESTS, &digest, text, strlen(text)),
			 0);
	digest_format(&digest, name);
	name[6] = '-';
	path = format_text("r/_manifests/%s", name);
	set_age(path, store->repositories_fd, 2 * store->lease_s);
	free(path);
	free(text);
	return digest;
}

static struct digest add_image(const char *name)
{
	struct digest config = digest_of(name), digest;
	char text[DIGEST_TEXT_SIZE];
	char *bytes = format_text("{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE
				  "\",\"config\":{\"mediaType\":\"x/y\",\"digest\":\"%s\","
				  "\"size\":1},\"layers\":[]}",
				  digest_format(&config, text));

	digest = add_manifest(bytes, MANIFEST_TYPE);
	free(bytes);
	return digest;
}

struct late_push {
	struct digest list;
	bool done;
};

/* The list gets a tag, after the collection has looked at the tags and at its age. */
static void push_late(void *context, const char *what, uint64_t n)
{
	struct late_push *late = context;

	if (late->done)
		return;
	assert_string_equal(what, "manifests");
	assert_int_equal(n, PROGRESS_EVERY);
	store_lock_repository(store, "r");
	assert_int_equal(store_add_link(store, "r", STORE_MANIFESTS, &late->list, INDEX_TYPE "\n",
					strlen(INDEX_TYPE "\n")),
			 0);
	assert_int_equal(store_set_tag(store, "r", "late", &late->list), 0);
	store_unlock_repository(store, "r");
	late->done = true;
}

static void a_tag_that_comes_during_a_collection_keeps_what_it_leads_to(void **state)
{
	struct late_push late = { .done = false };
	struct gc_options options = { .untagged_s = 1, .progress = push_late, .context = &late };
	struct digest tagged, child;
	char text[DIGEST_TEXT_SIZE];
	struct gc_report report;
	enum index_state index_state;
	struct index *index;
	char *list;

	(void)state;
	assert_int_equal(index_open(store->root_fd, 1 << 20, &index, &index_state, NULL), 0);
	assert_int_equal(store_create_repository(store, "r"), 0);
	tagged = add_image("tagged");
	child = add_image("child");
	list = format_text("{\"schemaVersion\":2,\"mediaType\":\"" INDEX_TYPE
			   "\",\"manifests\":[{\"mediaType\":\"" MANIFEST_TYPE
			   "\",\"digest\":\"%s\",\"size\":1}]}",
			   digest_format(&child, text));
	late.list = add_manifest(list, INDEX_TYPE);
	/* So that progress is told of when all manifests were found to be old, but for one step. */
	digest_format(&tagged, text);
	for (int i = 0; i < PROGRESS_EVERY - N_MANIFESTS - 1; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "r/_tags/t%d", i);
		fd = openat(store->repositories_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		assert_int_equal(write_all(fd, text, strlen(text)), 0);
		close(fd);
	}
	assert_int_equal(gc_run(store, index, &options, &report, NULL), 0);
	assert_true(late.done);
	assert_int_equal(report.manifests, 0);
	assert_int_equal(store_has_link(store, "r", STORE_MANIFESTS, &child), 1);
	free(list);
	index_close(index, true);
}

/* ---- Sets ---- */

static struct digest digest_number(unsigned int n)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };

	for (size_t i = 0; i < sizeof(n); i++)
		digest.bytes[i] = (unsigned char)(n * 2654435761u >> 8 * i);
	return digest;
}

static void a_set_has_what_was_added(void **state)
{
	enum { N = 5000 };
	struct digest_set set = { .keys = NULL }, more = { .keys = NULL };
	struct digest digest = digest_number(0);

	(void)state;
	assert_false(digest_set_has(&set, &digest));
	for (unsigned int i = 0; i < N; i++) {
		digest = digest_number(i);
		assert_int_equal(digest_set_add(i % 3 ? &set : &more, &digest), 0);
	}
	assert_int_equal(digest_set_merge(&set, &more), 0);
	for (unsigned int i = 0; i < 2 * N; i++) {
		digest = digest_number(i);
		assert_int_equal(digest_set_has(&set, &digest), i < N);
	}
	assert_int_equal(set.n, N);
	digest_set_deinit(&set);
	digest_set_deinit(&more);
}

static void what_is_added_again_takes_no_memory(void **state)
{
	struct digest_set set = { .keys = NULL };

	(void)state;
	for (unsigned int i = 0; i < 100000; i++) {
		struct digest digest = digest_number(i % 100);

		assert_int_equal(digest_set_add(&set, &digest), 0);
	}
	assert_true(set.max <= 256);
	digest_set_deinit(&set);
}

/* ---- Quotas ---- */

static void set_quota(const char *pattern, const char *size, uint64_t total_bytes)
{
	struct rules rules = { .rules = NULL };

	if (pattern)
		assert_int_equal(rules_set(&rules, pattern, "quota", size, NULL), 0);
	assert_int_equal(quotas_set(store->quotas, &rules, total_bytes), 0);
	rules_deinit(&rules);
}

static void link_blob(const char *repository, const char *text)
{
	struct digest digest = digest_of(text);

	assert_int_equal(store_publish_bytes(store, &digest, text, strlen(text)), 0);
	assert_int_equal(store_create_repository(store, repository), 0);
	assert_int_equal(store_add_link(store, repository, STORE_LAYERS, &digest, "", 0), 0);
}

static int hold(const char *repository, uint64_t bytes)
{
	struct problem problem = { "" };

	return quota_hold(store->quotas, repository, bytes, &problem);
}

static void nothing_is_refused_before_it_is_counted(void **state)
{
	struct problem problem = { "" };

	(void)state;
	link_blob("team/a", "0123456789");
	set_quota("team/*", "15", 0);
	assert_int_equal(quota_try(store->quotas, "team/b", 100, &problem), -EAGAIN);
	assert_int_equal(hold("team/b", 6), -EDQUOT);
	assert_int_equal(quota_try(store->quotas, "team/b", 6, &problem), -EDQUOT);
	assert_int_equal(hold("team/b", 5), 0);
	assert_int_equal(hold("other", 1000), 0);
}

static void links_that_come_and_go_count(void **state)
{
	struct digest digest = digest_of("0123456789");

	(void)state;
	set_quota("*", "25", 0);
	assert_int_equal(hold("r", 0), 0);
	link_blob("r", "0123456789");
	link_blob("r", "0123456789"); /* again: once */
	assert_int_equal(hold("r", 16), -EDQUOT);
	link_blob("s", "0123456789");
	assert_int_equal(hold("r", 6), -EDQUOT);
	assert_int_equal(hold("r", 5), 0);
	quota_release(store->quotas, "r", 5);
	assert_int_equal(store_remove_link(store, "s", STORE_LAYERS, &digest), 0);
	assert_int_equal(store_remove_link(store, "s", STORE_LAYERS, &digest), -ENOENT);
	assert_int_equal(hold("r", 16), -EDQUOT);
	assert_int_equal(hold("r", 15), 0);
	quota_release(store->quotas, "r", 15);
	assert_int_equal(store_remove_idle_link(store, "r", STORE_LAYERS, &digest, INT64_MAX), 0);
	assert_int_equal(quotas_count(store->quotas, NULL), 0);
	assert_int_equal(hold("r", 25), 0);
}

static void what_is_held_stays_so_when_quotas_change(void **state)
{
	(void)state;
	set_quota("r", "20", 100);
	assert_int_equal(hold("r", 15), 0);
	set_quota("r", "30", 100);
	assert_int_equal(hold("r", 16), -EDQUOT);
	assert_int_equal(hold("r", 15), 0);
	assert_int_equal(hold("s", 71), -EDQUOT);
	assert_int_equal(hold("s", 70), 0);
	set_quota(NULL, NULL, 0);
	assert_int_equal(hold("r", UINT64_MAX), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_link_stays_while_its_lease_lasts),
		TEST(content_that_is_pushed_again_has_a_new_lease),
		TEST(packing_again_keeps_the_lease_of_the_second_push),
		TEST(a_second_push_heals_what_is_damaged),
		TEST(nothing_is_packed_without_room_for_both_forms),
		TEST(content_of_a_slow_upload_has_its_lease_from_its_end),
		TEST(what_a_process_of_the_same_number_left_is_in_nobodys_way),
		TEST(a_tag_that_comes_during_a_collection_keeps_what_it_leads_to),
		cmocka_unit_test(a_set_has_what_was_added),
		cmocka_unit_test(what_is_added_again_takes_no_memory),
		TEST(nothing_is_refused_before_it_is_counted),
		TEST(links_that_come_and_go_count),
		TEST(what_is_held_stays_so_when_quotas_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
