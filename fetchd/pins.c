/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns STATE/pins and what is in there: one table of keys with how many sets each is in. A set is
 * replaced as a whole, durably, and its old digests are read from its file for that.
 */
#include "fetchd/pins.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "fetchd/policy.h"
#include "lib/log.h"

enum { SLOTS_MIN = 64, LINE_LEN = 65 /* 64 hex digits, and a newline */ };

struct slot {
	uint64_t key; /* 0: empty */
	uint32_t sets;
};

struct pins {
	int dir_fd; /* owned */
	pthread_mutex_t lock;
	struct slot *slots; /* owned, under lock; NULL: nothing is pinned */
	size_t n_slots, n_taken;
	uint64_t salt; /* who makes an image chooses digests, and must not choose slots */
};

/* A set as its file has it. */
struct pin_set {
	char *text;	    /* owned; the name ends where its line did */
	const char *digits; /* in text */
	size_t n;
};

static void set_clear(struct pin_set *set)
{
	free(set->text);
}

#define cleanup_set __attribute__((cleanup(set_clear)))

static struct slot *find(struct slot *slots, size_t n_slots, uint64_t salt, uint64_t key)
{
	uint64_t hash = (key ^ salt) * 0x9E3779B97F4A7C15u;
	size_t i = (size_t)((hash ^ hash >> 32 ^ salt >> 7) % n_slots);

	while (slots[i].key && slots[i].key != key)
		i = i + 1 < n_slots ? i + 1 : 0;
	return &slots[i];
}

/* Under lock: room for @n more. What is in no set any more is left out. */
static int reserve(struct pins *pins, size_t n)
{
	struct slot *slots;
	size_t n_slots, taken = 0;

	if ((pins->n_taken + n) * 2 <= pins->n_slots)
		return 0;
	n_slots = (pins->n_taken + n) * 2 + SLOTS_MIN;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < pins->n_slots; i++) {
		if (!pins->slots[i].sets)
			continue;
		*find(slots, n_slots, pins->salt, pins->slots[i].key) = pins->slots[i];
		taken++;
	}
	free(pins->slots);
	pins->slots = slots;
	pins->n_slots = n_slots;
	pins->n_taken = taken;
	return 0;
}

/* Under lock, where there is room. */
static void add_key(struct pins *pins, uint64_t key)
{
	struct slot *slot = find(pins->slots, pins->n_slots, pins->salt, key);

	pins->n_taken += !slot->key;
	slot->key = key;
	slot->sets++;
}

static void drop_key(struct pins *pins, uint64_t key)
{
	struct slot *slot = pins->slots ? find(pins->slots, pins->n_slots, pins->salt, key) : NULL;

	if (slot && slot->sets)
		slot->sets--;
}

static int parse_digest(const char *digits, struct digest *out)
{
	if (digits[LINE_LEN - 1] != '\n')
		return -EBADMSG;
	return digest_parse_hex(DIGEST_SHA256, digits, LINE_LEN - 1, out) ? -EBADMSG : 0;
}

static int read_set(const struct pins *pins, const char *file, struct pin_set *out)
{
	struct digest digest;
	char *end;
	size_t len;
	int r = read_file_at(pins->dir_fd, file, INT_MAX, &out->text, &len);

	if (r)
		return r;
	end = memchr(out->text, '\n', len);
	if (!end || (size_t)(out->text + len - end - 1) % LINE_LEN)
		return -EBADMSG;
	*end = '\0';
	out->digits = end + 1;
	out->n = (size_t)(out->text + len - out->digits) / LINE_LEN;
	for (size_t i = 0; i < out->n; i++) {
		r = parse_digest(out->digits + i * LINE_LEN, &digest);
		if (r)
			return r;
	}
	return 0;
}

static uint64_t key_at(const struct pin_set *set, size_t i)
{
	struct digest digest;

	/* It was looked at when it was read. */
	if (parse_digest(set->digits + i * LINE_LEN, &digest))
		return 0;
	return policy_key(&digest);
}

static int add_set(struct pins *pins, const struct pin_set *set)
{
	int r;

	pthread_mutex_lock(&pins->lock);
	r = reserve(pins, set->n);
	for (size_t i = 0; !r && i < set->n; i++)
		add_key(pins, key_at(set, i));
	pthread_mutex_unlock(&pins->lock);
	return r;
}

static void drop_set(struct pins *pins, const struct pin_set *set)
{
	pthread_mutex_lock(&pins->lock);
	for (size_t i = 0; i < set->n; i++)
		drop_key(pins, key_at(set, i));
	pthread_mutex_unlock(&pins->lock);
}

static int file_of(const char *name, char out[static DIGEST_TEXT_SIZE])
{
	struct digest digest;
	int r = digest_compute(DIGEST_SHA256, name, strlen(name), &digest);

	if (!r)
		digest_format_hex(&digest, out);
	return r;
}

static bool is_set_file(const char *name)
{
	struct digest digest;

	return !digest_parse_hex(DIGEST_SHA256, name, strlen(name), &digest);
}

