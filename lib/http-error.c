/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the meaning of libcurl's results: errno, whether another try may help, and the words
 * for a person. The thread of the multi handle.
 */
#include <string.h>

#include "lib/http-internal.h"
#include "lib/log.h"

static const struct {
	CURLcode code;
	int error;
	bool may_pass;
	const char *text; /* NULL: libcurl's own */
} meanings[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, false,
	  "no such host name; is it spelled right, and does name resolution work?" },
	{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, true, "no answer in time, or it came too slowly" },
	{ CURLE_PARTIAL_FILE, -EIO, true, "the connection ended before the whole answer" },
	{ CURLE_RECV_ERROR, -EIO, true, "the connection was reset" },
	{ CURLE_SEND_ERROR, -EIO, true, "the connection was reset" },
	{ CURLE_GOT_NOTHING, -EIO, true, "the connection was closed without an answer" },
	{ CURLE_OUT_OF_MEMORY, -ENOMEM, false, "out of memory" },
	{ CURLE_BAD_CONTENT_ENCODING, -EBADMSG, false, "the answer is not encoded as it says" },
	{ CURLE_WEIRD_SERVER_REPLY, -EBADMSG, false, "this is not an HTTP server" },
	{ CURLE_UNSUPPORTED_PROTOCOL, -EBADMSG, false, "this is not an HTTP server" },
	{ CURLE_URL_MALFORMAT, -EINVAL, false, "not a URL of http or https" },
	{ CURLE_SSL_CONNECT_ERROR, -EHOSTUNREACH, false,
	  "no TLS connection; is it a plain-http registry (--plain-http)?" },
	{ CURLE_PEER_FAILED_VERIFICATION, -EHOSTUNREACH, false, NULL },
	{ CURLE_SSL_CERTPROBLEM, -EHOSTUNREACH, false, NULL },
	{ CURLE_SSL_CACERT_BADFILE, -EINVAL, false, NULL },
	{ CURLE_SSL_ISSUER_ERROR, -EHOSTUNREACH, false, NULL },
};

static void explain(struct http_answer *answer, int error, const char *text)
{
	answer->error = error;
	snprintf(answer->explanation, sizeof(answer->explanation), "%s", text);
}

static void explain_no_connection(struct http_transfer *transfer)
{
	struct http_answer *answer = &transfer->answer;
	long number = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &number);
	if (number == ECONNREFUSED)
		explain(answer, -EHOSTUNREACH,
			"connection refused; is the registry running, and is the port right?");
	else if (number == EMFILE || number == ENFILE)
		explain(answer, -EMFILE, "too many open files");
	else
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "no connection%s%s; is the network up, and is the host right?",
			 number ? ": " : "", number ? strerror((int)number) : "");
	answer->error = number == EMFILE || number == ENFILE ? -EMFILE : -EHOSTUNREACH;
}

static void explain_result(struct http_transfer *transfer, CURLcode result)
{
	struct http_answer *answer = &transfer->answer;
	const char *own = transfer->error_buffer;
	char shown[200];

	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		if (meanings[i].code != result)
			continue;
		answer->may_pass = meanings[i].may_pass;
		if (meanings[i].text) {
			explain(answer, meanings[i].error, meanings[i].text);
			return;
		}
		answer->error = meanings[i].error;
		snprintf(answer->explanation, sizeof(answer->explanation),
			 "TLS: %s; is this the right host? A private CA is named with --ca-file",
			 log_escape(shown, sizeof(shown), own, strlen(own)));
		return;
	}
	answer->error = -EIO;
	snprintf(answer->explanation, sizeof(answer->explanation), "%s: %s",
		 curl_easy_strerror(result), log_escape(shown, sizeof(shown), own, strlen(own)));
}

void http_conclude(struct http_transfer *transfer, CURLcode result)
{
	struct http_answer *answer = &transfer->answer;
	curl_off_t wire = 0, length = -1, retry_after = 0;
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &wire);
	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	answer->status = (unsigned int)status;
	answer->wire_bytes = (uint64_t)wire;
	answer->content_length = length;
	if (retry_after > 0)
		answer->retry_after_ms = retry_after < 86400 ? retry_after * 1000 : 86400000;
	if (result == CURLE_OK || answer->error)
		return;
	if (transfer->address_refused)
		explain(answer, -EACCES,
			"it leads to an address that this registry may not send us to");
	else if (transfer->body_error == -ESTALE)
		explain(answer, -ESTALE, "the file became shorter while it was sent");
	else if (transfer->body_error)
		explain(answer, transfer->body_error, strerror(-transfer->body_error));
	else if (transfer->header_bytes > HTTP_HEADERS_MAX)
		explain(answer, -EBADMSG, "the headers of the answer are too long");
	else if (result == CURLE_COULDNT_CONNECT)
		explain_no_connection(transfer);
	else
		explain_result(transfer, result);
}
