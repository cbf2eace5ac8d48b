/* SPDX-License-Identifier: Apache-2.0 */
/* Owns "intinode why": the digest behind a path, and what fetchd remembers of it. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

#include "client/commands.h"
#include "client/progress.h"
#include "lib/control.h"
#include "lib/digest.h"
#include "lib/stub.h"

const char why_details[] =
	"What intinode-fetchd did lately to get a file: which source was asked, how long that "
	"took,\n"
	"what went wrong, and what was decided then. PATH is a file of a mounted image, or a "
	"stub.\n"
	"\n"
	"Examples:\n"
	"  intinode why /mnt/app/usr/bin/python3\n"
	"  intinode why sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"
	"  intinode why --json /mnt/app/etc/hosts     for scripts; fields as in lib/control.h\n";

/* A twin's file names its content to overlayfs, a stub by what is in it. Return: 1, 0, -errno. */
static int digest_of_file(const char *path, struct digest *digest)
{
	static const char prefix[] = "/sha256/";
	char redirect[sizeof(prefix) + 2 * DIGEST_BYTES_MAX];
	ssize_t len = lgetxattr(path, "trusted.overlay.redirect", redirect, sizeof(redirect));
	size_t skip = sizeof(prefix) - 1;
	struct stub stub;
	struct stat st;
	int r;

	if (len > (ssize_t)skip && !memcmp(redirect, prefix, skip) &&
	    !digest_parse_hex(DIGEST_SHA256, redirect + skip, (size_t)len - skip, digest))
		return 1;
	if (lstat(path, &st))
		return -errno;
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
		return -ENOENT; /* a whiteout */
	if (!S_ISREG(st.st_mode))
		return 0;
	r = stub_read_at(AT_FDCWD, path, (uint64_t)st.st_size, &stub);
	if (r <= 0)
		return r;
	*digest = (struct digest){ .algorithm = DIGEST_SHA256 };
	memcpy(digest->bytes, stub.sha256, SHA256_BYTES);
	return 1;
}

/* Is @path in @mountpoint? Return: what is behind it, or NULL. */
static const char *inside(const char *path, const char *mountpoint)
{
	size_t len = mountpoint ? strlen(mountpoint) : 0;

	if (!len || strncmp(path, mountpoint, len) || path[len] != '/')
		return NULL;
	return path + len + 1;
}

static const json_t *mount_of(const json_t *mounts, const char *path)
{
	const json_t *mount, *found = NULL;
	size_t i, best = 0;

	json_array_foreach(mounts, i, mount) {
		const char *where = json_get_string(mount, "mountpoint");

		if (!inside(path, where) || strlen(where) <= best)
			continue;
		best = strlen(where);
		found = mount;
	}
	return found;
}

/* In the unpacked layers, the uppermost first. Return: 1, 0, -ENOENT. */
static int digest_in_layers(const char *state, const json_t *mount, const char *name,
			    struct digest *digest)
{
	const json_t *layers = json_object_get(mount, "layers");

	for (size_t i = json_array_size(layers); i-- > 0;) {
		const char *layer = json_string_value(json_array_get(layers, i));
		cleanup_free char *path =
			format_text("%s/layers/%s/tree/%s", state, layer ? layer : "", name);
		struct stat st;

		if (!path)
			return -ENOMEM;
		if (!lstat(path, &st))
			return digest_of_file(path, digest);
	}
	return -ENOENT;
}

static int ask(const char *socket, const json_t *request, json_t **reply, struct problem *problem)
{
	struct control *control = NULL;
	int r = control_connect(socket, &control, problem);

	if (!r)
		r = control_call(control, request, reply, problem);
	control_close(control);
	return r;
}

