/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the loaded state and its replacement at run time. */
#include "server/access.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"
#include "server/jwt.h"
#include "server/store.h"

struct access_state {
	atomic_uint refs;
	struct access_options options; /* points into strings */
	char *strings[6];	       /* owned */
	struct rules rules;
	struct htpasswd *htpasswd; /* owned; may be NULL */
	struct jwt_keys *keys;	   /* owned; may be NULL */
	bool is_open;		   /* see access_is_open() */
};

struct access {
	pthread_mutex_t lock;
	struct access_state *state; /* under lock; one reference */
};

void access_state_unref(struct access_state *state)
{
	if (!state || atomic_fetch_sub(&state->refs, 1) != 1)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(state->strings); i++)
		free(state->strings[i]);
	rules_deinit(&state->rules);
	htpasswd_free(state->htpasswd);
	jwt_keys_free(state->keys);
	free(state);
}

static int copy_options(struct access_state *state, const struct access_options *from)
{
	struct access_options *to = &state->options;
	const char **targets[] = { &to->htpasswd,      &to->realm,	  &to->token_realm,
				   &to->token_service, &to->token_issuer, &to->token_keys };

	_Static_assert(ARRAY_SIZE(targets) == ARRAY_SIZE(state->strings), "one for each");
	*to = *from;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		if (!*targets[i])
			continue;
		state->strings[i] = strdup(*targets[i]);
		*targets[i] = state->strings[i];
		if (!state->strings[i])
			return -ENOMEM;
	}
	return 0;
}

static int load(struct access_state *state, struct problem *problem)
{
	const struct access_options *options = &state->options;
	int r = 0;

	if (!options->token_keys != !options->token_realm)
		return problem_set(problem, -EINVAL,
				   "[auth] token-realm and token-keys belong together");
	if (options->token_realm && !options->token_service)
		return problem_set(problem, -EINVAL, "[auth] token-service is missing");
	if (options->htpasswd)
		r = htpasswd_load(options->htpasswd, &state->htpasswd, problem);
	if (!r && state->htpasswd)
		htpasswd_limit(state->htpasswd, options->verifying_max, options->failures_max);
	if (!r && options->token_keys)
		r = jwt_keys_load(options->token_keys, &state->keys, problem);
	return r;
}

static int make_state(const struct access_options *options, struct rules *rules,
		      struct access_state **out, struct problem *problem)
{
	struct access_state *state = calloc(1, sizeof(*state));
	int r;

	if (!state) {
		rules_deinit(rules);
		return -ENOMEM;
	}
	atomic_init(&state->refs, 1);
	state->rules = *rules;
	*rules = (struct rules){ .rules = NULL };
	r = copy_options(state, options);
	if (!r)
		r = load(state, problem);
	state->is_open = !access_knows_users(state) && !rules_say_who(&state->rules);
	if (r)
		access_state_unref(state);
	else
		*out = state;
	return r;
}

int access_new(const struct access_options *options, struct rules *rules, struct access **out,
	       struct problem *problem)
{
	struct access *access = calloc(1, sizeof(*access));
	int r;

	if (!access) {
		rules_deinit(rules);
		return -ENOMEM;
	}
	pthread_mutex_init(&access->lock, NULL);
	r = make_state(options, rules, &access->state, problem);
	if (r) {
		access_free(access);
		return r;
	}
	*out = access;
	return 0;
}

void access_free(struct access *access)
{
	if (!access)
		return;
	access_state_unref(access->state);
	pthread_mutex_destroy(&access->lock);
	free(access);
}

int access_stays_closed(struct access *access, const struct access_options *options,
			const struct rules *rules, struct problem *problem)
{
	bool was_open;

	pthread_mutex_lock(&access->lock);
	was_open = access->state->is_open;
	pthread_mutex_unlock(&access->lock);
	if (was_open || options->htpasswd || options->token_keys || options->certificates ||
	    rules_say_who(rules))
		return 0;
	return problem_set(problem, -EPERM,
			   "without any [auth] and rule everybody could do everything: turning "
			   "access control off needs a restart");
}

int access_reload(struct access *access, const struct access_options *options, struct rules *rules,
		  struct problem *problem)
{
	struct access_state *state = NULL, *old;
	int r = access_stays_closed(access, options, rules, problem);

	if (r) {
		rules_deinit(rules);
		return r;
	}
	r = make_state(options, rules, &state, problem);
	if (r)
		return r;
	pthread_mutex_lock(&access->lock);
	old = access->state;
	access->state = state;
	pthread_mutex_unlock(&access->lock);
	access_state_unref(old);
	return 0;
}

struct access_state *access_get(struct access *access)
{
	struct access_state *state;

	pthread_mutex_lock(&access->lock);
	state = access->state;
	atomic_fetch_add(&state->refs, 1);
	pthread_mutex_unlock(&access->lock);
	return state;
}

