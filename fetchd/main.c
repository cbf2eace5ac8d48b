/* SPDX-License-Identifier: Apache-2.0 */
/* intinode-fetchd: start and end of the supervisor; the other roles of the same binary. */
#include "config.h"

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "fetchd/controlserver.h"
#include "fetchd/dialer.h"
#include "fetchd/metricsserver.h"
#include "fetchd/sandbox.h"
#include "fetchd/supervisor.h"
#include "lib/cache.h"

enum { OFFLOAD_THREADS = 4, FDS_WANTED = 65536 };

static void on_signal(evutil_socket_t number, short what, void *context)
{
	struct supervisor *sv = context;

	(void)what;
	log_info("%s: ends; mounts stay, and files that are in the cache keep opening",
		 strsignal((int)number));
	event_base_loopbreak(sv->base);
}

/* One supervisor a run directory: a second one would take the mounts from the first. */
static int take_lock(const struct options *options, int *out, struct problem *problem)
{
	cleanup_free char *path = format_text("%s/fetchd.lock", options->run);
	cleanup_close int fd = -1;
	int r = make_dirs(options->run, 0755);

	if (!path)
		return -ENOMEM;
	if (!r) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		r = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) ? -errno : 0;
	}
	if (r == -EWOULDBLOCK)
		return problem_set(
			problem, -EBUSY,
			"%s: another intinode-fetchd runs there; stop it, or choose another --run",
			options->run);
	if (r)
		return problem_set(problem, r, "run directory %s: %s", options->run, strerror(-r));
	*out = steal_fd(&fd);
	return 0;
}

static int recover(struct supervisor *sv, enum cache_state state)
{
	int n = cache_recover(sv->cache, state, &sv->usage);

	if (n > 0)
		log_warning("cache: %d damaged files were removed; they will be fetched again", n);
	if (n >= 0)
		n = cache_seal(sv->cache);
	return n < 0 ? n : 0;
}

/* In the same boot what is there is right, whoever was killed: it is made durable beside the rest.
 */
static void recover_run(struct offload_job *job)
{
	struct supervisor *sv = container_of(job, struct supervisor, recover_job);
	int r = recover(sv, CACHE_SAME_BOOT);

	if (r && r != -ECANCELED)
		log_error("cache %s: %s", sv->options.cache, strerror(-r));
	sv->recovered = !r;
}

static void recover_done(struct offload_job *job)
{
	(void)job;
}

/* After another boot nothing is served before it was looked at. */
static int take_cache(struct supervisor *sv, struct problem *problem)
{
	int r = cache_open(sv->options.cache, &sv->cache, problem);

	if (r)
		return r;
	sv->cache_state = cache_take(sv->cache);
	sv->recovered = sv->cache_state == CACHE_SEALED;
	if (sv->cache_state != CACHE_OTHER_BOOT)
		return 0;
	log_info("cache %s: checking files that were not yet durable", sv->options.cache);
	r = recover(sv, CACHE_OTHER_BOOT);
	sv->recovered = !r;
	return r ? problem_set(problem, r, "cache %s: %s", sv->options.cache, strerror(-r)) : 0;
}

static int set_up_space(struct supervisor *sv, struct problem *problem)
{
	int r = pins_open(sv->options.state, &sv->pins, problem);

	if (!r) {
		const struct space_options options = {
			.base = sv->base,
			.cache = sv->cache,
			.offload = sv->offload,
			.pins = sv->pins,
			.run = sv->options.run,
			.max_bytes = sv->options.cache_size,
			.min_free_bytes = sv->options.cache_free,
		};

		r = space_new(&options, &sv->space);
	}
	if (!r)
		fetch_table_use_space(sv->fetches, sv->space);
	if (!r && sv->options.scrub_s) {
		const struct scrub_options options = {
			.cache = sv->cache,
			.space = sv->space,
			.state = sv->options.state,
			.interval_s = sv->options.scrub_s,
			.rate = sv->options.scrub_rate,
		};

		r = scrub_new(&options, &sv->scrub);
	}
	return r;
}

