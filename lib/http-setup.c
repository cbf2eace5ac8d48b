/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what libcurl may and may not do for a transfer (SAFETY.md 1, "libcurl"), its
 * callbacks, and what its errors mean. The thread of the multi handle.
 */
#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "lib/http-internal.h"
#include "lib/log.h"

enum {
	RECEIVE_BUFFER = 64 * 1024,
	SEND_BUFFER = 256 * 1024,
	STALL_SPEED = 1024, /* bytes/s; slower for the stall timeout is a stall */
	/* A registry hashes and syncs an upload before it answers, so it gets longer. */
	UPLOAD_STALL_FACTOR = 12,
	KEEPALIVE_IDLE_S = 30,
};

static const char *encodings(void)
{
	unsigned int features = (unsigned int)curl_version_info(CURLVERSION_NOW)->features;

	if (features & CURL_VERSION_ZSTD)
		return features & CURL_VERSION_LIBZ ? "zstd, gzip" : "zstd";
	return features & CURL_VERSION_LIBZ ? "gzip" : NULL;
}

static bool header_is(const char *line, size_t len, const char *name, const char **value,
		      size_t *value_len)
{
	size_t name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len))
		return false;
	line += name_len + 1;
	len -= name_len + 1;
	while (len && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' ' ||
		       line[len - 1] == '\t'))
		len--;
	*value = line;
	*value_len = len;
	return true;
}

/* A second header of the same name is appended behind a comma, as RFC 9110 5.3 has it. */
static void keep_header(char **slot, const char *value, size_t len)
{
	char *text;

	if (len + (*slot ? strlen(*slot) : 0) + 3 > HTTP_HEADER_MAX || memchr(value, '\0', len))
		return;
	text = format_text("%s%s%.*s", *slot ? *slot : "", *slot ? ", " : "", (int)len, value);
	if (!text)
		return;
	free(*slot);
	*slot = text;
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
	struct http_transfer *transfer = context;
	struct http_answer *answer = &transfer->answer;
	const struct {
		const char *name;
		char **slot;
	} kept[] = {
		{ "Location", &answer->location },
		{ "WWW-Authenticate", &answer->challenge },
		{ "Content-Type", &answer->content_type },
		{ "Content-Range", &answer->content_range },
		{ "Content-Encoding", &answer->content_encoding },
	};
	size_t len = size * n, value_len;
	const char *value;

	transfer->header_bytes += len;
	if (transfer->header_bytes > HTTP_HEADERS_MAX)
		return 0;
	if (len >= 5 && !memcmp(line, "HTTP/", 5)) {
		enum address_class peer = answer->peer;

		/* Of several answers (100 Continue) the last one counts. */
		http_answer_clear(answer);
		answer->peer = peer;
		return len;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		if (header_is(line, len, kept[i].name, &value, &value_len))
			keep_header(kept[i].slot, value, value_len);
	}
	return len;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *context)
{
	struct http_transfer *transfer = context;
	struct http_answer *answer = &transfer->answer;
	int r;

	/* Behind a failed resume libcurl would go on with what comes next. */
	if (answer->error)
		return 0;
	if (!answer->status) {
		curl_off_t length = -1;
		long status = 0;

		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
		answer->status = (unsigned int)status;
		answer->content_length = length;
	}
	r = transfer->on_body(transfer, bytes, size * n);
	if (r == -EAGAIN) {
		/* What the caller now waits for was not yet there to be watched. */
		transfer->http->n_events++;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (r) {
		answer->error = r;
		return 0;
	}
	return size * n;
}

static size_t on_read(char *buffer, size_t size, size_t n, void *context)
{
	struct http_transfer *transfer = context;
	const struct http_request *request = &transfer->request;
	uint64_t left = request->body_size - transfer->body_offset;
	size_t want = size * n;
	ssize_t got;

	if (want > left)
		want = (size_t)left;
	if (want == 0)
		return 0;
	if (request->body) {
		memcpy(buffer, (const char *)request->body + transfer->body_offset, want);
		got = (ssize_t)want;
	} else {
		do
			got = pread(request->body_fd, buffer, want, (off_t)transfer->body_offset);
		while (got < 0 && errno == EINTR);
		if (got <= 0) {
			transfer->body_error = got < 0 ? -errno : -ESTALE;
			return CURL_READFUNC_ABORT;
		}
	}
	transfer->body_offset += (uint64_t)got;
	if (transfer->on_sent)
		transfer->on_sent(transfer, got);
	return (size_t)got;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
	struct http_transfer *transfer = context;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > transfer->request.body_size)
		return CURL_SEEKFUNC_CANTSEEK;
	if (transfer->on_sent)
		transfer->on_sent(transfer, offset - (int64_t)transfer->body_offset);
	transfer->body_offset = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* Before a connection: this is where a redirect to an inner address ends. */
static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *transfer = context;
	int fd;

	(void)purpose;
	if (transfer->request.led_by != ADDRESS_NEVER &&
	    !address_may_lead(transfer->request.led_by, address_classify(&address->addr))) {
		transfer->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/*
 * Before a request: the same for a connection that was there already. Of one that another process
 * made libcurl knows no address.
 */
static int on_request(void *context, char *peer, char *local, int peer_port, int local_port)
{
	struct http_transfer *transfer = context;
	enum address_class closest = address_classify_text(peer), widest = closest;
	bool known = true;

	(void)local;
	(void)peer_port;
	if (transfer->http->dialer_fd)
		known = http_dial_peer(transfer->http, local_port, &closest, &widest);
	transfer->answer.peer = known ? widest : ADDRESS_PUBLIC; /* which may lead to the fewest */
	if (transfer->request.led_by == ADDRESS_NEVER ||
	    (known && address_may_lead(transfer->request.led_by, closest)))
		return CURL_PREREQFUNC_OK;
	transfer->address_refused = true;
	return CURL_PREREQFUNC_ABORT;
}

static int add_header(struct http_transfer *transfer, const char *name, const char *value)
{
	struct curl_slist *list;
	char *line;

	if (!value)
		return 0;
	line = format_text(*value ? "%s: %s" : "%s:", name, value);
	if (!line)
		return -ENOMEM;
	list = curl_slist_append(transfer->headers, line);
	explicit_bzero(line, strlen(line));
	free(line);
	if (!list)
		return -ENOMEM;
	transfer->headers = list;
	return 0;
}

static int setup_headers(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	char range[48];
	int r = 0;

	if (request->range_from) {
		snprintf(range, sizeof(range), "bytes=%llu-",
			 (unsigned long long)request->range_from);
		r = add_header(transfer, "Range", range);
		/* Offsets count in what is stored, not in what an encoder makes of it. */
		if (!r)
			r = add_header(transfer, "Accept-Encoding", "identity");
	}
	if (!r)
		r = add_header(transfer, "Authorization", request->authorization);
	if (!r)
		r = add_header(transfer, "Accept", request->accept);
	if (!r && (request->method == HTTP_POST || request->method == HTTP_PUT)) {
		r = add_header(transfer, "Content-Type",
			       request->content_type ? request->content_type : "");
		/* It would cost a round trip, or a second where the server does not know it. */
		if (!r)
			r = add_header(transfer, "Expect", "");
	}
	return r;
}

/* The bytes are checked by their digest; hashing them here, too, is what "UNSIGNED" spares. */
static int setup_signature(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	cleanup_free char *how = NULL;
	int r;

	if (!request->s3_region)
		return 0;
	how = format_text("aws:amz:%s:s3", request->s3_region);
	r = how ? add_header(transfer, "x-amz-content-sha256", "UNSIGNED-PAYLOAD") : -ENOMEM;
	if (!r && (curl_easy_setopt(transfer->easy, CURLOPT_AWS_SIGV4, how) ||
		   curl_easy_setopt(transfer->easy, CURLOPT_USERNAME, request->s3_key) ||
		   curl_easy_setopt(transfer->easy, CURLOPT_PASSWORD, request->s3_secret)))
		r = -ENOMEM;
	return r;
}

static void setup_method(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	CURL *easy = transfer->easy;

	switch (request->method) {
	case HTTP_GET:
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		return;
	case HTTP_HEAD:
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		return;
	case HTTP_DELETE:
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
		return;
	case HTTP_POST:
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		if (request->body_size == 0)
			curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
		break;
	case HTTP_PUT:
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_size);
		break;
	}
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	if (request->body_size > SEND_BUFFER)
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER);
}

