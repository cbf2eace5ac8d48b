/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the log level and the program's name, both set at start-up. Any thread. */
#include "lib/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

static const char *log_program = "intinode";
static atomic_int log_max_level = LOG_LEVEL_INFO;
static bool log_to_journal;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_max_level = (int)level;
	log_to_journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_level(enum log_level level)
{
	log_max_level = (int)level;
}

bool log_shows(enum log_level level)
{
	return (int)level <= log_max_level;
}

int log_level_parse(const char *text, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (!strcmp(text, level_names[i])) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const int syslog_priority[] = { 3, 4, 6, 7 };
	char line[2048];
	int saved = errno, n;
	va_list ap;

	if (!log_shows(level))
		return;
	if (log_to_journal)
		n = snprintf(line, sizeof(line), "<%d>", syslog_priority[level]);
	else if (level == LOG_LEVEL_INFO)
		n = snprintf(line, sizeof(line), "%s: ", log_program);
	else
		n = snprintf(line, sizeof(line), "%s: %s: ", log_program, level_names[level]);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = (int)strlen(line);
	line[n] = '\n';
	/* One write, so that lines of several threads and processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0) {
		/* Nobody is left to tell. */
	}
	errno = saved;
}

char *log_escape(char *out, size_t size, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	size_t o = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';
		size_t need = plain ? 1 : 4;

		if (o + need + 4 > size) {
			if (size >= 4) {
				memcpy(out + o, "...", 3);
				o += 3;
			}
			break;
		}
		if (plain) {
			out[o++] = (char)c;
		} else {
			out[o++] = '\\';
			out[o++] = 'x';
			out[o++] = hex[c >> 4];
			out[o++] = hex[c & 15];
		}
	}
	if (size)
		out[o] = '\0';
	return out;
}

/* The analyzer has macros of these names. */
#undef problem_set
#undef problem_prefix

int problem_set(struct problem *problem, int error, const char *fmt, ...)
{
	va_list ap;

	if (!problem)
		return error;
	va_start(ap, fmt);
	vsnprintf(problem->text, sizeof(problem->text), fmt, ap);
	va_end(ap);
	return error;
}

int problem_prefix(struct problem *problem, int error, const char *fmt, ...)
{
	char rest[PROBLEM_MAX];
	va_list ap;
	int n;

	if (!problem)
		return error;
	snprintf(rest, sizeof(rest), "%s", problem_text(problem, error));
	va_start(ap, fmt);
	n = vsnprintf(problem->text, sizeof(problem->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(problem->text))
		snprintf(problem->text + n, sizeof(problem->text) - (size_t)n, ": %s", rest);
	return error;
}

const char *problem_text(const struct problem *problem, int error)
{
	return problem && problem->text[0] ? problem->text : strerror(-error);
}
