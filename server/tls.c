/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the certificates. GnuTLS asks for one at each handshake and uses it after the call
 * returned; so those that were replaced are kept until the end. The callback has no argument of
 * ours: there is one struct tls in a process.
 */
#include "server/tls.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <pthread.h>
#include <string.h>

#include "lib/log.h"

enum { FILE_MAX = 1024 * 1024, CHAIN_MAX = 16, RELOADS_MAX = 10000 };

struct identity_pair {
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned int n;
	gnutls_privkey_t key;
	gnutls_x509_trust_list_t trust; /* whom clients' certificates must come from; may be NULL */
	struct identity_pair *older;
};

struct tls {
	pthread_mutex_t lock;
	struct identity_pair *current; /* under lock; behind it those before */
	unsigned int n_reloads;	       /* under lock */
	char *client_ca;	       /* owned */
	enum tls_client client;
};

static struct tls *in_use;

const char *tls_priorities(void)
{
	return "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";
}

static void pair_free(struct identity_pair *pair)
{
	for (unsigned int i = 0; i < pair->n; i++)
		gnutls_pcert_deinit(&pair->chain[i]);
	if (pair->key)
		gnutls_privkey_deinit(pair->key);
	if (pair->trust)
		gnutls_x509_trust_list_deinit(pair->trust, 1);
	free(pair);
}

static int load_datum(const char *path, char **text, gnutls_datum_t *out, struct problem *problem)
{
	size_t len;
	int r = read_file_at(AT_FDCWD, path, FILE_MAX, text, &len);

	if (r)
		return problem_set(problem, r, "%s: %s", path, strerror(-r));
	*out = (gnutls_datum_t){ (unsigned char *)*text, (unsigned int)len };
	return 0;
}

/* Does the key belong to the first certificate? */
static bool pair_fits(const struct identity_pair *pair)
{
	unsigned char a[64], b[64];
	size_t a_len = sizeof(a), b_len = sizeof(b);
	gnutls_pubkey_t public_key;
	bool fits;

	if (gnutls_pubkey_init(&public_key))
		return false;
	fits = !gnutls_pubkey_import_privkey(public_key, pair->key, 0, 0) &&
	       !gnutls_pubkey_get_key_id(public_key, GNUTLS_KEYID_USE_SHA256, a, &a_len) &&
	       !gnutls_pubkey_get_key_id(pair->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b,
					 &b_len) &&
	       a_len == b_len && !memcmp(a, b, a_len);
	gnutls_pubkey_deinit(public_key);
	return fits;
}

static int load_revoked(const char *path, gnutls_x509_trust_list_t trust, struct problem *problem)
{
	cleanup_free char *text = NULL;
	gnutls_datum_t datum;
	int r = load_datum(path, &text, &datum, problem), n;

	if (r)
		return r;
	/* One that another signed would revoke nothing, and nobody would see that. */
	n = gnutls_x509_trust_list_add_trust_mem(trust, NULL, &datum, GNUTLS_X509_FMT_PEM,
						 GNUTLS_TL_VERIFY_CRL, 0);
	return n > 0 ? 0
		     : problem_set(problem, -EINVAL,
				   "%s: no list of revoked certificates in PEM form that the CA "
				   "of clients signed",
				   path);
}

static int load_trust(const struct tls_options *options, gnutls_x509_trust_list_t *out,
		      struct problem *problem)
{
	cleanup_free char *text = NULL;
	gnutls_x509_trust_list_t trust;
	gnutls_datum_t datum;
	int r;

	if (!options->client_ca && (options->client_crl || options->client != TLS_CLIENT_NONE))
		return problem_set(problem, -EINVAL, "[tls] %s needs client-ca",
				   options->client_crl ? "client-crl" : "client-certificate");
	if (!options->client_ca)
		return 0;
	r = load_datum(options->client_ca, &text, &datum, problem);
	if (r)
		return r;
	if (gnutls_x509_trust_list_init(&trust, 0))
		return -ENOMEM;
	if (gnutls_x509_trust_list_add_trust_mem(trust, &datum, NULL, GNUTLS_X509_FMT_PEM, 0, 0) <
	    1)
		r = problem_set(problem, -EINVAL, "%s: no certificate in PEM form",
				options->client_ca);
	if (!r && options->client_crl)
		r = load_revoked(options->client_crl, trust, problem);
	if (r)
		gnutls_x509_trust_list_deinit(trust, 1);
	else
		*out = trust;
	return r;
}

static int load_pair(const struct tls_options *options, struct identity_pair **out,
		     struct problem *problem)
{
	struct identity_pair *pair = calloc(1, sizeof(*pair));
	cleanup_free char *certificate = NULL;
	char *key = NULL;
	gnutls_datum_t datum;
	int r, n;

	if (!pair)
		return -ENOMEM;
	pair->n = CHAIN_MAX;
	r = load_datum(options->certificate, &certificate, &datum, problem);
	n = r ? 0
	      : gnutls_pcert_list_import_x509_raw(pair->chain, &pair->n, &datum,
						  GNUTLS_X509_FMT_PEM, 0);
	if (r || n < 0)
		pair->n = 0;
	if (n < 0)
		r = problem_set(problem, -EINVAL, "%s: no certificate in PEM form: %s",
				options->certificate, gnutls_strerror(n));
	if (!r)
		r = load_datum(options->key, &key, &datum, problem);
	if (!r) {
		n = gnutls_privkey_init(&pair->key);
		if (!n)
			n = gnutls_privkey_import_x509_raw(pair->key, &datum, GNUTLS_X509_FMT_PEM,
							   NULL, 0);
		explicit_bzero(key, datum.size);
		if (n)
			r = problem_set(problem, -EINVAL, "%s: no private key in PEM form: %s",
					options->key, gnutls_strerror(n));
	}
	if (!r && !pair_fits(pair))
		r = problem_set(problem, -EINVAL, "%s is not the key of %s", options->key,
				options->certificate);
	free(key);
	if (!r)
		r = load_trust(options, &pair->trust, problem);
	if (r)
		pair_free(pair);
	else
		*out = pair;
	return r;
}

