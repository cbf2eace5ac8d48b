/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines and explained errors.
 *
 * An error travels as a negative errno and, where a person will read it, as a
 * struct problem that says what, where and what to do. It is logged once, at the
 * boundary (a command, a request, a fetch). A remote party's text goes through
 * log_escape() first.
 */
#pragma once

#include "lib/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { PROBLEM_MAX = 1024 };

/* What went wrong, in one sentence or two for a person. Empty text: nothing to add to errno. */
struct problem {
	char text[PROBLEM_MAX];
};

/** log_init() - name of the program and the highest level shown; call once in main(). */
void log_init(const char *program, enum log_level level);

/** log_set_level() - change the level; safe from any thread. */
void log_set_level(enum log_level level);

/** log_shows() - is a line of @level written? For lines that cost something to make. */
bool log_shows(enum log_level level);

/** log_level_parse() - "error", "warning", "info" or "debug". Return: 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *out) must_check;

/**
 * log_line() - one line on standard error: "program: level: text". Keeps errno. Any thread.
 * Where standard error is the journal (JOURNAL_STREAM is set), the level goes as a
 * "<N>" prefix instead.
 */
void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/**
 * log_escape() - @text as printable ASCII, cut to @size - 1 bytes.
 * Anything else becomes \xHH; a cut ends in "...". Return: @out.
 */
char *log_escape(char *out, size_t size, const char *text, size_t len);

/**
 * problem_set() - describe an error.
 * @problem: may be NULL (the caller does not care).
 * @error: negative errno; returned unchanged, so that `return problem_set(p, -EINVAL, …)` works.
 */
int problem_set(struct problem *problem, int error, const char *fmt, ...) printf_like(3, 4);

/** problem_prefix() - put "context: " before what the text already says. Return: @error. */
int problem_prefix(struct problem *problem, int error, const char *fmt, ...) printf_like(3, 4);

#ifdef __clang_analyzer__
/* Says what the prototypes cannot, so that no path is followed where an error comes back as 0. */
#define problem_set(problem, error, ...)                        \
	({                                                      \
		int set_error = (error);                        \
		__builtin_assume(set_error < 0);                \
		(problem_set)(problem, set_error, __VA_ARGS__); \
		set_error;                                      \
	})
#define problem_prefix(problem, error, ...)                           \
	({                                                            \
		int prefix_error = (error);                           \
		__builtin_assume(prefix_error < 0);                   \
		(problem_prefix)(problem, prefix_error, __VA_ARGS__); \
		prefix_error;                                         \
	})
#endif

/** problem_text() - the text, or strerror() of @error where there is none. */
const char *problem_text(const struct problem *problem, int error);