bool access_is_open(const struct access_state *state)
{
	return state->is_open;
}

bool access_knows_users(const struct access_state *state)
{
	return state->htpasswd || state->keys || state->options.certificates;
}

bool basic_parse(const char *authorization, char *out, size_t size, const char **user,
		 const char **password)
{
	const char *text;
	size_t len;
	char *colon;
	int n;

	if (strncasecmp(authorization, "Basic ", 6))
		return false;
	text = authorization + 6 + strspn(authorization + 6, " ");
	len = strlen(text);
	if (!len || len % 4 || len / 4 * 3 + 1 > size)
		return false;
	n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);
	if (n <= 0)
		return false;
	/* The padding was decoded into zero bytes; a NUL inside ends the password. */
	out[n] = '\0';
	colon = strchr(out, ':');
	if (!colon || colon - out > HTPASSWD_USER_MAX)
		return false;
	*colon = '\0';
	*user = out;
	*password = colon + 1;
	return true;
}

static int wrong(struct problem *problem, const char *what)
{
	return problem_set(problem, -EACCES, "%s", what);
}

static int verify(struct access_state *state, const char *user, const char *password,
		  struct login *login, struct problem *problem)
{
	int r = htpasswd_remembers(state->htpasswd, user, password);

	if (r == -EAGAIN && login)
		r = htpasswd_verify(state->htpasswd, user, password, login);
	return r == -EACCES ? wrong(problem, "user name or password are wrong") : r;
}

static int identify_basic(struct access_state *state, const char *authorization,
			  struct login *login, struct identity *out, struct problem *problem)
{
	size_t size = strlen(authorization) + 1;
	const char *user, *password;
	char *plain;
	int r;

	if (!state->htpasswd)
		return wrong(problem, "passwords are not taken here");
	plain = malloc(size);
	if (!plain)
		return -ENOMEM;
	if (!basic_parse(authorization, plain, size, &user, &password)) {
		r = wrong(problem, "the Authorization header cannot be read");
	} else if (!*user && !*password) {
		r = 0; /* what clients send that have no password: nobody */
	} else {
		r = verify(state, user, password, login, problem);
		if (!r) {
			out->known = true;
			snprintf(out->user, sizeof(out->user), "%s", user);
		}
	}
	explicit_bzero(plain, size);
	free(plain);
	return r;
}

static int identify_token(struct access_state *state, const char *token, const struct login *login,
			  struct identity *out, struct problem *problem)
{
	const struct jwt_expect expect = { .issuer = state->options.token_issuer,
					   .audience = state->options.token_service,
					   .now_s = store_now() };
	int64_t expires_s;
	int r;

	if (!state->keys)
		return wrong(problem, "tokens are not taken here");
	if (!login && jwt_keys_count(state->keys) > JWT_KEYS_QUICK)
		return -EAGAIN;
	r = jwt_verify(state->keys, token, &expect, &out->claims, &expires_s, problem);
	return r && r != -ENOMEM ? -EACCES : r;
}

int access_identify(struct access_state *state, const char *authorization, const char *certificate,
		    struct login *login, struct identity *out, struct problem *problem)
{
	*out = (struct identity){ .known = false };
	if (authorization && strlen(authorization) > AUTHORIZATION_MAX)
		return wrong(problem, "the Authorization header is too long");
	if (authorization && !strncasecmp(authorization, "Bearer ", 7))
		return identify_token(state, authorization + 7 + strspn(authorization + 7, " "),
				      login, out, problem);
	if (authorization)
		return identify_basic(state, authorization, login, out, problem);
	if (certificate && state->options.certificates) {
		out->known = true;
		snprintf(out->user, sizeof(out->user), "cert:%s", certificate);
	}
	return 0;
}

void identity_deinit(struct identity *identity)
{
	json_decref(identity->claims);
	*identity = (struct identity){ .known = false };
}

bool access_is_somebody(const struct identity *identity)
{
	return identity->known || identity->claims;
}

bool access_allows(const struct access_state *state, const struct identity *identity,
		   const char *repository, enum action action)
{
	static const char *const names[ACTIONS] = { "pull", "push", "delete" };

	if (access_is_open(state) ||
	    rules_allow(&state->rules, repository, action, identity->known ? identity->user : NULL))
		return true;
	return identity->claims &&
	       jwt_grants(identity->claims, "repository", repository, names[action]);
}

bool access_allows_catalog(const struct access_state *state, const struct identity *identity)
{
	return access_is_open(state) || identity->known ||
	       (identity->claims && jwt_grants(identity->claims, "registry", "catalog", "*"));
}

const struct access_options *access_options_of(const struct access_state *state)
{
	return &state->options;
}

const struct rules *access_rules_of(const struct access_state *state)
{
	return &state->rules;
}
