/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the certificates that are trusted, of all hosts and of single ones. Read once, by us and not
 * by libcurl for each connection, so that a process that may open no file has them.
 * The thread of the multi handle.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <strings.h>

#include "lib/http-internal.h"
#include "lib/log.h"
#include "lib/url.h"

struct http_trust {
	char *host;	   /* owned, "HOST[:PORT]"; NULL: all others */
	char *ca_file;	   /* owned; NULL: the system's */
	X509_STORE *store; /* owned; NULL: not read yet */
	bool insecure;
	struct http_trust *next;
};

int http_trust_new(const char *host, const char *ca_file, bool insecure, struct http_trust **out,
		   struct problem *problem)
{
	struct http_trust *trust;

	if (ca_file && access(ca_file, R_OK))
		return problem_set(problem, -EINVAL, "CA file %s: %s", ca_file, strerror(errno));
	trust = calloc(1, sizeof(*trust));
	if (!trust)
		return -ENOMEM;
	trust->insecure = insecure;
	trust->host = host ? strdup(host) : NULL;
	trust->ca_file = ca_file ? strdup(ca_file) : NULL;
	if ((host && !trust->host) || (ca_file && !trust->ca_file)) {
		http_trust_free_all(trust);
		return -ENOMEM;
	}
	*out = trust;
	return 0;
}

void http_trust_free_all(struct http_trust *first)
{
	while (first) {
		struct http_trust *trust = first;

		first = trust->next;
		X509_STORE_free(trust->store);
		free(trust->host);
		free(trust->ca_file);
		free(trust);
	}
}

static int count(X509_STORE *store)
{
	return sk_X509_OBJECT_num(X509_STORE_get0_objects(store));
}

/* At once: OpenSSL would open each when it needs it, which may be forbidden then. */
static void load_directory(X509_STORE *store, const char *path)
{
	cleanup_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *file = format_text("%s/%s", path, entry->d_name);

		if (file && entry->d_name[0] != '.')
			X509_STORE_load_file(store, file);
	}
	ERR_clear_error(); /* of files that hold none */
}

/* Where the system's are libcurl was told when it was built. */
static void load_system(X509_STORE *store)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	if (info->cainfo)
		X509_STORE_load_file(store, info->cainfo);
	if (!count(store))
		X509_STORE_load_file(store, X509_get_default_cert_file());
	if (!count(store) && info->capath)
		load_directory(store, info->capath);
	if (!count(store))
		load_directory(store, X509_get_default_cert_dir());
	if (!count(store))
		log_warning("this system has no certificates to trust; TLS works only with a "
			    "ca-file");
	ERR_clear_error();
}

int http_trust_load(struct http_trust *trust, struct problem *problem)
{
	X509_STORE *store;

	if (trust->store || trust->insecure)
		return 0;
	store = X509_STORE_new();
	if (!store)
		return -ENOMEM;
	if (!trust->ca_file) {
		load_system(store);
	} else if (!X509_STORE_load_file(store, trust->ca_file)) {
		X509_STORE_free(store);
		return problem_set(problem, -EINVAL, "CA file %s: it holds no PEM certificates",
				   trust->ca_file);
	}
	/* As libcurl does: an intermediate one may be trusted, too. */
	X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
	trust->store = store;
	return 0;
}

static struct http_trust *trust_of(struct http *http, const char *url)
{
	char host[HOST_MAX + 8];
	struct origin origin;

	if (origin_parse(url, &origin))
		return http->trust;
	origin_format(&origin, host);
	for (struct http_trust *trust = http->trust->next; trust; trust = trust->next) {
		if (!strcmp(trust->host, host))
			return trust;
	}
	return http->trust;
}

static CURLcode on_tls(CURL *easy, void *context, void *argument)
{
	const struct http_trust *trust = argument;

	(void)easy;
	SSL_CTX_set1_cert_store(context, trust->store);
	return CURLE_OK;
}

int http_trust_setup(struct http_transfer *transfer)
{
	struct http_trust *trust = trust_of(transfer->http, transfer->request.url);
	struct problem problem = { "" };
	CURL *easy = transfer->easy;
	int r;

	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, trust->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, trust->insecure ? 0L : 2L);
	/* Nothing of its own: not a file for each connection. */
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (trust->insecure || strncasecmp(transfer->request.url, "https:", 6) != 0)
		return 0;
	r = http_trust_load(trust, &problem);
	if (r) {
		log_error("%s", problem_text(&problem, r));
		return r;
	}
	if (curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) ||
	    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, trust))
		return -ENOTSUP; /* a libcurl without OpenSSL */
	return 0;
}

/* As trust_of() sees it: "host:443" is "host". */
static int normalise(const char *host, char out[static HOST_MAX + 8])
{
	cleanup_free char *url = format_text("https://%s/", host);
	struct origin origin;
	int r = url ? origin_parse(url, &origin) : -ENOMEM;

	if (!r)
		origin_format(&origin, out);
	return r;
}

/* Where its certificates cannot be read nobody is trusted, and not those that all others trust. */
static int trust_nobody(struct http_trust *trust)
{
	trust->store = X509_STORE_new();
	return trust->store ? 0 : -ENOMEM;
}

int http_set_trust(struct http *http, const char *host, const char *ca_file, bool insecure,
		   struct problem *problem)
{
	struct http_trust *trust = NULL;
	char name[HOST_MAX + 8];
	int r = normalise(host, name), loaded;

	if (!r)
		r = http_trust_new(name, NULL, insecure, &trust, problem);
	if (!r && ca_file && !(trust->ca_file = strdup(ca_file)))
		r = -ENOMEM;
	loaded = r ? r : http_trust_load(trust, problem);
	if (!r && loaded)
		r = trust_nobody(trust);
	if (r) {
		http_trust_free_all(trust);
		return r;
	}
	trust->next = http->trust->next;
	http->trust->next = trust;
	return loaded;
}