static int digest_of_path(const char *socket, const char *path, struct digest *digest,
			  struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s}", "op", "status"), *status = NULL;
	cleanup_free char *real = realpath(path, NULL);
	const json_t *mount;
	int r;

	if (!real && !strncmp(path, "sha256:", 7))
		return problem_set(problem, -EINVAL,
				   "%s: a digest is sha256: and 64 digits of 0-9 and a-f", path);
	if (!real)
		return problem_set(problem, -errno, "%s: %s", path, strerror(errno));
	r = ask(socket, request, &status, problem);
	if (r)
		return r;
	mount = mount_of(json_object_get(status, "mounts"), real);
	if (mount) {
		const char *state = json_get_string(status, "state");

		r = digest_in_layers(state ? state : "", mount,
				     inside(real, json_get_string(mount, "mountpoint")), digest);
	} else {
		r = digest_of_file(real, digest);
	}
	if (r == 0 || (r == -ENOENT && mount))
		return problem_set(problem, -ENOENT, "%s: not fetched from anywhere: it is %s",
				   path,
				   mount ? "in the image itself, or was written to the mount"
					 : "no stub and in no mounted image");
	return r < 0 ? problem_set(problem, r, "%s: %s", path, strerror(-r)) : 0;
}

static void print_event(const json_t *event)
{
	int64_t at_ms = (int64_t)json_integer_value(json_object_get(event, "at_ms"));
	long long took_ms = json_integer_value(json_object_get(event, "took_ms"));
	const char *what = json_get_string(event, "what") ?: "?";
	const char *source = json_get_string(event, "source") ?: "";
	const char *problem = json_get_string(event, "problem") ?: "";
	time_t seconds = (time_t)(at_ms / 1000);
	char when[32], shown[512];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%F %T", &tm);
	printf("%s.%03d  ", when, (int)(at_ms % 1000));
	log_escape(shown, sizeof(shown), problem, strlen(problem));
	if (!strcmp(what, "asked"))
		puts("a program wants it");
	else if (!strcmp(what, "attempt"))
		printf("%s: %s after %lld ms%s%s\n", source, *problem ? "failed" : "gave it",
		       took_ms, *problem ? ": " : "", shown);
	else if (!strcmp(what, "retry"))
		printf("no source has it now; once more in %lld ms\n", took_ms);
	else if (!strcmp(what, "published"))
		printf("in the cache, %lld ms after it was asked for\n", took_ms);
	else
		printf("%s after %lld ms: %s\n", what, took_ms, shown);
}

static void print_why(const json_t *reply)
{
	const json_t *events = json_object_get(reply, "events");

	printf("%s: %s\n", json_get_string(reply, "digest") ?: "?",
	       json_is_true(json_object_get(reply, "cached")) ? "in the cache"
							      : "not in the cache");
	for (size_t i = 0; i < json_array_size(events); i++)
		print_event(json_array_get(events, i));
	if (!json_array_size(events))
		printf("Nothing is remembered of it: nobody had to wait for it since "
		       "intinode-fetchd "
		       "was started, %lld s ago, or that was long since.\n",
		       (long long)json_integer_value(json_object_get(reply, "uptime_ms")) / 1000);
}

int command_why(const struct command *command, int argc, char **argv)
{
	bool as_json = false;
	const char *socket = NULL;
	const struct option_row rows[] = {
		{ OPTION_FLAG, "json", NULL, "as JSON, on one line", &as_json, 0, 0, NULL },
		{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
		  &socket, 0, 0, NULL },
		{ OPTION_END, NULL, NULL, NULL, NULL, 0, 0, NULL },
	};
	cleanup_json json_t *request = NULL, *reply = NULL;
	struct problem problem = { "" };
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 1, 1, &operands, &n);

	if (r >= 0)
		return r;
	r = digest_parse(operands[0], strlen(operands[0]), &digest);
	if (r)
		r = digest_of_path(socket, operands[0], &digest, &problem);
	if (!r) {
		request = json_pack("{s:s, s:s}", "op", "why", "digest",
				    digest_format(&digest, text));
		r = ask(socket, request, &reply, &problem);
	}
	if (r)
		return options_fail(r, &problem);
	if (as_json) {
		json_dumpf(reply, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_why(reply);
	}
	return EXIT_OK;
}
