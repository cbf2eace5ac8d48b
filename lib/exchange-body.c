/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what happens to the bytes of an answer: checks before the first, limits, the place in
 * the stream. Called from libcurl, so it notes errors and never ends an exchange.
 */
#include <string.h>
#include <strings.h>

#include "lib/exchange.h"

void exchange_body_begin(struct exchange *ex)
{
	ex->head_is_checked = false;
	ex->error_body_is_full = false;
	ex->error_body_len = 0;
	ex->n_bytes = 0;
	ex->skip = 0;
	ex->body_error = 0;
}

static int stop(struct exchange *ex, int error)
{
	ex->body_error = error;
	return error;
}

static bool read_number(const char **p, uint64_t *out)
{
	const char *start = *p;

	*out = 0;
	while (**p >= '0' && **p <= '9') {
		if (*out > (uint64_t)INT64_MAX / 10 - 1)
			return false;
		*out = *out * 10 + (uint64_t)(*(*p)++ - '0');
	}
	return *p > start;
}

/* "bytes FIRST-LAST/TOTAL", where the total may be '*'. */
static bool range_is(const char *text, uint64_t first, uint64_t total)
{
	uint64_t value;

	if (!text || strncasecmp(text, "bytes ", 6))
		return false;
	text += 6;
	if (!read_number(&text, &value) || value != first || *text++ != '-')
		return false;
	if (!read_number(&text, &value) || value + 1 != total || *text++ != '/')
		return false;
	if (!strcmp(text, "*"))
		return true;
	return read_number(&text, &value) && value == total && !*text;
}

/*
 * "Content-Encoding: gzip" over exactly as many bytes as the blob has is a stored .gz with a label
 * that does not belong there: the bytes as they are sent are the blob.
 */
bool exchange_is_only_labelled(const struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;

	return ex->mode == EXCHANGE_STREAM && answer->status == 200 && answer->content_encoding &&
	       strcasecmp(answer->content_encoding, "identity") && ex->size_bytes &&
	       answer->content_length == (int64_t)ex->size_bytes;
}

/* Is this answer the blob, from where we asked for it? */
static int check_head(struct exchange *ex)
{
	const struct http_answer *answer = &ex->transfer.answer;
	const struct http_request *request = &ex->transfer.request;
	uint64_t expected = ex->size_bytes;
	bool is_encoded = answer->content_encoding &&
			  strcasecmp(answer->content_encoding, "identity");

	if (exchange_is_only_labelled(ex)) {
		if (request->accept_encoding)
			return -EPROTO; /* come again without asking for an encoding */
		is_encoded = false;
	}
	if (is_encoded && !request->accept_encoding)
		return exchange_explain(ex, -EBADMSG,
					"%s: the answer is encoded, which was not asked for",
					ex->what);
	if (answer->status == 206) {
		if (!request->range_from ||
		    !range_is(answer->content_range, request->range_from, ex->size_bytes))
			return exchange_explain(ex, -EBADMSG,
						"%s: the answer is another part than was asked for",
						ex->what);
		expected -= request->range_from;
	} else if (answer->status == 200) {
		ex->skip = request->range_from;
	} else {
		return exchange_explain(ex, -EBADMSG, "%s: status %u with a body", ex->what,
					answer->status);
	}
	if (!is_encoded && answer->content_length >= 0 &&
	    (uint64_t)answer->content_length != expected)
		return exchange_explain(ex, -EBADMSG,
					"%s: the registry announces %lld bytes, %llu were expected",
					ex->what, (long long)answer->content_length,
					(unsigned long long)expected);
	return 0;
}

static int stream(struct exchange *ex, const char *bytes, size_t len)
{
	uint64_t skip = ex->skip < len ? ex->skip : len;
	int r;

	if (len - skip > ex->size_bytes - ex->delivered)
		return stop(ex, exchange_explain(ex, -EBADMSG,
						 "%s: the registry sends more than the %llu bytes "
						 "that were expected",
						 ex->what, (unsigned long long)ex->size_bytes));
	if (len > skip) {
		r = ex->sink(ex->context, bytes + skip, len - skip);
		if (r == -EAGAIN)
			return r; /* the same bytes come again, and with them what is skipped */
		if (r)
			return stop(ex, exchange_explain(ex, r, "%s: %s", ex->what, strerror(-r)));
	}
	ex->skip -= skip;
	ex->delivered += len - skip;
	return 0;
}

/* The buffer grows with what comes, not with what is announced. */
static int append(char **bytes, size_t *n, size_t max, const void *more, size_t len)
{
	char *bigger;

	if (len > max - *n)
		return -EMSGSIZE;
	bigger = realloc(*bytes, *n + len + 1);
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger + *n, more, len);
	*n += len;
	bigger[*n] = '\0';
	*bytes = bigger;
	return 0;
}

int exchange_on_body(struct http_transfer *transfer, const void *bytes, size_t len)
{
	struct exchange *ex = container_of(transfer, struct exchange, transfer);
	int r;

	if (ex->is_cancelled)
		return -ECANCELED;
	if (transfer->answer.status < 200 || transfer->answer.status > 299) {
		r = append(&ex->error_body, &ex->error_body_len, EXCHANGE_ERROR_BODY_MAX, bytes,
			   len);
		ex->error_body_is_full = r != 0;
		return r;
	}
	if (ex->mode == EXCHANGE_COLLECT) {
		r = append(&ex->bytes, &ex->n_bytes, (size_t)ex->size_bytes, bytes, len);
		if (r == -EMSGSIZE)
			r = exchange_explain(ex, -EBADMSG, "%s is larger than %llu bytes", ex->what,
					     (unsigned long long)ex->size_bytes);
		return r ? stop(ex, r) : 0;
	}
	if (!ex->head_is_checked) {
		r = check_head(ex);
		if (r)
			return stop(ex, r);
		ex->head_is_checked = true;
	}
	return stream(ex, bytes, len);
}
