/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libFuzzer where that is not wanted: plays the files of a target's corpus
 * (directories compiled in as FUZZ_CORPUS, separated by ":", or named as arguments) through
 * LLVMFuzzerTestOneInput() and prints TAP.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUT_SIZE_MAX = 16 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes are copied to a block of exactly their size, so that a sanitizer sees an overrun. */
static int play_file(const char *path)
{
	static uint8_t buffer[INPUT_SIZE_MAX];
	uint8_t *data;
	size_t size;
	FILE *file = fopen(path, "rbe");

	if (!file)
		return -1;
	size = fread(buffer, 1, sizeof(buffer), file);
	fclose(file);
	data = malloc(size ? size : 1);
	if (!data)
		return -1;
	memcpy(data, buffer, size);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

static int play_directory(const char *path, int *played)
{
	struct dirent **entries;
	char file[4096];
	struct stat st;
	int n, i, ret = 0;

	n = scandir(path, &entries, NULL, alphasort);
	if (n < 0)
		return -1;
	for (i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
		free(entries[i]);
		if (stat(file, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (play_file(file) < 0)
			ret = -1;
		else
			(*played)++;
	}
	free(entries);
	return ret;
}

int main(int argc, char **argv)
{
	char compiled[] = FUZZ_CORPUS;
	int played = 0, failed = 0, i;
	char *path, *rest = compiled;

	puts("1..1");
	for (i = 1; i < argc; i++)
		failed |= play_directory(argv[i], &played);
	while (argc < 2 && (path = strsep(&rest, ":")))
		failed |= play_directory(path, &played);
	printf("%sok 1 - %d inputs of the corpus are played without harm\n",
	       failed || !played ? "not " : "", played);
	return failed || !played;
}
