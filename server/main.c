/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intinode-serve: opens the store, serves it, and ends in good order. The main thread waits
 * for signals and does the housekeeping; requests run on the threads of http.c and workers.c,
 * a rebuild of the index on one of its own.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lib/log.h"
#include "server/admin.h"
#include "server/collector.h"
#include "server/commands.h"
#include "server/hot.h"
#include "server/options.h"
#include "server/packer.h"
#include "server/quota.h"
#include "server/recovery.h"
#include "server/scrub.h"
#include "server/verified.h"

enum {
	HOUSEKEEPING_S = 60,
	EXIT_USAGE = 2,
	/* Each of them is a mapping, and a process has 65,530 of those (vm.max_map_count). */
	MAPPED_MAX = 16 * 1024 * HOT_BLOB_MAX,
};

struct program {
	struct options options;
	struct services services;
	struct server *server;
	struct recovery *recovery; /* owned */
	struct admin *admin;	   /* owned */
	int argc;
	char **argv;
};

static int sigbus_root_fd = -1;

/*
 * The index is mapped; a file that got shorter behind our back is SIGBUS. Move it away and
 * end: the next start rebuilds it. Only calls that a signal handler may make.
 */
static void on_sigbus(int signal_number)
{
	static const char text[] = "intinode-serve: error: the index cannot be read from disk; it "
				   "is rebuilt at the next start\n";

	(void)signal_number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ||
	    renameat(sigbus_root_fd, "index", sigbus_root_fd, "index.damaged"))
		unlinkat(sigbus_root_fd, "index/data.mdb", 0);
	_exit(1);
}