int tls_new(const struct tls_options *options, struct tls **out, struct problem *problem)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	size_t len;
	int r;

	if (!tls)
		return -ENOMEM;
	pthread_mutex_init(&tls->lock, NULL);
	tls->client = options->client;
	r = load_pair(options, &tls->current, problem);
	if (!r && options->client_ca) {
		r = read_file_at(AT_FDCWD, options->client_ca, FILE_MAX, &tls->client_ca, &len);
		if (r)
			problem_set(problem, r, "%s: %s", options->client_ca, strerror(-r));
	}
	if (r) {
		tls_free(tls);
		return r;
	}
	*out = tls;
	return 0;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	if (in_use == tls)
		in_use = NULL;
	while (tls->current) {
		struct identity_pair *pair = tls->current;

		tls->current = pair->older;
		pair_free(pair);
	}
	free(tls->client_ca);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

int tls_reload(struct tls *tls, const struct tls_options *options, struct problem *problem)
{
	struct identity_pair *pair = NULL;
	int r = load_pair(options, &pair, problem);

	if (r)
		return r;
	pthread_mutex_lock(&tls->lock);
	if (tls->n_reloads++ < RELOADS_MAX) {
		pair->older = tls->current;
		tls->current = pair;
		pair = NULL;
	}
	pthread_mutex_unlock(&tls->lock);
	if (!pair)
		return 0;
	pair_free(pair);
	return problem_set(problem, -E2BIG, "certificates were loaded %d times: restart the server",
			   RELOADS_MAX);
}

const char *tls_client_ca(const struct tls *tls)
{
	return tls->client_ca;
}

void tls_use(struct tls *tls)
{
	in_use = tls;
}

static int retrieve(gnutls_session_t session, const gnutls_datum_t *names, int n_names,
		    const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
		    gnutls_pcert_st **chain, unsigned int *n_chain, gnutls_privkey_t *key)
{
	struct tls *tls = in_use;

	/* No names of CAs: those that the library knows are those of the start. */
	gnutls_certificate_send_x509_rdn_sequence(session, 1);
	(void)names, (void)n_names, (void)algorithms, (void)n_algorithms;
	pthread_mutex_lock(&tls->lock);
	*chain = tls->current->chain;
	*n_chain = tls->current->n;
	*key = tls->current->key;
	pthread_mutex_unlock(&tls->lock);
	return 0;
}

void *tls_retrieve(void)
{
	return (void *)(uintptr_t)retrieve;
}

/* What counts now. It stays until the end, as all that was replaced does. */
static gnutls_x509_trust_list_t trust_now(struct tls *tls)
{
	gnutls_x509_trust_list_t trust;

	pthread_mutex_lock(&tls->lock);
	trust = tls->current->trust;
	pthread_mutex_unlock(&tls->lock);
	return trust;
}

/* Is the chain one of a client, signed by our CA, good today and not revoked? */
static bool is_trusted(gnutls_x509_trust_list_t trust, gnutls_x509_crt_t *chain, unsigned int n)
{
	gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID,
					  (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
	unsigned int status = 0;

	return !gnutls_x509_trust_list_verify_crt2(trust, chain, n, &purpose, 1,
						   GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM),
						   &status, NULL) &&
	       !status;
}

/* The leaf of a chain that is trusted; NULL otherwise. */
static gnutls_x509_crt_t verified_leaf(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	gnutls_x509_crt_t chain[CHAIN_MAX], leaf = NULL;
	const gnutls_datum_t *list;
	unsigned int n = 0, n_imported = 0;

	if (!info || !info->tls_session || !in_use || in_use->client == TLS_CLIENT_NONE)
		return NULL;
	list = gnutls_certificate_get_peers((gnutls_session_t)info->tls_session, &n);
	if (!list || !n || n > CHAIN_MAX)
		return NULL;
	while (n_imported < n && !gnutls_x509_crt_init(&chain[n_imported])) {
		if (gnutls_x509_crt_import(chain[n_imported], &list[n_imported],
					   GNUTLS_X509_FMT_DER)) {
			gnutls_x509_crt_deinit(chain[n_imported]);
			break;
		}
		n_imported++;
	}
	if (n_imported == n && is_trusted(trust_now(in_use), chain, n))
		leaf = chain[0];
	for (unsigned int i = leaf ? 1 : 0; i < n_imported; i++)
		gnutls_x509_crt_deinit(chain[i]);
	return leaf;
}

bool tls_client_name(struct MHD_Connection *connection, char out[static TLS_NAME_MAX + 1])
{
	gnutls_x509_crt_t leaf = verified_leaf(connection);
	size_t len = TLS_NAME_MAX;
	bool found;

	if (!leaf)
		return false;
	found = !gnutls_x509_crt_get_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out,
					       &len) &&
		len > 0 && !memchr(out, '\0', len);
	gnutls_x509_crt_deinit(leaf);
	if (found)
		out[len] = '\0';
	return found && !out[strcspn(out, " \t,\r\n")];
}

bool tls_client_is_missing(const struct tls *tls, struct MHD_Connection *connection)
{
	gnutls_x509_crt_t leaf;

	if (!tls || tls->client != TLS_CLIENT_REQUIRED)
		return false;
	leaf = verified_leaf(connection);
	if (leaf)
		gnutls_x509_crt_deinit(leaf);
	return !leaf;
}
