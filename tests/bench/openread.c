/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warm open and read of the same files in several trees:
 *	openread ROUNDS LIST DIR...
 * LIST holds a relative path on each line. Every tree is read once before anything is timed.
 * Then each round goes over all trees, beginning with another one each time, so that what
 * disturbs the machine disturbs all of them. Prints for each tree, tab-separated: DIR,
 * nanoseconds of one open() and close(), MB/s of reading everything. Each is what the better
 * tenth of the rounds reached: other work on the machine only ever makes a round slower.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TREES_MAX = 16, ROUNDS_MAX = 1000, BUFFER_BYTES = 128 * 1024 };

struct tree {
	const char *path;
	int fd;
	double open_ns[ROUNDS_MAX];
	double mb_per_s[ROUNDS_MAX];
};

static char **files;
static size_t n_files;

static void die(const char *what, const char *path)
{
	fprintf(stderr, "openread: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void read_list(const char *path)
{
	FILE *list = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	if (!list)
		die("cannot read", path);
	while ((len = getline(&line, &size, list)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		files = realloc(files, (n_files + 1) * sizeof(*files));
		if (!files)
			die("memory for", path);
		files[n_files] = strdup(line);
		if (!files[n_files++])
			die("memory for", path);
	}
	free(line);
	fclose(list);
	if (!n_files) {
		errno = ENODATA;
		die("nothing in", path);
	}
}

static double open_all(const struct tree *tree)
{
	double start = now_ns();

	for (size_t i = 0; i < n_files; i++) {
		int fd = openat(tree->fd, files[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			die("cannot open", files[i]);
		close(fd);
	}
	return (now_ns() - start) / (double)n_files;
}

/* Only reading is timed: opening has its own figure. */
static double read_all(const struct tree *tree)
{
	static char buffer[BUFFER_BYTES];
	double spent = 0, bytes = 0;

	for (size_t i = 0; i < n_files; i++) {
		int fd = openat(tree->fd, files[i], O_RDONLY | O_CLOEXEC);
		double start = now_ns();
		ssize_t n;

		if (fd < 0)
			die("cannot open", files[i]);
		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			bytes += (double)n;
		if (n < 0)
			die("cannot read", files[i]);
		spent += now_ns() - start;
		close(fd);
	}
	return bytes / 1e6 / (spent / 1e9);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value that @percent of the rounds stay below. */
static double percentile(double *values, size_t n, size_t percent)
{
	qsort(values, n, sizeof(*values), compare);
	return values[(n - 1) * percent / 100];
}

int main(int argc, char **argv)
{
	static struct tree trees[TREES_MAX];
	size_t n_trees = argc > 3 ? (size_t)argc - 3 : 0, round, rounds, i;

	rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	if (!n_trees || n_trees > TREES_MAX || !rounds || rounds > ROUNDS_MAX) {
		fputs("usage: openread ROUNDS LIST DIR...\n", stderr);
		return 2;
	}
	read_list(argv[2]);
	for (i = 0; i < n_trees; i++) {
		trees[i].path = argv[3 + i];
		trees[i].fd = open(trees[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (trees[i].fd < 0)
			die("cannot open", trees[i].path);
		read_all(&trees[i]);
	}
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < n_trees; i++) {
			struct tree *tree = &trees[(round + i) % n_trees];

			tree->open_ns[round] = open_all(tree);
			tree->mb_per_s[round] = read_all(tree);
		}
	}
	for (i = 0; i < n_trees; i++)
		printf("%s\t%.0f\t%.0f\n", trees[i].path, percentile(trees[i].open_ns, rounds, 10),
		       percentile(trees[i].mb_per_s, rounds, 90));
	return 0;
}
