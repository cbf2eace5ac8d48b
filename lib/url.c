/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing: libcurl's URL parser behind our names and limits. Any thread. */
#include "lib/url.h"

#include <ctype.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

static void cleanup_curlup(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void cleanup_curlp(char **text)
{
	curl_free(*text);
}

#define cleanup_curlu __attribute__((cleanup(cleanup_curlup)))
#define cleanup_curl __attribute__((cleanup(cleanup_curlp)))

int origin_parse(const char *url, struct origin *out)
{
	cleanup_curlu CURLU *parsed = curl_url();
	cleanup_curl char *scheme = NULL, *host = NULL, *port = NULL;

	if (!parsed)
		return -ENOMEM;
	if (strlen(url) > URL_MAX ||
	    curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER) ||
	    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(parsed, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
		return -EINVAL;
	if ((strcasecmp(scheme, "http") && strcasecmp(scheme, "https")) ||
	    strlen(host) >= sizeof(out->host))
		return -EINVAL;
	*out = (struct origin){
		.https = !strcasecmp(scheme, "https"),
		.port = (unsigned int)strtoul(port, NULL, 10),
	};
	for (size_t i = 0; host[i]; i++)
		out->host[i] = (char)tolower((unsigned char)host[i]);
	return 0;
}

bool origin_equal(const struct origin *a, const struct origin *b)
{
	return a->https == b->https && a->port == b->port && !strcmp(a->host, b->host);
}

char *origin_format(const struct origin *origin, char out[static HOST_MAX + 8])
{
	if (origin->port == (origin->https ? 443 : 80))
		snprintf(out, HOST_MAX + 8, "%s", origin->host);
	else
		snprintf(out, HOST_MAX + 8, "%s:%u", origin->host, origin->port);
	return out;
}

int url_resolve(const char *base, const char *location, char **out)
{
	cleanup_curlu CURLU *parsed = curl_url();
	cleanup_curl char *url = NULL;

	if (!parsed)
		return -ENOMEM;
	if (!*location || strlen(location) > URL_MAX ||
	    curl_url_set(parsed, CURLUPART_URL, base, CURLU_DISALLOW_USER) ||
	    curl_url_set(parsed, CURLUPART_URL, location, CURLU_DISALLOW_USER) ||
	    curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0) ||
	    curl_url_get(parsed, CURLUPART_URL, &url, 0) || strlen(url) > URL_MAX)
		return -EINVAL;
	*out = strdup(url);
	return *out ? 0 : -ENOMEM;
}

char *url_escape(const char *text)
{
	cleanup_curl char *escaped = curl_easy_escape(NULL, text, (int)strnlen(text, URL_MAX));

	return escaped ? strdup(escaped) : NULL;
}
