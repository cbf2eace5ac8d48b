/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the listening socket: certificate and key from files, that can be loaded anew while
 * connections are open, and the names in clients' certificates. TLS 1.2 and later.
 */
#pragma once

#include "lib/util.h"

struct MHD_Connection;
struct tls;
struct problem;

enum { TLS_NAME_MAX = 240 };

enum tls_client { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

struct tls_options {
	const char *certificate, *key; /* PEM files; NULL: no TLS */
	const char *client_ca;	       /* PEM file; NULL: clients are not asked */
	const char *client_crl;	       /* PEM file of that CA's revocations, or NULL */
	enum tls_client client;
};

/** tls_new() - load them. Return: 0; -errno with @problem. */
int tls_new(const struct tls_options *options, struct tls **out,
	    struct problem *problem) must_check;
void tls_free(struct tls *tls);

/**
 * tls_reload() - all files anew; on failure the old ones stay. Certificate and key are for
 * connections to come, whom clients' certificates must come from for requests to come.
 */
int tls_reload(struct tls *tls, const struct tls_options *options,
	       struct problem *problem) must_check;

/** tls_client_ca() - the text of the file, for libmicrohttpd; NULL: none. Borrowed. */
const char *tls_client_ca(const struct tls *tls);

/** tls_priorities() - which versions and ciphers, in the words of GnuTLS. */
const char *tls_priorities(void);

/** tls_retrieve() - gnutls_certificate_retrieve_function2, for libmicrohttpd. */
void *tls_retrieve(void);
void tls_use(struct tls *tls);

/**
 * tls_client_name() - common name in the verified certificate of a connection's client.
 * Return: false where there is none.
 */
bool tls_client_name(struct MHD_Connection *connection, char out[static TLS_NAME_MAX + 1]);

/** tls_client_is_missing() - must this connection's client have a certificate, and has none? */
bool tls_client_is_missing(const struct tls *tls, struct MHD_Connection *connection);
