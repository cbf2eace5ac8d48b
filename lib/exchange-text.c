/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the words for what went wrong. What the registry says is escaped and cut; a URL is
 * never shown, since its query may be a secret.
 */
#include <stdarg.h>
#include <string.h>

#include "lib/exchange.h"
#include "lib/json.h"

enum { REMOTE_TEXT_MAX = 200 };

int exchange_explain(struct exchange *ex, int error, const char *fmt, ...)
{
	char text[PROBLEM_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return problem_set(&ex->problem, error, "%s%s: %s", ex->is_plain_url ? "" : "docker://",
			   ex->host, text);
}

/* " (CODE: message)" of the first error in the body, or "". */
static const char *remote_text(const struct exchange *ex, char out[static REMOTE_TEXT_MAX + 8])
{
	cleanup_json json_t *json = NULL;
	const json_t *first;
	const char *code, *message;
	char shown[REMOTE_TEXT_MAX], joined[REMOTE_TEXT_MAX];

	*out = '\0';
	if (!ex->error_body_len || json_parse(ex->error_body, ex->error_body_len, &json, NULL))
		return out;
	first = json_array_get(json_object_get(json, "errors"), 0);
	code = json_get_string(first, "code");
	message = json_get_string(first, "message");
	if (!code && !message)
		return out;
	snprintf(joined, sizeof(joined), "%s%s%s", code ? code : "", code && message ? ": " : "",
		 message ? message : "");
	snprintf(out, REMOTE_TEXT_MAX + 8, " (%s)",
		 log_escape(shown, sizeof(shown), joined, strlen(joined)));
	return out;
}

static int explain_busy(struct exchange *ex, const char *remote)
{
	unsigned int status = ex->transfer.answer.status;
	const char *what = status == 429 ? "too many requests" : "the registry has trouble";

	if (ex->retry_after_ms > 0)
		return exchange_explain(ex, -EIO, "%s: %s (status %u)%s; try again in %lld s",
					ex->what, what, status, remote,
					(long long)(ex->retry_after_ms / 1000));
	return exchange_explain(ex, -EIO, "%s: %s (status %u)%s; try again later", ex->what, what,
				status, remote);
}

int exchange_explain_status(struct exchange *ex)
{
	unsigned int status = ex->transfer.answer.status;
	const char *in = ex->repository ? " in repository " : "";
	const char *repository = ex->repository ? ex->repository : "";
	char remote[REMOTE_TEXT_MAX + 8];

	remote_text(ex, remote);
	switch (status) {
	case 404:
	case 410:
		return exchange_explain(ex, -ENOENT, "no %s%s%s%s; is the name right?", ex->what,
					in, repository, remote);
	case 401:
	case 403:
		return exchange_explain(ex, -EACCES,
					"%s%s%s: forbidden%s; has the user the right to do this?",
					ex->what, in, repository, remote);
	case 413:
	case 507:
		return exchange_explain(ex, -ENOSPC,
					"%s: the registry has no room for it (status %u)%s; free "
					"space or raise its limit",
					ex->what, status, remote);
	case 405:
		return exchange_explain(ex, -EIO,
					"%s: the registry does not do this (status 405)%s; is it "
					"read-only?",
					ex->what, remote);
	case 416:
		return exchange_explain(ex, -EBADMSG,
					"%s: the registry has fewer bytes than it sent before",
					ex->what);
	default:
		if (status == 429 || status >= 500)
			return explain_busy(ex, remote);
		return exchange_explain(ex, -EIO, "%s: unexpected answer, status %u%s", ex->what,
					status, remote);
	}
}

int exchange_explain_access(struct exchange *ex, int error)
{
	char remote[REMOTE_TEXT_MAX + 8];

	return exchange_explain(ex, error, "%s%s", problem_text(&ex->need.problem, error),
				remote_text(ex, remote));
}