/* What cannot be read pins nothing, and says so; the other sets count. */
static int load_all(struct pins *pins)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry = NULL;
	int r = open_dir_at(pins->dir_fd, ".", &dir);

	while (!r) {
		cleanup_set struct pin_set set = { NULL };

		r = next_entry(dir, &entry);
		if (r || !entry)
			break;
		if (!is_set_file(entry->d_name))
			continue;
		r = read_set(pins, entry->d_name, &set);
		if (!r) {
			r = add_set(pins, &set);
		} else {
			log_error("pins/%s cannot be read (%s): pin it again", entry->d_name,
				  strerror(-r));
			r = 0;
		}
	}
	return r;
}

int pins_open(const char *state, struct pins **out, struct problem *problem)
{
	cleanup_free char *path = format_text("%s/pins", state);
	struct pins *pins = calloc(1, sizeof(*pins));
	int r = path && pins ? make_dirs(path, 0700) : -ENOMEM;

	if (!pins)
		return -ENOMEM;
	pthread_mutex_init(&pins->lock, NULL);
	if (getrandom(&pins->salt, sizeof(pins->salt), 0) != sizeof(pins->salt))
		pins->salt = (uint64_t)now_ms();
	pins->dir_fd = r ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!r && pins->dir_fd < 0)
		r = -errno;
	if (!r)
		r = load_all(pins);
	if (r) {
		pins_close(pins);
		return problem_set(problem, r, "%s/pins: %s", state, strerror(-r));
	}
	*out = pins;
	return 0;
}

void pins_close(struct pins *pins)
{
	if (!pins)
		return;
	if (pins->dir_fd >= 0)
		close(pins->dir_fd);
	pthread_mutex_destroy(&pins->lock);
	free(pins->slots);
	free(pins);
}

static char *format_set(const char *name, const struct digest *digests, size_t n, size_t *len)
{
	size_t name_len = strlen(name), size = name_len + 1 + n * LINE_LEN + 1;
	char *text = malloc(size), *p;

	if (!text)
		return NULL;
	memcpy(text, name, name_len);
	p = text + name_len;
	*p++ = '\n';
	for (size_t i = 0; i < n; i++) {
		char hex[DIGEST_TEXT_SIZE];

		memcpy(p, digest_format_hex(&digests[i], hex), LINE_LEN - 1);
		p[LINE_LEN - 1] = '\n';
		p += LINE_LEN;
	}
	*p = '\0';
	*len = size - 1;
	return text;
}

int pins_set(struct pins *pins, const char *name, const struct digest *digests, size_t n,
	     struct problem *problem)
{
	cleanup_set struct pin_set before = { NULL };
	cleanup_free char *text = NULL;
	char file[DIGEST_TEXT_SIZE];
	size_t len;
	int r;

	if (!*name || strlen(name) > PIN_NAME_MAX || strchr(name, '\n') || n > PIN_DIGESTS_MAX)
		return problem_set(problem, -EINVAL, "a name of 1 to %d bytes, in one line",
				   PIN_NAME_MAX);
	for (size_t i = 0; i < n; i++) {
		if (digests[i].algorithm != DIGEST_SHA256)
			return problem_set(problem, -EINVAL, "digests of the cache are sha256");
	}
	r = file_of(name, file);
	if (r)
		return r;
	text = format_set(name, digests, n, &len);
	if (!text)
		return -ENOMEM;
	r = read_set(pins, file, &before);
	if (r && r != -ENOENT)
		before.n = 0;
	pthread_mutex_lock(&pins->lock);
	r = reserve(pins, n);
	pthread_mutex_unlock(&pins->lock);
	if (!r)
		r = write_file_durably_at(pins->dir_fd, file, text, len, 0600);
	if (r)
		return problem_set(problem, r, "pins: %s", strerror(-r));
	/* What is in both is never in none. */
	pthread_mutex_lock(&pins->lock);
	for (size_t i = 0; i < n; i++)
		add_key(pins, policy_key(&digests[i]));
	pthread_mutex_unlock(&pins->lock);
	drop_set(pins, &before);
	return 0;
}

int pins_remove(struct pins *pins, const char *name)
{
	cleanup_set struct pin_set set = { NULL };
	char file[DIGEST_TEXT_SIZE];
	int r = file_of(name, file);

	if (!r)
		r = read_set(pins, file, &set);
	if (r == -ENOENT)
		return r;
	if (r) /* it pinned nothing */
		set.n = 0;
	if (unlinkat(pins->dir_fd, file, 0) || fsync(pins->dir_fd))
		return -errno;
	drop_set(pins, &set);
	return 0;
}

bool pins_has(struct pins *pins, uint64_t key)
{
	bool has;

	if (!pins)
		return false;
	pthread_mutex_lock(&pins->lock);
	has = pins->slots && find(pins->slots, pins->n_slots, pins->salt, key)->sets;
	pthread_mutex_unlock(&pins->lock);
	return has;
}

json_t *pins_describe(struct pins *pins)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry = NULL;
	json_t *list = json_array();

	if (!list || open_dir_at(pins->dir_fd, ".", &dir))
		return list;
	while (!next_entry(dir, &entry) && entry) {
		cleanup_set struct pin_set set = { NULL };

		if (is_set_file(entry->d_name) && !read_set(pins, entry->d_name, &set))
			json_array_append_new(list, json_pack("{s:s, s:I}", "name", set.text,
							      "digests", (json_int_t)set.n));
	}
	return list;
}