static int set_up(struct supervisor *sv, struct problem *problem)
{
	int r = take_cache(sv, problem);

	if (r)
		return r;
	sv->base = event_base_new();
	r = sv->base ? offload_new(sv->base, OFFLOAD_THREADS, &sv->offload) : -ENOMEM;
	if (!r && sv->cache_state == CACHE_SAME_BOOT) {
		sv->recover_job = (struct offload_job){ .run = recover_run, .done = recover_done };
		offload_submit(sv->offload, &sv->recover_job);
	}
	if (!r)
		r = workerlink_new(sv->base, &sv->options, sv->network_fd, &sv->link);
	if (!r)
		r = fetch_table_new(sv->base, sv->cache, sv->offload, sv->link,
				    (unsigned int)sv->options.fetches_max, &sv->fetches);
	if (!r)
		r = set_up_space(sv, problem);
	if (!r) {
		const struct keeper_options options = {
			.base = sv->base,
			.run = sv->options.run,
			.grace_ms = (int64_t)sv->options.deadline_s * 1000,
		};

		r = keeper_open(&options, &sv->keeper, problem);
	}
	if (!r) {
		const struct mounts_options options = {
			.base = sv->base,
			.table = sv->fetches,
			.keeper = sv->keeper,
			.options = &sv->options,
		};

		r = mounts_open(&options, &sv->mounts, problem);
	}
	return r;
}

static void tear_down(struct supervisor *sv)
{
	mounts_close(sv->mounts);
	keeper_close(sv->keeper);
	scrub_free(sv->scrub);
	offload_free(sv->offload);
	fetch_table_free(sv->fetches);
	space_free(sv->space);
	pins_close(sv->pins);
	workerlink_free(sv->link);
	if (sv->cache && (cache_seal(sv->cache) < 0 || (sv->recovered && cache_leave(sv->cache))))
		log_error("cache: making files durable failed");
	cache_close(sv->cache);
	if (sv->base)
		event_base_free(sv->base);
}

static int run(struct supervisor *sv, struct problem *problem)
{
	static const int signals[] = { SIGTERM, SIGINT };
	struct event *events[ARRAY_SIZE(signals)] = { NULL };
	struct controlserver *server = NULL;
	struct metricsserver *metrics = NULL;
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(signals); i++) {
		events[i] = evsignal_new(sv->base, signals[i], on_signal, sv);
		r = events[i] && !event_add(events[i], NULL) ? 0 : -ENOMEM;
	}
	if (!r)
		r = metricsserver_new(sv, &metrics, problem);
	if (!r)
		r = controlserver_new(sv, &server, problem);
	if (!r) {
		keeper_notify_ready(sv->keeper);
		log_info("ready: cache %s, socket %s", sv->options.cache, sv->options.socket);
		if (event_base_dispatch(sv->base) < 0)
			r = problem_set(problem, -EIO, "the event loop failed");
	}
	space_stop(sv->space);
	cache_hurry(sv->cache);
	controlserver_free(server);
	metricsserver_free(metrics);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		if (events[i])
			event_free(events[i]);
	}
	return r;
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= FDS_WANTED)
		return;
	limit.rlim_cur = limit.rlim_max < FDS_WANTED ? limit.rlim_max : FDS_WANTED;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int supervise(int argc, char **argv)
{
	struct supervisor sv = { .started_ms = now_ms(), .network_fd = -1 };
	struct problem problem = { "" };
	cleanup_close int lock = -1;
	int r;

	/* What a service manager passes comes without. */
	close_from(STDERR_FILENO + 1, true);
	r = options_parse(argc, argv, &sv.options, &problem);

	if (!r && sv.options.check_config) {
		puts("the configuration is fine");
		options_free(&sv.options);
		return 0;
	}
	if (!r) {
		log_set_level(sv.options.log_level);
		setenv(SANDBOX_VARIABLE, sandbox_mode_name(sv.options.sandbox), 1);
		raise_fd_limit();
		r = sandbox_supervisor(sv.options.sandbox, &sv.network_fd);
	}
	if (!r) {
		r = take_lock(&sv.options, &lock, &problem);
	}
	if (!r)
		r = set_up(&sv, &problem);
	if (!r)
		r = run(&sv, &problem);
	if (r)
		log_error("%s", problem_text(&problem, r));
	tear_down(&sv);
	if (sv.network_fd >= 0)
		close(sv.network_fd);
	options_free(&sv.options);
	return r ? 1 : 0;
}

int main(int argc, char **argv)
{
	log_init("intinode-fetchd", LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN); /* of leases, which only ask whether a file is open (fcntl(2)) */
	if (argc == 2 && !strcmp(argv[1], "--worker"))
		return worker_main(WORKER_SOCKET_FD) ? 1 : 0;
	if (argc == 2 && !strcmp(argv[1], "--dialer"))
		return dialer_main(false) ? 1 : 0;
	if (argc == 2 && !strcmp(argv[1], "--dialer-elsewhere"))
		return dialer_main(true) ? 1 : 0;
	if (argc == 3 && !strcmp(argv[1], "--keep"))
		keeper_main(3);
	return supervise(argc, argv);
}
