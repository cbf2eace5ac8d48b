/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the secrets of one client; nothing here is ever logged. Any one thread. */
#include "lib/auth.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "lib/json.h"
#include "lib/log.h"

struct entry {
	char *key;	      /* HOST[/PATH] */
	char *user;	      /* NULL: known to a helper only */
	char *password;	      /* secret */
	char *identity_token; /* secret; may be NULL */
	char *helper;	      /* may be NULL */
	unsigned int file;    /* 0: by hand; then in the order they were read */
};

struct auth {
	struct entry *entries;
	size_t n_entries;
	unsigned int n_files;
};

struct auth *auth_new(void)
{
	return calloc(1, sizeof(struct auth));
}

void auth_forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void entry_clear(struct entry *entry)
{
	free(entry->key);
	free(entry->user);
	auth_forget(entry->password);
	auth_forget(entry->identity_token);
	free(entry->helper);
	*entry = (struct entry){ .key = NULL };
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	for (size_t i = 0; i < auth->n_entries; i++)
		entry_clear(&auth->entries[i]);
	free(auth->entries);
	free(auth);
}

/* Takes over what @entry owns, also on an error. */
static int entry_add(struct auth *auth, struct entry *entry)
{
	struct entry *bigger;

	if (auth->n_entries >= AUTH_ENTRIES_MAX) {
		entry_clear(entry);
		return -E2BIG;
	}
	bigger = reallocarray(auth->entries, auth->n_entries + 1, sizeof(*bigger));
	if (!entry->key || !bigger) {
		if (bigger)
			auth->entries = bigger;
		entry_clear(entry);
		return -ENOMEM;
	}
	auth->entries = bigger;
	bigger[auth->n_entries++] = *entry;
	return 0;
}

/* docker writes URLs for some hosts: "https://host/v1/". */
static char *normal_key(const char *key)
{
	const char *host = key;
	size_t len;

	if (!strncasecmp(host, "https://", 8))
		host += 8;
	else if (!strncasecmp(host, "http://", 7))
		host += 7;
	len = host == key ? strlen(host) : strcspn(host, "/");
	while (len > 0 && host[len - 1] == '/')
		len--;
	return strndup(host, len);
}

/* @secret is the base64 of "user:password". Return: 0, -EINVAL or -ENOMEM. */
static int decode_pair(const char *secret, struct entry *entry)
{
	size_t len = strlen(secret), size = len / 4 * 3 + 1;
	char *plain, *colon;
	int n, r = -EINVAL;

	if (len == 0 || len % 4 || len > AUTH_FILE_MAX)
		return -EINVAL;
	plain = calloc(1, size);
	if (!plain)
		return -ENOMEM;
	n = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)secret, (int)len);
	/* The padding was decoded into zero bytes; a NUL inside ends the password. */
	colon = n > 0 ? strchr(plain, ':') : NULL;
	if (colon && colon > plain) {
		entry->user = strndup(plain, (size_t)(colon - plain));
		entry->password = strdup(colon + 1);
		r = entry->user && entry->password ? 0 : -ENOMEM;
	}
	explicit_bzero(plain, size);
	free(plain);
	return r;
}

static int add_login(struct auth *auth, const char *key, const json_t *json, const char *store,
		     struct problem *problem)
{
	struct entry entry = { .key = normal_key(key), .file = auth->n_files };
	const char *pair = json_get_string(json, "auth");
	const char *user = json_get_string(json, "username");
	const char *password = json_get_string(json, "password");
	const char *token = json_get_string(json, "identitytoken");
	char shown[128];
	int r = 0;

	if (pair && *pair) {
		r = decode_pair(pair, &entry);
	} else if (user && *user && password) {
		entry.user = strdup(user);
		entry.password = strdup(password);
		r = entry.user && entry.password ? 0 : -ENOMEM;
	} else if (store) {
		entry.helper = strdup(store);
		r = entry.helper ? 0 : -ENOMEM;
	}
	if (!r && token && *token) {
		entry.identity_token = strdup(token);
		if (!entry.user)
			entry.user = strdup("");
		r = entry.identity_token && entry.user ? 0 : -ENOMEM;
	}
	if (r) {
		entry_clear(&entry);
		if (r == -ENOMEM)
			return r;
		log_escape(shown, sizeof(shown), key, strlen(key));
		return problem_set(problem, r,
				   "\"auth\" of '%s' is not the base64 of user:password; log in "
				   "again",
				   shown);
	}
	if (!entry.user && !entry.helper) {
		entry_clear(&entry); /* {} without a store: logged out */
		return 0;
	}
	return entry_add(auth, &entry);
}

static int add_config(struct auth *auth, json_t *config, struct problem *problem)
{
	const char *store = json_get_string(config, "credsStore"), *key;
	json_t *value;
	int r;

	auth->n_files++;
	json_object_foreach(json_object_get(config, "auths"), key, value) {
		r = add_login(auth, key, value, store && *store ? store : NULL, problem);
		if (r)
			return r;
	}
	json_object_foreach(json_object_get(config, "credHelpers"), key, value) {
		struct entry entry = { .key = normal_key(key), .file = auth->n_files };

		if (!json_is_string(value)) {
			entry_clear(&entry);
			return problem_set(problem, -EINVAL, "\"credHelpers\" has no names");
		}
		entry.helper = strdup(json_string_value(value));
		r = entry_add(auth, &entry);
		if (r)
			return r;
	}
	return 0;
}

