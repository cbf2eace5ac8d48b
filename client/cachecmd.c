/* SPDX-License-Identifier: Apache-2.0 */
/* Owns "intinode cache": what is in the host's cache, what stays there, what goes. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/commands.h"
#include "client/contents.h"
#include "client/options.h"
#include "client/progress.h"
#include "lib/cache.h"

const char cache_details[] =
	"  ls                 the files of the cache: size, whether it is on disk for good, "
	"digest\n"
	"  pins               what is pinned, and how many files that are\n"
	"  pin WHAT...        keep what these name: thin images, mounts, or files with a line\n"
	"                     'sha256:HEX SIZE' for each content; 'intinode prefetch --pin' "
	"fetches it\n"
	"  unpin NAME...      let go what was pinned under that name\n"
	"  gc                 evict what is neither open nor pinned, --bytes of it\n"
	"  verify             hash every file; what is damaged is discarded, to be fetched again\n"
	"\n"
	"The cache looks after itself: see cache-size and cache-free in intinode-fetchd(8).\n"
	"\n"
	"Exit status: 0 well, 1 not; of verify: 1 when something was damaged.\n"
	"\n"
	"Examples:\n"
	"  intinode cache pin docker://registry.example/app:1.0-thin\n"
	"  intinode cache gc --bytes 10G\n"
	"  intinode cache ls --json | jq .size\n";

static struct {
	const char *socket, *platform;
	uint64_t bytes;
	bool json, quiet;
} options;

static const struct option_row rows[] = {
	{ OPTION_SIZE, "bytes", "SIZE", "gc: evict so much (default: all)", &options.bytes, 1, 0,
	  NULL },
	{ OPTION_TEXT, "platform", "OS/ARCH", "pin: of an index (default: this machine's)",
	  &options.platform, 0, 0, NULL },
	{ OPTION_TEXT, "socket", "PATH", "of intinode-fetchd (default: $INTINODE_SOCKET)",
	  &options.socket, 0, 0, NULL },
	{ OPTION_FLAG, "quiet", NULL, "say nothing when all is well", &options.quiet, 0, 0, NULL },
	{ OPTION_FLAG, "json", NULL, "for scripts: a line of JSON for each file, pin or result",
	  &options.json, 0, 0, NULL },
	{ .type = OPTION_GROUP, .group = options_registry },
	{ .type = OPTION_END },
};

static void print_json(const json_t *json)
{
	if (json)
		json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
}

/* ---- all files ---- */

struct visit {
	struct host *host;
	struct cache *cache;
	struct progress *progress;
	uint64_t files, bytes, damaged;
};

/* @fd: of the file. Return: 0 to go on, or negative errno. */
typedef int (*visit_file)(struct visit *visit, const struct digest *digest, int fd,
			  uint64_t size_bytes, struct problem *problem);

static int visit_one(struct visit *visit, const char *name, visit_file found,
		     struct problem *problem)
{
	cleanup_close int fd = -1;
	struct digest digest;
	struct stat st;

	if (digest_parse_hex(DIGEST_SHA256, name, strlen(name), &digest))
		return 0;
	fd = cache_open_blob(visit->cache, &digest);
	if (fd == -ENOENT) /* evicted a moment ago */
		return 0;
	if (fd < 0 || fstat(fd, &st))
		return problem_set(problem, fd < 0 ? fd : -errno, "%s: %s", name,
				   strerror(fd < 0 ? -fd : errno));
	visit->files++;
	visit->bytes += (uint64_t)st.st_size;
	return found(visit, &digest, fd, (uint64_t)st.st_size, problem);
}

static int visit_all(struct visit *visit, visit_file found, struct problem *problem)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry = NULL;
	int r = cache_open_reader(visit->host->cache, &visit->cache, problem);

	if (!r)
		r = open_dir_at(cache_dirfd(visit->cache), ".", &dir);
	while (!r) {
		r = next_entry(dir, &entry);
		if (r || !entry)
			break;
		r = visit_one(visit, entry->d_name, found, problem);
	}
	cache_close(visit->cache);
	return r;
}

static int print_file(struct visit *visit, const struct digest *digest, int fd, uint64_t size_bytes,
		      struct problem *problem)
{
	bool sealed = cache_is_sealed(fd) == 1;
	char text[DIGEST_TEXT_SIZE];

	(void)visit;
	(void)problem;
	digest_format(digest, text);
	if (options.json) {
		cleanup_json json_t *json = json_pack("{s:s, s:I, s:b}", "digest", text, "size",
						      (json_int_t)size_bytes, "sealed", sealed);

		print_json(json);
	} else {
		printf("%12llu  %-7s %s\n", (unsigned long long)size_bytes,
		       sealed ? "sealed" : "new", text);
	}
	return 0;
}

static int command_ls(struct host *host, char **operands, struct problem *problem)
{
	struct visit visit = { .host = host };

	(void)operands;
	return visit_all(&visit, print_file, problem);
}

static int check_file(struct visit *visit, const struct digest *digest, int fd, uint64_t size_bytes,
		      struct problem *problem)
{
	cleanup_json json_t *request = NULL;
	char text[DIGEST_TEXT_SIZE];
	struct digest found;
	int r = digest_compute_fd(DIGEST_SHA256, fd, &found, NULL);

