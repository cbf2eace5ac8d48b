/* SPDX-License-Identifier: Apache-2.0 */
/* intinode status. */
#include <string.h>

#include "client/commands.h"
#include "client/progress.h"
#include "lib/control.h"

const char status_details[] =
	"What intinode-fetchd has mounted and fetched, and who waits for what.\n"
	"\n"
	"  intinode status\n"
	"  intinode status --json            for scripts; fields as in lib/control.h\n";

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *bytes(const json_t *object, const char *key, char out[static 16])
{
	return progress_format_bytes(number(object, key), out);
}

static void print_mounts(const json_t *mounts)
{
	const json_t *mount;
	size_t i;

	if (!json_array_size(mounts))
		puts("mounts   none");
	json_array_foreach(mounts, i, mount) {
		const char *upper = json_get_string(mount, "upper");

		printf("mount    %s  %s  %s, %s\n", json_get_string(mount, "mountpoint") ?: "?",
		       json_get_string(mount, "reference") ?: "?",
		       json_get_string(mount, "frontend") ?: "?", upper ? "writable" : "read-only");
	}
}

static void print_waiting(const json_t *waiting)
{
	const json_t *fetch;
	size_t i;

	json_array_foreach(waiting, i, fetch) {
		const char *problem = json_get_string(fetch, "problem");
		char size[16];

		printf("waiting  %s  %s, %llu waiters for %.1f s, from %s%s%s\n",
		       json_get_string(fetch, "digest") ?: "?", bytes(fetch, "size", size),
		       (unsigned long long)number(fetch, "waiters"),
		       (double)number(fetch, "since_ms") / 1000.0,
		       json_get_string(fetch, "source") ?: "?",
		       problem && *problem ? "; last problem: " : "", problem ? problem : "");
	}
}

static void print_failing(const json_t *hosts)
{
	const json_t *host;
	size_t i;

	json_array_foreach(hosts, i, host) {
		unsigned long long ms = (unsigned long long)number(host, "open_ms");

		printf("failing  %s  %llu times in a row", json_get_string(host, "host") ?: "?",
		       (unsigned long long)number(host, "failures"));
		if (ms)
			printf("; left alone for %llu s where another has the file",
			       (ms + 999) / 1000);
		putchar('\n');
	}
}

static void print_suspects(const json_t *suspects)
{
	const json_t *suspect;
	size_t i;

	json_array_foreach(suspects, i, suspect) {
		unsigned long long ms = (unsigned long long)number(suspect, "quarantine_ms");

		printf("suspect  %s  the network worker died %llu times while it was fetched",
		       json_get_string(suspect, "digest") ?: "?",
		       (unsigned long long)number(suspect, "deaths"));
		if (ms)
			printf("; in quarantine for %llu s more", (ms + 999) / 1000);
		putchar('\n');
	}
}

static void print_status(const json_t *status)
{
	const json_t *cache = json_object_get(status, "cache");
	const json_t *fetched = json_object_get(status, "fetched");
	char a[16], b[16];

	printf("fetchd   %s, pid %llu, up %llu s\n", json_get_string(status, "version") ?: "?",
	       (unsigned long long)number(status, "pid"),
	       (unsigned long long)number(status, "uptime_ms") / 1000);
	printf("cache    %s: %llu files, %s", json_get_string(cache, "path") ?: "?",
	       (unsigned long long)number(cache, "files"), bytes(cache, "bytes", a));
	if (json_is_integer(json_object_get(cache, "max_bytes")))
		printf(" of %s", bytes(cache, "max_bytes", a));
	if (number(cache, "evicted_files"))
		printf("; %llu files, %s, evicted",
		       (unsigned long long)number(cache, "evicted_files"),
		       bytes(cache, "evicted_bytes", a));
	putchar('\n');
	printf("fetched  %llu files, %s (%s on the wire), %llu could not be had\n",
	       (unsigned long long)number(fetched, "files"), bytes(fetched, "bytes", a),
	       bytes(fetched, "wire_bytes", b), (unsigned long long)number(fetched, "errors"));
	print_mounts(json_object_get(status, "mounts"));
	print_waiting(json_object_get(status, "waiting"));
	print_failing(json_object_get(status, "failing"));
	print_suspects(json_object_get(status, "suspects"));
}

int command_status(const struct command *command, int argc, char **argv)
{
	bool json = false;
	const char *socket = NULL;
	const struct option_row rows[] = {
		{ OPTION_FLAG, "json", NULL, "as JSON, on one line", &json, 0, 0, NULL },
		{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
		  &socket, 0, 0, NULL },
		{ OPTION_END, NULL, NULL, NULL, NULL, 0, 0, NULL },
	};
	cleanup_json json_t *request = json_pack("{s:s}", "op", "status");
	cleanup_json json_t *reply = NULL;
	struct problem problem = { "" };
	struct control *control = NULL;
	char **operands;
	int n, r = options_parse(command, rows, argc, argv, 0, 0, &operands, &n);

	if (r >= 0)
		return r;
	r = control_connect(socket, &control, &problem);
	if (!r)
		r = control_call(control, request, &reply, &problem);
	control_close(control);
	if (r)
		return options_fail(r, &problem);
	if (json) {
		json_dumpf(reply, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_status(reply);
	}
	return EXIT_OK;
}
