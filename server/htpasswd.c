/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the users and the memory of who was verified. */
#include "server/htpasswd.h"

#include <crypt.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "lib/log.h"

enum { SLOTS = 1024, MAC_BYTES = 32, KEY_BYTES = 32, BCRYPT_LEN = 60 };

/* Of a pair that was verified. */
struct seen {
	unsigned char mac[MAC_BYTES];
	int64_t until_ms;
};

/* A user has one right password, and a place of his own for it that no wrong one takes. */
struct user {
	char *name; /* owned */
	unsigned int line;
	char hash[BCRYPT_LEN + 1];
	struct seen right; /* under lock */
};

struct verifying {
	unsigned char mac[MAC_BYTES];
	bool busy;
	struct login *waiting; /* those with the same pair */
};

struct htpasswd {
	struct user *users; /* owned; sorted by name */
	size_t n;
	unsigned char key[KEY_BYTES];
	unsigned int verifying_max;
	uint64_t failures_max; /* 0: any number */
	pthread_mutex_t lock;
	uint64_t n_verifications;			    /* under lock */
	struct seen wrong[SLOTS];			    /* under lock */
	struct failures failures;			    /* under lock */
	struct verifying verifying[HTPASSWD_VERIFYING_MAX]; /* under lock */
};

static int compare(const void *a, const void *b)
{
	const struct user *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : (x->line > y->line) - (x->line < y->line);
}

static int compare_name(const void *name, const void *user)
{
	return strcmp(name, ((const struct user *)user)->name);
}

static bool all_of(const char *text, size_t len, const char *set)
{
	for (size_t i = 0; i < len; i++)
		if (!text[i] || !strchr(set, text[i]))
			return false;
	return true;
}

