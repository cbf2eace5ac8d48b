/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first open of files that the host does not have, against fetching the same blobs from
 * the same server:
 *	miss DIR LIST URL CURL
 * LIST holds "PATH DIGEST" on each line, each path once; URL/DIGEST is the blob. For every file
 * three things are timed, in an order that changes from file to file: open() of DIR/PATH, a
 * GET by libcurl over one kept connection, and the program CURL. Prints their medians in
 * microseconds, tab-separated.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 10000, WAYS = 3 };

extern char **environ;

struct bench {
	int dirfd;
	const char *url;
	const char *program;
	CURL *curl;
	double us[WAYS][FILES_MAX];
	size_t n;
};

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "miss: %s: %s\n", what, detail);
	exit(1);
}

static size_t discard(char *bytes, size_t size, size_t n, void *context)
{
	(void)bytes;
	(void)context;
	return size * n;
}

static void by_open(struct bench *bench, const char *path, const char *url)
{
	int fd = openat(bench->dirfd, path, O_RDONLY | O_CLOEXEC);

	(void)url;
	if (fd < 0)
		die(path, strerror(errno));
	close(fd);
}

static void by_library(struct bench *bench, const char *path, const char *url)
{
	CURLcode code;
	long status = 0;

	(void)path;
	curl_easy_setopt(bench->curl, CURLOPT_URL, url);
	code = curl_easy_perform(bench->curl);
	curl_easy_getinfo(bench->curl, CURLINFO_RESPONSE_CODE, &status);
	if (code || status != 200)
		die(url, code ? curl_easy_strerror(code) : "not answered with 200");
}

static void by_program(struct bench *bench, const char *path, const char *url)
{
	const char *argv[] = { bench->program, "-sf", "-o", "/dev/null", url, NULL };
	int status = -1, error;
	pid_t pid;

	(void)path;
	error = posix_spawn(&pid, bench->program, NULL, NULL, (char *const *)(uintptr_t)argv,
			    environ);
	if (error)
		die(bench->program, strerror(error));
	if (waitpid(pid, &status, 0) != pid || status)
		die(url, "curl failed");
}

static void measure(struct bench *bench, const char *path, const char *digest)
{
	static void (*const ways[WAYS])(struct bench *, const char *,
					const char *) = { by_open, by_library, by_program };
	struct timespec start, end;
	char url[1024];

	snprintf(url, sizeof(url), "%s/%s", bench->url, digest);
	for (size_t i = 0; i < WAYS; i++) {
		size_t way = (i + bench->n) % WAYS;

		clock_gettime(CLOCK_MONOTONIC, &start);
		ways[way](bench, path, url);
		clock_gettime(CLOCK_MONOTONIC, &end);
		bench->us[way][bench->n] = (double)(end.tv_sec - start.tv_sec) * 1e6 +
					   (double)(end.tv_nsec - start.tv_nsec) / 1e3;
	}
	bench->n++;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void read_list(struct bench *bench, const char *path)
{
	FILE *list = fopen(path, "re");
	char *line = NULL, *space;
	size_t size = 0;

	if (!list)
		die(path, strerror(errno));
	while (bench->n < FILES_MAX && getline(&line, &size, list) > 0) {
		line[strcspn(line, "\n")] = '\0';
		space = strrchr(line, ' ');
		if (!space)
			die(path, "a line without a digest");
		*space = '\0';
		measure(bench, line, space + 1);
	}
	free(line);
	fclose(list);
	if (!bench->n)
		die(path, "is empty");
}

int main(int argc, char **argv)
{
	static struct bench bench;

	if (argc != 5) {
		fputs("usage: miss DIR LIST URL CURL\n", stderr);
		return 2;
	}
	bench.dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (bench.dirfd < 0)
		die(argv[1], strerror(errno));
	bench.url = argv[3];
	bench.program = argv[4];
	bench.curl = curl_easy_init();
	if (!bench.curl)
		die("libcurl", "no handle");
	curl_easy_setopt(bench.curl, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(bench.curl, CURLOPT_PROXY, "");
	read_list(&bench, argv[2]);
	for (size_t way = 0; way < WAYS; way++) {
		qsort(bench.us[way], bench.n, sizeof(double), compare);
		printf("%.0f%c", bench.us[way][bench.n / 2], way + 1 < WAYS ? '\t' : '\n');
	}
	curl_easy_cleanup(bench.curl);
	return 0;
}
