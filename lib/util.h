/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small helpers that every module uses: ownership by cleanup attribute, whole
 * reads and writes, the monotonic clock.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static inline void cleanup_fclosep(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_close __attribute__((cleanup(cleanup_closep)))
#define cleanup_closedir __attribute__((cleanup(cleanup_closedirp)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclosep)))

static inline void *steal_pointer(void *p)
{
	void **pp = p, *value = *pp;

	*pp = NULL;
	return value;
}

/* Moves a pointer out of a variable with a cleanup attribute. */
#define steal_ptr(p) ((__typeof__(p))steal_pointer(&(p)))

static inline int steal_fd(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

/** now_ms() - CLOCK_MONOTONIC in milliseconds. Any context. */
int64_t now_ms(void);

/**
 * write_all() - write all of @len bytes, continuing after short writes and signals.
 * Return: 0 or negative errno. May block.
 */
int write_all(int fd, const void *buf, size_t len) must_check;

/**
 * read_full() - read until @len bytes or end of file.
 * Return: bytes read (less than @len only at end of file) or negative errno.
 */
ssize_t read_full(int fd, void *buf, size_t len) must_check;

/** pread_full() - the same from @off on, whatever the descriptor's position is. */
ssize_t pread_full(int fd, void *buf, size_t len, uint64_t off) must_check;

/**
 * read_file_at() - the whole of a regular file, NUL-terminated for convenience.
 * @max_bytes: -EFBIG when the file is larger.
 * @bytesp, @lenp: written on success; the caller frees *@bytesp.
 */
int read_file_at(int dirfd, const char *path, size_t max_bytes, char **bytesp,
		 size_t *lenp) must_check;

/**
 * open_dir_at() - a stream over the directory @name of @dirfd, links not followed; "." for
 * @dirfd itself. Return: 0 or negative errno.
 */
int open_dir_at(int dirfd, const char *name, DIR **out) must_check;

/**
 * next_entry() - of @dir. *@out is NULL at its end.
 * Return: 0 or -errno: readdir() alone does not tell a disk that fails from the end.
 */
int next_entry(DIR *dir, struct dirent **out) must_check;

/** make_dirs() - mkdir -p. Return: 0 or negative errno; an existing directory is no error. */
int make_dirs(const char *path, mode_t mode) must_check;

/**
 * write_file_durably_at() - replace @name in @dirfd by @bytes: temporary file, fsync,
 * rename, fsync of the directory. Readers see the old or the new content, also after a
 * power cut.
 */
int write_file_durably_at(int dirfd, const char *name, const void *bytes, size_t len,
			  mode_t mode) must_check;

/**
 * remove_tree_at() - rm -rf that does not follow links and does not leave @dirfd. However deep
 * the tree is, it takes few descriptors.
 * Return: 0 (also when @name does not exist) or the first negative errno.
 */
int remove_tree_at(int dirfd, const char *name) must_check;

/** plain_name_is_valid() - a file name of letters, digits, '.', '_' and '-', not beginning with
 * '.'. */
bool plain_name_is_valid(const char *name);

/**
 * text_append() - @text, or as much of it as there is room for before @end, and a 0 behind it;
 * several times cheaper than snprintf(). Return: where that is.
 */
static inline char *text_append(char *to, const char *end, const char *text)
{
	char *behind = memccpy(to, text, '\0', (size_t)(end - to));

	if (behind)
		return behind - 1;
	to[end - to - 1] = '\0';
	return to + (end - to) - 1;
}

/** close_from() - all descriptors from @first on. @at_exec: not now, but when a program is started.
 */
void close_from(unsigned int first, bool at_exec);

/** format_text() - asprintf that returns the string or NULL. The caller frees it. */
char *format_text(const char *fmt, ...) printf_like(1, 2) must_check;