	progress_add(visit->progress, (int64_t)size_bytes);
	if (!r && digest_equal(&found, digest))
		return 0;
	visit->damaged++;
	digest_format(digest, text);
	log_error("%s: %s; it is discarded", text, r ? strerror(-r) : "its bytes are others");
	request = json_pack("{s:s, s:s}", "op", "discard", "digest", text);
	return request ? control_call(visit->host->control, request, NULL, problem) : -ENOMEM;
}

static int command_check(struct host *host, char **operands, struct problem *problem)
{
	cleanup_progress struct progress *progress =
		progress_new("hashing", options.quiet || options.json);
	struct visit visit = { .host = host, .progress = progress };
	char size[16];
	int r = progress ? visit_all(&visit, check_file, problem) : -ENOMEM;

	(void)operands;
	if (r)
		return r;
	if (options.json) {
		cleanup_json json_t *json =
			json_pack("{s:I, s:I, s:I}", "files", (json_int_t)visit.files, "bytes",
				  (json_int_t)visit.bytes, "damaged", (json_int_t)visit.damaged);

		print_json(json);
	} else if (!options.quiet) {
		log_info("%llu files, %s: %llu damaged", (unsigned long long)visit.files,
			 progress_format_bytes(visit.bytes, size),
			 (unsigned long long)visit.damaged);
	}
	return visit.damaged ? 1 : 0;
}

/* ---- room ---- */

static int command_gc(struct host *host, char **operands, struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s}", "op", "evict"), *reply = NULL;
	char size[16];
	int r;

	(void)operands;
	if (request && options.bytes)
		json_object_set_new(request, "bytes", json_integer((json_int_t)options.bytes));
	r = request ? control_call(host->control, request, &reply, problem) : -ENOMEM;
	if (r)
		return r;
	if (options.json)
		print_json(reply);
	else if (!options.quiet)
		log_info("%lld files evicted, %s",
			 (long long)json_integer_value(json_object_get(reply, "files")),
			 progress_format_bytes(
				 (uint64_t)json_integer_value(json_object_get(reply, "bytes")),
				 size));
	return 0;
}

/* ---- pins ---- */

static int command_pins(struct host *host, char **operands, struct problem *problem)
{
	cleanup_json json_t *request = json_pack("{s:s}", "op", "pins"), *reply = NULL;
	int r = request ? control_call(host->control, request, &reply, problem) : -ENOMEM;
	const json_t *pins = json_object_get(reply, "pins");

	(void)operands;
	for (size_t i = 0; !r && i < json_array_size(pins); i++) {
		const json_t *pin = json_array_get(pins, i);

		if (options.json)
			print_json(pin);
		else
			printf("%8lld files  %s\n",
			       (long long)json_integer_value(json_object_get(pin, "digests")),
			       json_get_string(pin, "name") ?: "?");
	}
	return r;
}

static int command_pin(struct host *host, char **operands, struct problem *problem)
{
	int r = 0;

	for (; !r && *operands; operands++) {
		struct contents contents;

		r = contents_load(host, *operands, options.platform, &contents, problem);
		if (r)
			return r;
		r = contents_pin(host, *operands, &contents, problem);
		if (!r && !options.quiet)
			log_info("%s: %zu files are pinned", *operands, contents.n);
		contents_free(&contents);
	}
	return r;
}

static int command_unpin(struct host *host, char **operands, struct problem *problem)
{
	int r = 0;

	for (; !r && *operands; operands++) {
		cleanup_json json_t *request =
			json_pack("{s:s, s:s}", "op", "unpin", "name", *operands);

		r = request ? control_call(host->control, request, NULL, problem) : -EINVAL;
		if (r)
			return problem_prefix(problem, r, "%s", *operands);
	}
	return r;
}

static const struct {
	const char *name;
	bool takes_operands;
	int (*run)(struct host *host, char **operands, struct problem *problem);
} actions[] = {
	{ "ls", false, command_ls },  { "pins", false, command_pins },
	{ "pin", true, command_pin }, { "unpin", true, command_unpin },
	{ "gc", false, command_gc },  { "verify", false, command_check },
};

/* Return: its index, or -EINVAL with @problem. */
static int find_action(const char *name, bool has_operands, struct problem *problem)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(actions) && strcmp(actions[i].name, name) != 0)
		i++;
	if (i == ARRAY_SIZE(actions))
		return problem_set(problem, -EINVAL,
				   "cache: '%s' is not ls, pins, pin, unpin, gc or verify; try "
				   "'intinode cache --help'",
				   name);
	if (actions[i].takes_operands != has_operands)
		return problem_set(problem, -EINVAL, "cache %s takes %s", name,
				   has_operands ? "no name" : "at least one name");
	return (int)i;
}

static int run_action(int i, char **operands, struct problem *problem)
{
	struct host host;
	int r = host_open(options.socket, &host, problem);

	if (r)
		return r;
	r = actions[i].run(&host, operands, problem);
	host_close(&host);
	return r;
}

int command_cache(const struct command *command, int argc, char **argv)
{
	struct problem problem = { "" };
	char **operands;
	int n, action, r = options_parse(command, rows, argc, argv, 1, argc, &operands, &n);

	if (r >= 0)
		return r;
	action = find_action(operands[0], n > 1, &problem);
	if (action < 0) {
		log_error("%s", problem_text(&problem, action));
		return EXIT_USAGE;
	}
	r = run_action(action, operands + 1, &problem);
	return r < 0 ? options_fail(r, &problem) : r ? EXIT_FAILED : EXIT_OK;
}
