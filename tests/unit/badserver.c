/* SPDX-License-Identifier: Apache-2.0 */
/* Owns one child process, and the directory that it logs into. */
#include "tests/unit/badserver.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { LINE_MAX_BYTES = 64 * 1024 };

/* A certificate for "localhost" that nobody has signed. */
static void make_certificate(struct badserver *server)
{
	pid_t pid;
	int status = 1;

	snprintf(server->cert_path, sizeof(server->cert_path), "%s/cert.pem", server->dir);
	pid = fork();
	if (pid == 0) {
		if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
			_exit(1);
		execl("/usr/bin/openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		      "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		      "-addext", "subjectAltName=DNS:localhost", "-keyout", server->cert_path,
		      "-out", server->log_path, (char *)NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		server->cert_path[0] = '\0';
}

/* Key and certificate in one file; the log was where the certificate went first. */
static int join_certificate(struct badserver *server)
{
	cleanup_free char *bytes = NULL;
	cleanup_close int fd = -1;
	size_t len;
	int r;

	if (!server->cert_path[0])
		return 0;
	r = read_file_at(AT_FDCWD, server->log_path, LINE_MAX_BYTES, &bytes, &len);
	if (r)
		return r;
	fd = open(server->cert_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(server->log_path);
	return write_all(fd, bytes, len);
}

static int read_ports(struct badserver *server, int fd)
{
	char line[64] = "", *p = line;
	size_t used = 0;

	while (used < sizeof(line) - 1 && !strchr(line, '\n')) {
		ssize_t n = read(fd, line + used, sizeof(line) - 1 - used);

		if (n <= 0)
			return -1;
		used += (size_t)n;
	}
	server->port = (unsigned int)strtoul(p, &p, 10);
	server->other_port = (unsigned int)strtoul(p, &p, 10);
	server->tls_port = (unsigned int)strtoul(p, &p, 10);
	return server->port && server->other_port ? 0 : -1;
}

int badserver_start(struct badserver *server)
{
	int in[2], out[2], r;

	*server = (struct badserver){ .dir = "/tmp/badserver-XXXXXX" };
	if (!mkdtemp(server->dir) || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return -1;
	snprintf(server->log_path, sizeof(server->log_path), "%s/log", server->dir);
	make_certificate(server);
	if (join_certificate(server))
		return -1;
	server->pid = fork();
	if (server->pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(TEST_DATA "/../lib/badserver.py", "badserver.py", "--log", server->log_path,
		      server->cert_path[0] ? "--cert" : (char *)NULL, server->cert_path,
		      (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	server->stdin_fd = in[1];
	r = server->pid < 0 ? -1 : read_ports(server, out[0]);
	close(out[0]);
	return r;
}

void badserver_stop(struct badserver *server)
{
	close(server->stdin_fd);
	waitpid(server->pid, NULL, 0);
	if (remove_tree_at(AT_FDCWD, server->dir))
		fprintf(stderr, "%s is left behind\n", server->dir);
}

static FILE *open_log(const struct badserver *server)
{
	FILE *file = fopen(server->log_path, "re");

	if (file && fseek(file, server->log_offset, SEEK_SET)) {
		fclose(file);
		return NULL;
	}
	return file;
}

void badserver_mark(struct badserver *server)
{
	cleanup_fclose FILE *file = open_log(server);

	if (file && !fseek(file, 0, SEEK_END))
		server->log_offset = ftell(file);
}

static json_t *read_row(FILE *file)
{
	cleanup_free char *line = NULL;
	size_t size = 0;
	json_t *row;

	if (getline(&line, &size, file) <= 0 || json_parse(line, strlen(line), &row, NULL))
		return NULL;
	return row;
}

static bool row_fits(const json_t *row, const struct badserver_filter *filter)
{
	const char *method = json_get_string(row, "method"), *path = json_get_string(row, "path");
	const json_t *headers = json_object_get(row, "headers");
	const char *value = filter->header ? json_get_string(headers, filter->header) : "";

	if (filter->port && json_integer_value(json_object_get(row, "port")) != filter->port)
		return false;
	if ((filter->method && strcmp(filter->method, method)) ||
	    (filter->path && !strstr(path, filter->path)))
		return false;
	return value && (!filter->value || !strncmp(value, filter->value, strlen(filter->value)));
}

unsigned int badserver_count(struct badserver *server, const struct badserver_filter *filter)
{
	cleanup_fclose FILE *file = open_log(server);
	unsigned int n = 0;
	json_t *row;

	while (file && (row = read_row(file))) {
		n += row_fits(row, filter);
		json_decref(row);
	}
	return n;
}

unsigned int badserver_connections(struct badserver *server)
{
	cleanup_fclose FILE *file = open_log(server);
	cleanup_free bool *seen = calloc(65536, sizeof(*seen));
	unsigned int n = 0;
	json_t *row;

	while (file && seen && (row = read_row(file))) {
		uint16_t peer = (uint16_t)json_integer_value(json_object_get(row, "peer"));

		n += !seen[peer];
		seen[peer] = true;
		json_decref(row);
	}
	return n;
}
