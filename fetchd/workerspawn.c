/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the start of a worker and its dialer, and nothing of them afterwards. */
#include "fetchd/workerspawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fetchd/workerlink.h"
#include "lib/fdpass.h"
#include "lib/json.h"

enum { FIRST_SPARE_FD = 10 };

/* Both ends away from the numbers that a child gets them as. */
static int make_pair(int pair[2])
{
	const int buffer = 1024 * 1024;
	int low[2], r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, low))
		return -errno;
	for (int i = 0; i < 2; i++) {
		setsockopt(low[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
		pair[i] = r ? -1 : fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
		if (pair[i] < 0)
			r = r ? r : -errno;
	}
	close(low[0]);
	close(low[1]);
	if (r && pair[0] >= 0)
		close(steal_fd(&pair[0]));
	return r;
}

/* One of the other roles of this binary, with @fds as 3, 4 and so on. */
static int spawn_role(const char *role, const int *fds, size_t n_fds, pid_t *pid)
{
	static const char name[] = "intinode-fetchd";
	char *const argv[] = { (char *)(uintptr_t)name, (char *)(uintptr_t)role, NULL };
	posix_spawn_file_actions_t actions;
	int r;

	/* posix_spawn uses vfork: no copy of a writable cache descriptor exists meanwhile. */
	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	for (size_t i = 0; !r && i < n_fds; i++)
		r = posix_spawn_file_actions_adddup2(&actions, fds[i], WORKER_SOCKET_FD + (int)i);
	if (!r)
		r = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		*pid = -1;
	return -r;
}

static int send_setting(int sock, const struct registry_rule *rule)
{
	cleanup_json json_t *message = json_pack("{s:s, s:b, s:b, s:s*}", "host", rule->host,
						 "plain_http", rule->plain_http, "insecure",
						 rule->insecure, "ca_file", rule->ca_file);
	cleanup_free char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	return text ? fdpass_send(sock, text, strlen(text), -1) : -ENOMEM;
}

/* What files it needs it reads before it gives up the right to. */
static int send_settings(const struct options *options, int sock)
{
	static const char begin[] = "{\"begin\":true}";
	int r = 0;

	for (size_t i = 0; !r && i < options->n_rules; i++) {
		const struct registry_rule *rule = &options->rules[i];

		if (rule->plain_http || rule->insecure || rule->ca_file)
			r = send_setting(sock, rule);
	}
	for (size_t i = 0; !r && i < options->n_buckets; i++) {
		const struct bucket *bucket = &options->buckets[i];
		const struct registry_rule plain = { .host = bucket->host, .plain_http = true };

		if (bucket->host && !strncmp(bucket->endpoint, "http:", 5))
			r = send_setting(sock, &plain);
	}
	return r ? r : fdpass_send(sock, begin, strlen(begin), -1);
}

/* @worker, @dialer: their ends of the sockets to the supervisor. */
static int spawn_both(struct worker_processes *processes, int worker, int dialer, int network_fd)
{
	int pair[2] = { -1, -1 }, r = make_pair(pair);

	if (r)
		return r;
	const int of_dialer[] = { dialer, pair[0], network_fd };
	const int of_worker[] = { worker, pair[1] };

	if (network_fd >= 0)
		r = spawn_role("--dialer-elsewhere", of_dialer, 3, &processes->dialer_pid);
	else
		r = spawn_role("--dialer", of_dialer, 2, &processes->dialer_pid);
	if (!r)
		r = spawn_role("--worker", of_worker, 2, &processes->pid);
	close(pair[0]);
	close(pair[1]);
	return r;
}

static void end(struct worker_processes *processes)
{
	const pid_t pids[] = { processes->pid, processes->dialer_pid };

	if (processes->sock >= 0)
		close(processes->sock);
	if (processes->dialer_sock >= 0)
		close(processes->dialer_sock);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		if (pids[i] <= 0)
			continue;
		kill(pids[i], SIGKILL);
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			continue;
	}
}

int worker_spawn(const struct options *options, int network_fd, struct worker_processes *out)
{
	struct worker_processes processes = { -1, -1, -1, -1 };
	int worker[2] = { -1, -1 }, dialer[2] = { -1, -1 }, r = make_pair(worker);

	if (!r)
		r = make_pair(dialer);
	processes.sock = worker[0];
	processes.dialer_sock = dialer[0];
	if (!r)
		r = spawn_both(&processes, worker[1], dialer[1], network_fd);
	if (worker[1] >= 0)
		close(worker[1]);
	if (dialer[1] >= 0)
		close(dialer[1]);
	if (!r && (fcntl(processes.sock, F_SETFL, O_NONBLOCK) ||
		   fcntl(processes.dialer_sock, F_SETFL, O_NONBLOCK)))
		r = -errno;
	if (!r)
		r = send_settings(options, processes.sock);
	if (r)
		end(&processes);
	else
		*out = processes;
	return r;
}
