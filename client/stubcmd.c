/* SPDX-License-Identifier: Apache-2.0 */
/* Owns "intinode stub": what a file is, and whether its content is on this host. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/commands.h"
#include "lib/digest.h"
#include "lib/json.h"
#include "lib/stub.h"

#define CACHE_DEFAULT "/var/cache/intinode"

const char stub_details[] =
	"Says of each FILE whether it is a stub, and if so which content it stands for, how large\n"
	"that is, where it can come from, and whether it is in this host's cache. FILE is looked\n"
	"at as it lies on disk: name one of an unpacked thin image, not of a mounted one.\n"
	"\n"
	"Exit status: 0 all are stubs, 1 some are not, 2 some could not be read.\n"
	"\n"
	"Examples:\n"
	"  intinode stub rootfs/usr/bin/python3.11\n"
	"  find rootfs -type f -size 1 -exec intinode stub --json {} +\n";

static const char *cache_dir = CACHE_DEFAULT;
static bool as_json;

static const struct option_row rows[] = {
	{ OPTION_TEXT, "cache", "DIR", "the cache to look in (default " CACHE_DEFAULT ")",
	  &cache_dir, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "one JSON object a line", &as_json, 0, 0, NULL },
	{ .type = OPTION_END },
};

/* Looks without lib/cache.h, which would create what is missing. */
static bool is_cached(const struct stub *stub, const struct digest *digest)
{
	char hex[DIGEST_TEXT_SIZE];
	cleanup_free char *path =
		format_text("%s/sha256/%s", cache_dir, digest_format_hex(digest, hex));
	struct stat st;

	return path && !lstat(path, &st) && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == stub->size_bytes;
}

static json_t *urls_json(const struct stub *stub)
{
	json_t *urls = json_array();
	const char *url = stub->urls;

	for (unsigned int i = 0; i < stub->n_urls; i++, url += strlen(url) + 1) {
		if (json_array_append_new(urls, json_string(url)))
			break;
	}
	return urls;
}

static void print_json(const char *path, const struct stub *stub, const char *digest, bool cached)
{
	cleanup_json json_t *json = json_object();
	char shown[4096];

	/* A name that is not UTF-8 cannot be a JSON string; it is shown escaped. */
	if (json_object_set_new(json, "file", json_string(path)))
		(void)json_object_set_new(
			json, "file",
			json_string(log_escape(shown, sizeof(shown), path, strlen(path))));
	(void)json_object_set_new(json, "stub", json_boolean(stub != NULL));
	if (stub) {
		(void)json_object_set_new(json, "digest", json_string(digest));
		(void)json_object_set_new(json, "size", json_integer((json_int_t)stub->size_bytes));
		(void)json_object_set_new(json, "urls", urls_json(stub));
		(void)json_object_set_new(json, "cached", json_boolean(cached));
	}
	json_dumpf(json, stdout, JSON_COMPACT);
	puts("");
}

static void print_text(const char *path, const struct stub *stub, const char *digest, bool cached)
{
	const char *url = stub ? stub->urls : NULL;
	char shown[4096];

	log_escape(shown, sizeof(shown), path, strlen(path));
	if (!stub) {
		printf("%s: not a stub\n", shown);
		return;
	}
	printf("%s: stub of %s, %llu bytes, %s", shown, digest,
	       (unsigned long long)stub->size_bytes, cached ? "cached" : "not cached");
	for (unsigned int i = 0; i < stub->n_urls; i++, url += strlen(url) + 1) {
		char text[STUB_SIZE_MAX];

		printf(" %s", log_escape(text, sizeof(text), url, strlen(url)));
	}
	puts("");
}

static int report_unreadable(const char *path, int error)
{
	char shown[512];

	log_error("%s: %s", log_escape(shown, sizeof(shown), path, strlen(path)), strerror(error));
	return -error;
}

/* Return: 1 stub, 0 not, -errno. */
static int look(const char *path)
{
	struct digest digest = { .algorithm = DIGEST_SHA256 };
	char text[DIGEST_TEXT_SIZE];
	struct stub stub;
	struct stat st;
	bool cached = false;
	int r = 0;

	if (lstat(path, &st))
		return report_unreadable(path, errno);
	if (S_ISREG(st.st_mode))
		r = stub_read_at(AT_FDCWD, path, (uint64_t)st.st_size, &stub);
	if (r < 0)
		return report_unreadable(path, -r);
	if (r) {
		memcpy(digest.bytes, stub.sha256, SHA256_BYTES);
		digest_format(&digest, text);
		cached = is_cached(&stub, &digest);
	}
	if (as_json)
		print_json(path, r ? &stub : NULL, text, cached);
	else
		print_text(path, r ? &stub : NULL, text, cached);
	return r;
}

int command_stub(const struct command *command, int argc, char **argv)
{
	char **files;
	int n, status = options_parse(command, rows, argc, argv, 1, -1, &files, &n);

	if (status >= 0)
		return status;
	status = 0;
	for (int i = 0; i < n; i++) {
		int r = look(files[i]), is = r < 0 ? 2 : r ? 0 : 1;

		if (is > status)
			status = is;
	}
	return status;
}