/* $2y$NN$ and 53 characters; NN says how long it takes: 04, a millisecond, to 16, seconds. */
static bool is_bcrypt(const char *hash, size_t len)
{
	return len == BCRYPT_LEN && !memcmp(hash, "$2", 2) && all_of(hash + 2, 1, "aby") &&
	       hash[3] == '$' && all_of(hash + 4, 2, "0123456789") && hash[6] == '$' &&
	       strncmp(hash + 4, "04", 2) >= 0 && strncmp(hash + 4, "16", 2) <= 0 &&
	       all_of(hash + 7, BCRYPT_LEN - 7,
		      "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
}

static bool name_is(const char *name, size_t len, const char *text)
{
	return len == strlen(text) && !memcmp(name, text, len);
}

static int add_user(struct htpasswd *htpasswd, const char *line, size_t len, unsigned int number,
		    struct problem *problem)
{
	const char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : 0;
	struct user *more;

	if (!name_len || name_len > HTPASSWD_USER_MAX || memchr(line, '\0', len))
		return problem_set(problem, -EINVAL, "line %u is not USER:HASH", number);
	if (!is_bcrypt(colon + 1, len - name_len - 1))
		return problem_set(problem, -EINVAL,
				   "line %u: only bcrypt hashes are taken, of a cost of 4 to 16: "
				   "htpasswd -B FILE USER",
				   number);
	if (name_is(line, name_len, "anonymous") || name_is(line, name_len, "authenticated"))
		return problem_set(problem, -EINVAL,
				   "line %u: a user with that name would be everybody in rules",
				   number);
	if (htpasswd->n == HTPASSWD_USERS_MAX)
		return problem_set(problem, -EINVAL, "more than %d users", HTPASSWD_USERS_MAX);
	more = reallocarray(htpasswd->users, htpasswd->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	htpasswd->users = more;
	more[htpasswd->n] = (struct user){ .name = strndup(line, name_len), .line = number };
	if (!more[htpasswd->n].name)
		return -ENOMEM;
	memcpy(more[htpasswd->n].hash, colon + 1, BCRYPT_LEN);
	more[htpasswd->n++].hash[BCRYPT_LEN] = '\0';
	return 0;
}

static int add_users(struct htpasswd *htpasswd, const char *text, size_t len,
		     struct problem *problem)
{
	const char *p = text, *end = text + len;
	unsigned int number = 1;
	int r = 0;

	for (; !r && p < end; number++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t line = stop ? (size_t)(stop - p) : (size_t)(end - p);
		size_t used = line && p[line - 1] == '\r' ? line - 1 : line;

		if (used && *p != '#')
			r = add_user(htpasswd, p, used, number, problem);
		p += line + 1;
	}
	return r;
}

/* Two passwords for one user: which one counts would be chance. */
static int sort_users(struct htpasswd *htpasswd, struct problem *problem)
{
	struct user *users = htpasswd->users;

	qsort(users, htpasswd->n, sizeof(*users), compare);
	for (size_t i = 1; i < htpasswd->n; i++) {
		if (!strcmp(users[i - 1].name, users[i].name))
			return problem_set(problem, -EINVAL,
					   "line %u: the user '%s' is in line %u, too",
					   users[i].line, users[i].name, users[i - 1].line);
	}
	return 0;
}

int htpasswd_parse(const char *text, size_t len, struct htpasswd **out, struct problem *problem)
{
	struct htpasswd *htpasswd = calloc(1, sizeof(*htpasswd));
	int r;

	if (!htpasswd)
		return -ENOMEM;
	pthread_mutex_init(&htpasswd->lock, NULL);
	htpasswd->verifying_max = HTPASSWD_VERIFYING_MAX;
	r = getrandom(htpasswd->key, KEY_BYTES, 0) == KEY_BYTES ? 0 : -EIO;
	if (!r)
		r = add_users(htpasswd, text, len, problem);
	if (!r && !htpasswd->n)
		r = problem_set(problem, -EINVAL,
				"it names no user: htpasswd -B FILE USER adds one");
	if (!r)
		r = sort_users(htpasswd, problem);
	if (r) {
		htpasswd_free(htpasswd);
		return r;
	}
	*out = htpasswd;
	return 0;
}

int htpasswd_load(const char *path, struct htpasswd **out, struct problem *problem)
{
	struct problem why = { "" };
	char *text = NULL;
	size_t len;
	int r = read_file_at(AT_FDCWD, path, HTPASSWD_FILE_MAX, &text, &len);

	if (!r)
		r = htpasswd_parse(text, len, out, &why);
	if (text)
		explicit_bzero(text, len);
	free(text);
	return r ? problem_set(problem, r, "%s: %s", path, problem_text(&why, r)) : 0;
}

void htpasswd_free(struct htpasswd *htpasswd)
{
	if (!htpasswd)
		return;
	for (size_t i = 0; i < htpasswd->n; i++)
		free(htpasswd->users[i].name);
	free(htpasswd->users);
	pthread_mutex_destroy(&htpasswd->lock);
	explicit_bzero(htpasswd, sizeof(*htpasswd));
	free(htpasswd);
}

/* Of "user NUL password". */
static bool make_mac(const struct htpasswd *htpasswd, const char *user, const char *password,
		     unsigned char out[static MAC_BYTES])
{
	size_t user_len = strlen(user) + 1, len = user_len + strlen(password);
	unsigned int out_len = 0;
	char *both = malloc(len);

	if (!both)
		return false;
	memcpy(both, user, user_len);
	memcpy(both + user_len, password, len - user_len);
	HMAC(EVP_sha256(), htpasswd->key, KEY_BYTES, (unsigned char *)both, len, out, &out_len);
	explicit_bzero(both, len);
	free(both);
	return out_len == MAC_BYTES;
}

static struct user *find_user(const struct htpasswd *htpasswd, const char *name)
{
	return bsearch(name, htpasswd->users, htpasswd->n, sizeof(*htpasswd->users), compare_name);
}

static struct seen *wrong_slot(struct htpasswd *htpasswd, const unsigned char *mac)
{
	return &htpasswd->wrong[(mac[0] | (unsigned int)mac[1] << 8) % SLOTS];
}

static bool is_seen(const struct seen *seen, const unsigned char *mac)
{
	return seen->until_ms > now_ms() && !CRYPTO_memcmp(seen->mac, mac, MAC_BYTES);
}

static void see(struct seen *seen, const unsigned char *mac, int seconds)
{
	memcpy(seen->mac, mac, MAC_BYTES);
	seen->until_ms = now_ms() + seconds * 1000LL;
}

/* Under the lock. */
static int look_up(struct htpasswd *htpasswd, const char *user, const unsigned char *mac)
{
	const struct user *found = find_user(htpasswd, user);

	if (found && is_seen(&found->right, mac))
		return 0;
	return is_seen(wrong_slot(htpasswd, mac), mac) ? -EACCES : -EAGAIN;
}

int htpasswd_remembers(struct htpasswd *htpasswd, const char *user, const char *password)
{
	unsigned char mac[MAC_BYTES];
	int r;

	if (!make_mac(htpasswd, user, password, mac))
		return -ENOMEM;
	pthread_mutex_lock(&htpasswd->lock);
	r = look_up(htpasswd, user, mac);
	pthread_mutex_unlock(&htpasswd->lock);
	return r;
}

/*
 * Who is not there is compared with the hash of somebody, always the same for a name: files may
 * mix costs, and the time it takes must not tell that a user exists.
 */
static const char *stand_in(const struct htpasswd *htpasswd, const char *user)
{
	unsigned char mac[MAC_BYTES];
	uint64_t number;

	if (!make_mac(htpasswd, user, "", mac))
		return htpasswd->users[0].hash;
	memcpy(&number, mac, sizeof(number));
	return htpasswd->users[number % htpasswd->n].hash;
}

static int compare_hash(const struct htpasswd *htpasswd, const char *user, const char *password)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	const struct user *found = find_user(htpasswd, user);
	const char *nobody = stand_in(htpasswd, user), *hash = found ? found->hash : nobody, *got;
	bool right;

	if (!data)
		return -ENOMEM;
	got = crypt_r(password, hash, data);
	right = got && strlen(got) == BCRYPT_LEN && !CRYPTO_memcmp(got, hash, BCRYPT_LEN) && found;
	explicit_bzero(data, sizeof(*data));
	free(data);
	return right ? 0 : -EACCES;
}

/* Under the lock. Return: whose work it is to verify the pair, or NULL: the table is full. */
static struct verifying *find_verifying(struct htpasswd *htpasswd, const unsigned char *mac)
{
	struct verifying *unused = NULL;

	for (size_t i = 0; i < htpasswd->verifying_max; i++) {
		struct verifying *entry = &htpasswd->verifying[i];

		if (entry->busy && !CRYPTO_memcmp(entry->mac, mac, MAC_BYTES))
			return entry;
		if (!entry->busy)
			unused = entry;
	}
	return unused;
}

/* Under the lock, but for the verification. @waiting: who is to ask again, without the lock. */
static int verify(struct htpasswd *htpasswd, struct verifying *entry, const unsigned char *mac,
		  const char *user, const char *password, const struct login *login,
		  struct login **waiting)
{
	int r;

	entry->busy = true;
	memcpy(entry->mac, mac, MAC_BYTES);
	htpasswd->n_verifications++;
	pthread_mutex_unlock(&htpasswd->lock);
	r = compare_hash(htpasswd, user, password);
	pthread_mutex_lock(&htpasswd->lock);
	entry->busy = false;
	*waiting = steal_ptr(entry->waiting);
	if (!r)
		see(&find_user(htpasswd, user)->right, mac, HTPASSWD_REMEMBER_S);
	if (r == -EACCES) {
		see(wrong_slot(htpasswd, mac), mac, HTPASSWD_REFUSE_S);
		failures_count(&htpasswd->failures, login->address, now_ms());
	}
	return r;
}

/* Under the lock. */
static bool has_failed_too_often(const struct htpasswd *htpasswd, const struct login *login)
{
	return htpasswd->failures_max &&
	       failures_of(&htpasswd->failures, login->address, now_ms()) >= htpasswd->failures_max;
}

int htpasswd_verify(struct htpasswd *htpasswd, const char *user, const char *password,
		    struct login *login)
{
	struct login *waiting = NULL;
	unsigned char mac[MAC_BYTES];
	struct verifying *entry;
	int r;

	if (!make_mac(htpasswd, user, password, mac))
		return -ENOMEM;
	pthread_mutex_lock(&htpasswd->lock);
	r = look_up(htpasswd, user, mac);
	if (r == -EAGAIN) {
		entry = has_failed_too_often(htpasswd, login) ? NULL
							      : find_verifying(htpasswd, mac);
		if (!entry) {
			r = -EBUSY;
		} else if (entry->busy) {
			login->next = entry->waiting;
			entry->waiting = login;
			r = -EINPROGRESS;
		} else {
			r = verify(htpasswd, entry, mac, user, password, login, &waiting);
		}
	}
	pthread_mutex_unlock(&htpasswd->lock);
	while (waiting) {
		struct login *next = waiting->next;

		waiting->again(waiting);
		waiting = next;
	}
	return r;
}

void htpasswd_limit(struct htpasswd *htpasswd, unsigned int verifying, uint64_t failures)
{
	if (verifying > 0 && verifying < HTPASSWD_VERIFYING_MAX)
		htpasswd->verifying_max = verifying;
	htpasswd->failures_max = failures;
}

uint64_t htpasswd_verifications(struct htpasswd *htpasswd)
{
	uint64_t n;

	pthread_mutex_lock(&htpasswd->lock);
	n = htpasswd->n_verifications;
	pthread_mutex_unlock(&htpasswd->lock);
	return n;
}