static void block_signals(sigset_t *set)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	sigaction(SIGBUS, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int open_index(struct program *program, struct problem *problem)
{
	struct services *services = &program->services;
	enum index_state state;
	int r = index_open(services->store->root_fd, program->options.index_map, &services->index,
			   &state, problem);

	return r ? r : recovery_new(services->store, services->index, state, &program->recovery);
}

static int load_access(struct program *program, struct problem *problem)
{
	struct options *options = &program->options;
	int r = access_new(&options->access, &options->rules, &program->services.access, problem);

	if (!r && options->tls.certificate)
		r = tls_new(&options->tls, &options->http.tls, problem);
	return r;
}

static void unload_access(struct program *program)
{
	access_free(program->services.access);
	tls_free(program->options.http.tls);
}

/* What the settings name can be read, too. */
static int check_files(struct program *program, struct problem *problem)
{
	int r = load_access(program, problem);

	unload_access(program);
	return r;
}

static int open_services(struct program *program, struct problem *problem)
{
	struct services *services = &program->services;
	struct options *options = &program->options;
	int r = store_open(options->store, &services->store, problem);

	if (r)
		return r;
	sigbus_root_fd = services->store->root_fd;
	services->body_memory_max = options->body_memory;
	services->namespace = options->namespace;
	r = open_index(program, problem);
	if (!r) {
		r = uploads_new(services->store, &services->uploads);
		if (r)
			problem_set(problem, r, "uploads of the store: %s", strerror(-r));
		else
			uploads_expire(services->uploads, (int64_t)options->upload_ttl_s);
	}
	services->store->compress = options->compress;
	services->store->sparse_index = options->sparse_index;
	services->store->lease_s = (int64_t)options->lease_s;
	services->store->min_free_bytes = options->min_free;
	if (!r && options->compress)
		r = packer_new(services->store, &services->packer);
	if (!r && getrandom(services->key, sizeof(services->key), 0) != sizeof(services->key))
		r = problem_set(problem, -EIO, "the system gives no random bytes");
	services->verified = verified_new();
	if (!r && options->hot) {
		services->hot = hot_new(options->hot, HOT_BLOB_MAX);
		r = services->hot ? 0 : -ENOMEM;
	}
	/* TLS reads pages in user space, where one that the disk does not give is a signal. */
	if (!r && options->hot && !options->tls.certificate) {
		services->mapped =
			hot_new(options->hot / 2 < MAPPED_MAX ? options->hot / 2 : MAPPED_MAX,
				HOT_MAPPED_MAX);
		r = services->mapped ? 0 : -ENOMEM;
	}
	if (!r)
		r = quotas_new(services->store, &services->store->quotas);
	if (!r) /* before the rules move into access */
		r = quotas_set(services->store->quotas, &options->rules, options->quota_total);
	if (!r)
		r = load_access(program, problem);
	if (!r)
		r = collector_new(services->store, services->index, &options->collector,
				  &services->collector);
	if (!r && options->scrub_s)
		r = scrub_new(services->store, options->scrub_s, options->scrub_rate,
			      &services->scrub);
	return r;
}

static void close_services(struct program *program)
{
	struct services *services = &program->services;
	bool in_step;

	admin_stop(program->admin);
	in_step = recovery_free(program->recovery);
	scrub_free(services->scrub);
	collector_free(services->collector);
	unload_access(program);
	packer_free(services->packer);
	uploads_free(services->uploads);
	if (services->store)
		quotas_free(steal_ptr(services->store->quotas));
	hot_free(services->hot);
	hot_free(services->mapped);
	verified_free(services->verified);
	index_close(services->index, in_step);
	store_close(services->store);
}

static int write_port_file(const struct program *program, struct problem *problem)
{
	const char *path = program->options.port_file;
	cleanup_free char *text = format_text("%s\n", server_address(program->server));
	int r;

	if (!path)
		return 0;
	if (!text)
		return -ENOMEM;
	r = write_file_durably_at(AT_FDCWD, path, text, strlen(text), 0644);
	return r ? problem_set(problem, r, "%s: cannot be written: %s", path, strerror(-r)) : 0;
}

/* ---- SIGHUP ---- */

static int reload_settings(struct program *program, struct options *fresh, struct problem *problem)
{
	struct options *options = &program->options;

	(void)problem;
	log_set_level(fresh->level);
	server_configure(program->server, &fresh->http);
	program->services.body_memory_max = fresh->body_memory;
	options->drain_s = fresh->drain_s;
	options->upload_ttl_s = fresh->upload_ttl_s;
	return 0;
}

/* Before the rules move into access. */
static int reload_quotas(struct program *program, struct options *fresh, struct problem *problem)
{
	int r = quotas_set(program->services.store->quotas, &fresh->rules, fresh->quota_total);

	(void)problem;
	collector_recount(program->services.collector);
	return r;
}

static int reload_access(struct program *program, struct options *fresh, struct problem *problem)
{
	struct rules rules = fresh->rules;

	fresh->access.verifying_max = program->options.access.verifying_max; /* of the workers */
	/* Moved: the fresh options keep nothing of them. */
	fresh->rules = (struct rules){ .rules = NULL };
	return access_reload(program->services.access, &fresh->access, &rules, problem);
}

static int reload_tls(struct program *program, struct options *fresh, struct problem *problem)
{
	struct tls *tls = program->options.http.tls;

	if (!tls != !fresh->tls.certificate)
		return problem_set(problem, -EINVAL, "TLS is turned on and off by a restart");
	return tls ? tls_reload(tls, &fresh->tls, problem) : 0;
}

/*
 * Who takes over new settings in a running server, in this order. One that fails keeps what it
 * has and says why; the others go on.
 */
static int (*const reloads[])(struct program *program, struct options *fresh,
			      struct problem *problem) = {
	reload_settings,
	reload_quotas,
	reload_access,
	reload_tls,
};

/* A file that is away or empty for a moment must not take the rules with it. */
static int read_again(struct program *program, struct options *fresh, struct problem *problem)
{
	enum options_result result;
	int r = options_read(program->argc, program->argv, fresh, &result, problem);

	if (!r && program->options.has_file && !fresh->has_file)
		r = problem_set(problem, -ENOENT,
				"the file of settings that was read at the start is gone");
	return r ? r
		 : access_stays_closed(program->services.access, &fresh->access, &fresh->rules,
				       problem);
}

static void reload(struct program *program)
{
	struct options fresh;
	struct problem problem = { "" };
	bool failed = false;
	int r = read_again(program, &fresh, &problem);

	if (r) {
		log_error("reload: %s; the settings stay as they were", problem_text(&problem, r));
		options_free(&fresh);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(reloads); i++) {
		problem.text[0] = '\0';
		r = reloads[i](program, &fresh, &problem);
		if (r)
			log_error("reload: %s; this part stays as it was",
				  problem_text(&problem, r));
		failed = failed || r;
	}
	options_restart_needed(&program->options, &fresh);
	log_info("settings read again%s", failed ? ", but not all of them apply" : "");
	options_free(&fresh);
}

static void wait_for_end(struct program *program, const sigset_t *signals)
{
	for (;;) {
		uint64_t ttl_s = program->options.upload_ttl_s;
		struct timespec period = { .tv_sec = ttl_s < HOUSEKEEPING_S ? (time_t)ttl_s
									    : HOUSEKEEPING_S };
		int got = sigtimedwait(signals, NULL, &period);

		if (got == SIGTERM || got == SIGINT)
			return;
		if (got == SIGHUP)
			reload(program);
		if (got < 0 && errno == EAGAIN) {
			uploads_expire(program->services.uploads,
				       (int64_t)program->options.upload_ttl_s);
			index_check_readers(program->services.index);
		}
	}
}

static int serve(struct program *program, const sigset_t *signals, struct problem *problem)
{
	int r = open_services(program, problem);

	if (!r)
		r = admin_start(&program->services, &program->admin, problem);
	if (!r)
		r = server_start(&program->options.http, &program->services, &program->server,
				 problem);
	if (!r) {
		r = write_port_file(program, problem);
		if (!r) {
			log_info("listening on %s, store %s", server_address(program->server),
				 program->options.store);
			wait_for_end(program, signals);
			log_info("stopping: requests in flight have %llu s",
				 (unsigned long long)program->options.drain_s);
		}
		server_stop(program->server, (int64_t)program->options.drain_s * 1000);
	}
	close_services(program);
	return r;
}

int main(int argc, char **argv)
{
	static struct program program;
	enum options_result result;
	struct problem problem = { "" };
	sigset_t signals;
	int r, status;

	log_init("intinode-serve", LOG_LEVEL_INFO);
	if (argc > 1 && commands_has(argv[1]))
		return commands_run(argc - 1, argv + 1);
	program.argc = argc;
	program.argv = argv;
	r = options_read(argc, argv, &program.options, &result, &problem);
	if (r) {
		log_error("%s", problem_text(&problem, r));
		options_free(&program.options);
		return EXIT_USAGE;
	}
	log_set_level(program.options.level);
	if (result == OPTIONS_EXIT) {
		options_free(&program.options);
		return EXIT_SUCCESS;
	}
	if (program.options.check_config) {
		r = check_files(&program, &problem);
		if (r)
			log_error("%s", problem_text(&problem, r));
		else
			puts("the settings are right");
		options_free(&program.options);
		return r ? EXIT_USAGE : EXIT_SUCCESS;
	}
	block_signals(&signals);
	r = serve(&program, &signals, &problem);
	if (r)
		log_error("%s", problem_text(&problem, r));
	status = r ? EXIT_FAILURE : EXIT_SUCCESS;
	options_free(&program.options);
	return status;
}