void http_setup_limits(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	const struct http *http = transfer->http;
	CURL *easy = transfer->easy;
	long stall_s = (http->stall_timeout_ms + 999) / 1000;

	if (request->method == HTTP_POST || request->method == HTTP_PUT)
		stall_s *= UPLOAD_STALL_FACTOR;
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_SPEED);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, stall_s);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_timeout_ms);
	if (request->deadline_ms) {
		int64_t left = request->deadline_ms - now_ms();

		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left > 1 ? left : 1));
	}
}

/* Options with strings are copied, and a missing one here would be a hole. */
static int setup_policy(struct http_transfer *transfer)
{
	const struct http *http = transfer->http;
	CURL *easy = transfer->easy;

	if (curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") ||
	    curl_easy_setopt(easy, CURLOPT_PROXY, ""))
		return -ENOMEM;
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
	return http->dialer_fd ? http_dial_setup(transfer) : 0;
}

int http_setup(struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;
	int r = setup_headers(transfer);

	if (!r)
		r = setup_signature(transfer);
	if (!r)
		r = setup_policy(transfer);
	if (!r)
		r = http_trust_setup(transfer);
	if (r)
		return r;
	setup_method(transfer);
	http_setup_limits(transfer);
	if (transfer->request.accept_encoding && !transfer->request.range_from)
		curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, encodings());
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "intinode/" PACKAGE_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error_buffer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	if (curl_easy_setopt(easy, CURLOPT_URL, transfer->request.url))
		return -ENOMEM;
	return 0;
}

void http_answer_clear(struct http_answer *answer)
{
	free(answer->location);
	free(answer->challenge);
	free(answer->content_type);
	free(answer->content_range);
	free(answer->content_encoding);
	*answer = (struct http_answer){ .content_length = -1, .retry_after_ms = -1 };
}