int auth_load_file(struct auth *auth, const char *path, struct problem *problem)
{
	cleanup_json json_t *config = NULL;
	char *text;
	size_t len;
	int r;

	r = read_file_at(AT_FDCWD, path, AUTH_FILE_MAX, &text, &len);
	if (r)
		return problem_set(problem, r, "auth file %s: %s", path, strerror(-r));
	r = json_parse(text, len, &config, problem);
	explicit_bzero(text, len);
	free(text);
	if (!r && !json_is_object(config))
		r = problem_set(problem, -EINVAL, "not a JSON object");
	if (!r)
		r = add_config(auth, config, problem);
	if (r)
		return problem_prefix(problem, r == -EBADMSG ? -EINVAL : r, "auth file %s", path);
	return 0;
}

static int load_if_there(struct auth *auth, char *path, struct problem *problem)
{
	struct problem local = { "" };
	int r = path ? auth_load_file(auth, path, &local) : -ENOMEM;

	free(path);
	/* A home of somebody else, a file where a directory is looked for: not ours to judge. */
	if (!r || r == -ENOENT || r == -ENOTDIR || r == -EACCES)
		return 0;
	return problem_set(problem, r, "%s", problem_text(&local, r));
}

int auth_load_default(struct auth *auth, struct problem *problem)
{
	const char *file = getenv("REGISTRY_AUTH_FILE"), *docker = getenv("DOCKER_CONFIG");
	const char *home = getenv("HOME"), *runtime = getenv("XDG_RUNTIME_DIR");
	int r = 0;

	if (file && *file)
		return auth_load_file(auth, file, problem);
	if (docker && *docker)
		r = load_if_there(auth, format_text("%s/config.json", docker), problem);
	else if (home && *home)
		r = load_if_there(auth, format_text("%s/.docker/config.json", home), problem);
	if (r)
		return r;
	if (runtime && *runtime)
		r = load_if_there(auth, format_text("%s/containers/auth.json", runtime), problem);
	else
		r = load_if_there(auth,
				  format_text("/run/containers/%u/auth.json", (unsigned)getuid()),
				  problem);
	if (!r && home && *home)
		r = load_if_there(auth, format_text("%s/.config/containers/auth.json", home),
				  problem);
	return r;
}

int auth_set(struct auth *auth, const char *host, const char *user, const char *password)
{
	struct entry entry = { .file = 0 };

	for (size_t i = 0; i < auth->n_entries; i++) {
		if (auth->entries[i].file == 0 && !strcasecmp(auth->entries[i].key, host)) {
			entry_clear(&auth->entries[i]);
			auth->entries[i] = auth->entries[--auth->n_entries];
			break;
		}
	}
	if (!user)
		return 0;
	if (strchr(user, ':'))
		return -EINVAL;
	entry.key = strdup(host);
	entry.user = strdup(user);
	entry.password = strdup(password ? password : "");
	if (!entry.user || !entry.password) {
		entry_clear(&entry);
		return -ENOMEM;
	}
	return entry_add(auth, &entry);
}

/* How much of HOST/REPOSITORY the key covers; 0: it is another place. */
static size_t match_length(const char *key, const char *host, const char *repository)
{
	size_t host_len = strlen(host), path_len;

	if (strncasecmp(key, host, host_len))
		return 0;
	if (!key[host_len])
		return host_len;
	if (key[host_len] != '/' || !repository)
		return 0;
	key += host_len + 1;
	path_len = strlen(key);
	if (strncmp(key, repository, path_len) ||
	    (repository[path_len] && repository[path_len] != '/'))
		return 0;
	return host_len + 1 + path_len;
}

bool auth_find(const struct auth *auth, const char *host, const char *repository,
	       struct auth_credentials *out)
{
	const struct entry *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < auth->n_entries; i++) {
		const struct entry *entry = &auth->entries[i];
		size_t len = entry->user ? match_length(entry->key, host, repository) : 0;

		if (len == 0)
			continue;
		if (!best || entry->file < best->file ||
		    (entry->file == best->file && len > best_len)) {
			best = entry;
			best_len = len;
		}
	}
	if (!best)
		return false;
	*out = (struct auth_credentials){
		.user = best->user,
		.password = best->password ? best->password : "",
		.identity_token = best->identity_token,
	};
	return true;
}

const char *auth_helper(const struct auth *auth, const char *host)
{
	for (size_t i = 0; i < auth->n_entries; i++) {
		const struct entry *entry = &auth->entries[i];

		if (entry->helper && match_length(entry->key, host, NULL))
			return entry->helper;
	}
	return NULL;
}

char *auth_basic(const struct auth_credentials *credentials)
{
	static const char prefix[] = "Basic ";
	char *pair = format_text("%s:%s", credentials->user, credentials->password), *out = NULL;
	size_t len;

	if (!pair)
		return NULL;
	len = strlen(pair);
	if (len <= AUTH_FILE_MAX)
		out = malloc(sizeof(prefix) + (len + 2) / 3 * 4 + 1);
	if (out) {
		memcpy(out, prefix, sizeof(prefix) - 1);
		EVP_EncodeBlock((unsigned char *)out + sizeof(prefix) - 1,
				(const unsigned char *)pair, (int)len);
	}
	auth_forget(pair);
	return out;
}
