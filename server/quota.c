/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the sums. Any thread; one counts at a time, by a copy of the rules, and nobody waits for it
 * but quota_hold(). New rules end a count that runs: it begins anew by itself.
 */
#include "server/quota.h"

#include <pthread.h>
#include <string.h>

#include "lib/log.h"
#include "server/store.h"

/* Under lock. */
struct sum {
	uint64_t max_bytes; /* 0: no quota */
	uint64_t used_bytes, held_bytes;
	uint64_t came_bytes; /* since the count began */
};

struct quotas {
	const struct store *store; /* borrowed */
	pthread_mutex_t counting;  /* taken before lock */
	pthread_mutex_t lock;
	bool is_counted;	/* under lock */
	atomic_uint generation; /* of the rules; changed under lock */
	struct rules rules;	/* owned: the patterns that have a quota; under lock */
	struct sum *sums;	/* owned: one a rule, and the total behind them; under lock */
};

int quotas_new(const struct store *store, struct quotas **out)
{
	struct quotas *quotas = calloc(1, sizeof(*quotas));

	if (!quotas)
		return -ENOMEM;
	quotas->sums = calloc(1, sizeof(*quotas->sums));
	if (!quotas->sums) {
		free(quotas);
		return -ENOMEM;
	}
	quotas->store = store;
	pthread_mutex_init(&quotas->counting, NULL);
	pthread_mutex_init(&quotas->lock, NULL);
	*out = quotas;
	return 0;
}

void quotas_free(struct quotas *quotas)
{
	if (!quotas)
		return;
	pthread_mutex_destroy(&quotas->lock);
	pthread_mutex_destroy(&quotas->counting);
	rules_deinit(&quotas->rules);
	free(quotas->sums);
	free(quotas);
}

static int copy_rules(const struct rules *from, struct rules *to)
{
	to->rules = calloc(from->n + 1, sizeof(*to->rules));
	if (!to->rules)
		return -ENOMEM;
	for (size_t i = 0; i < from->n; i++) {
		struct rule *rule = &to->rules[to->n];

		if (!from->rules[i].quota_bytes)
			continue;
		rule->pattern = strdup(from->rules[i].pattern);
		if (!rule->pattern)
			return -ENOMEM;
		rule->quota_bytes = from->rules[i].quota_bytes;
		to->n++;
	}
	return 0;
}

/* What uploads hold of a quota that stays is taken over; the rest is counted anew. */
static void take_over(const struct quotas *quotas, const struct rules *rules, struct sum *sums)
{
	sums[rules->n].held_bytes = quotas->sums[quotas->rules.n].held_bytes;
	for (size_t i = 0; i < rules->n; i++) {
		sums[i].max_bytes = rules->rules[i].quota_bytes;
		for (size_t k = 0; k < quotas->rules.n; k++) {
			if (!strcmp(rules->rules[i].pattern, quotas->rules.rules[k].pattern))
				sums[i].held_bytes = quotas->sums[k].held_bytes;
		}
	}
}

/* Under lock. Are the sums of these rules those of the rules there are? Only limits differ then. */
static bool counts_the_same(const struct quotas *quotas, const struct rules *rules,
			    uint64_t total_bytes)
{
	if (rules->n != quotas->rules.n || !total_bytes != !quotas->sums[rules->n].max_bytes)
		return false;
	for (size_t i = 0; i < rules->n; i++) {
		if (strcmp(rules->rules[i].pattern, quotas->rules.rules[i].pattern) != 0)
			return false;
	}
	return true;
}

static void swap_rules(struct rules *a, struct rules *b)
{
	struct rules other = *a;

	*a = *b;
	*b = other;
}

int quotas_set(struct quotas *quotas, const struct rules *rules, uint64_t total_bytes)
{
	struct rules copy = { .rules = NULL };
	struct sum *sums;
	int r = copy_rules(rules, &copy);

	sums = r ? NULL : calloc(copy.n + 1, sizeof(*sums));
	if (!sums) {
		rules_deinit(&copy);
		return -ENOMEM;
	}
	pthread_mutex_lock(&quotas->lock);
	if (counts_the_same(quotas, &copy, total_bytes)) {
		for (size_t i = 0; i < copy.n; i++)
			quotas->sums[i].max_bytes = copy.rules[i].quota_bytes;
		quotas->sums[copy.n].max_bytes = total_bytes;
	} else {
		take_over(quotas, &copy, sums);
		sums[copy.n].max_bytes = total_bytes;
		swap_rules(&quotas->rules, &copy);
		free(quotas->sums);
		quotas->sums = steal_ptr(sums);
		quotas->is_counted = false;
		quotas->generation++;
	}
	pthread_mutex_unlock(&quotas->lock);
	rules_deinit(&copy);
	free(sums);
	return 0;
}

/* The sums a repository counts for, under lock. Return: how many. */
static int sums_of(struct quotas *quotas, const char *repository, struct sum *out[static 2])
{
	const struct rule *rule = rules_quota(&quotas->rules, repository);
	struct sum *total = &quotas->sums[quotas->rules.n];
	int n = 0;

	if (rule)
		out[n++] = &quotas->sums[rule - quotas->rules.rules];
	if (total->max_bytes)
		out[n++] = total;
	return n;
}

/* What cannot be read counts nothing: neither now nor when it goes. */
static uint64_t content_size(const struct quotas *quotas, const struct digest *digest)
{
	cleanup_blob struct blob blob = { .fd = -1 };

	return store_open_blob(quotas->store, digest, &blob) ? 0 : blob.size_bytes;
}

/* ---- Counting ---- */

struct count {
	struct quotas *quotas;
	const atomic_bool *stop;
	unsigned int generation; /* of the rules */
	struct rules rules;	 /* owned: a copy */
	bool has_total;
	uint64_t *bytes;    /* owned: one a rule, and the total behind them */
	uint64_t *where[2]; /* of the repository that is looked at */
	int n;
};

static int count_link(void *context, const char *text)
{
	struct count *count = context;
	struct digest digest;
	uint64_t bytes;

	if (count->stop && *count->stop)
		return -ECANCELED;
	if (count->quotas->generation != count->generation)
		return -ESTALE;
	if (digest_parse(text, strlen(text), &digest))
		return 0;
	bytes = content_size(count->quotas, &digest);
	for (int i = 0; i < count->n; i++)
		*count->where[i] += bytes;
	return 0;
}

static int count_repository(void *context, const char *repository)
{
	struct count *count = context;
	const struct store *store = count->quotas->store;
	const struct rule *rule = rules_quota(&count->rules, repository);
	int r;

	count->n = 0;
	if (rule)
		count->where[count->n++] = &count->bytes[rule - count->rules.rules];
	if (count->has_total)
		count->where[count->n++] = &count->bytes[count->rules.n];
	if (!count->n)
		return 0;
	r = store_each_name(store, repository, STORE_LAYERS, count_link, count);
	if (!r || r == -ENOENT)
		r = store_each_name(store, repository, STORE_MANIFESTS, count_link, count);
	return r == -ENOENT ? 0 : r;
}

static int count_begin(struct count *count)
{
	struct quotas *quotas = count->quotas;
	int r;

	pthread_mutex_lock(&quotas->lock);
	count->generation = quotas->generation;
	count->has_total = quotas->sums[quotas->rules.n].max_bytes;
	r = copy_rules(&quotas->rules, &count->rules);
	for (size_t i = 0; i < quotas->rules.n + 1; i++)
		quotas->sums[i].came_bytes = 0;
	pthread_mutex_unlock(&quotas->lock);
	if (!r)
		count->bytes = calloc(count->rules.n + 1, sizeof(*count->bytes));
	return r ? r : count->bytes ? 0 : -ENOMEM;
}

static int count_end(struct count *count)
{
	struct quotas *quotas = count->quotas;
	int r = -ESTALE;

	pthread_mutex_lock(&quotas->lock);
	if (quotas->generation == count->generation) {
		for (size_t i = 0; i < count->rules.n + 1; i++)
			quotas->sums[i].used_bytes = count->bytes[i] + quotas->sums[i].came_bytes;
		quotas->is_counted = true;
		r = 0;
	}
	pthread_mutex_unlock(&quotas->lock);
	return r;
}

/*
 * With counting held. A link that comes or goes meanwhile counts: rather too much than too little.
 */
static int count_all(struct quotas *quotas, const atomic_bool *stop)
{
	int r;

	do { /* again where the rules changed meanwhile */
		struct count count = { .quotas = quotas, .stop = stop };

		r = count_begin(&count);
		if (!r)
			r = store_each_repository(quotas->store, count_repository, &count);
		if (!r)
			r = count_end(&count);
		rules_deinit(&count.rules);
		free(count.bytes);
	} while (r == -ESTALE);
	return r;
}

int quotas_count(struct quotas *quotas, const atomic_bool *stop)
{
	int r;

	if (!quotas)
		return 0;
	pthread_mutex_lock(&quotas->counting);
	r = count_all(quotas, stop);
	pthread_mutex_unlock(&quotas->counting);
	return r;
}

/* ---- Uploads ---- */

static bool fits(const struct sum *sum, uint64_t bytes)
{
	uint64_t taken = sum->used_bytes + sum->held_bytes;

	return taken <= sum->max_bytes && bytes <= sum->max_bytes - taken;
}

static int refuse(const struct quotas *quotas, const struct sum *sum, uint64_t bytes,
		  struct problem *problem)
{
	size_t i = (size_t)(sum - quotas->sums);

	return problem_set(problem, -EDQUOT,
			   "%s%s: the quota is %llu bytes, of which %llu are used; %llu more do "
			   "not fit: delete images there, or have the quota raised",
			   i < quotas->rules.n ? "repositories " : "this registry",
			   i < quotas->rules.n ? quotas->rules.rules[i].pattern : "",
			   (unsigned long long)sum->max_bytes,
			   (unsigned long long)(sum->used_bytes + sum->held_bytes),
			   (unsigned long long)bytes);
}

int quota_try(struct quotas *quotas, const char *repository, uint64_t bytes,
	      struct problem *problem)
{
	struct sum *sums[2];
	int n, r = 0;

	if (!quotas)
		return 0;
	pthread_mutex_lock(&quotas->lock);
	n = sums_of(quotas, repository, sums);
	if (n && !quotas->is_counted)
		r = -EAGAIN;
	for (int i = 0; !r && i < n; i++) {
		if (!fits(sums[i], bytes))
			r = refuse(quotas, sums[i], bytes, problem);
	}
	for (int i = 0; !r && i < n; i++)
		sums[i]->held_bytes += bytes;
	pthread_mutex_unlock(&quotas->lock);
	return r;
}

int quota_hold(struct quotas *quotas, const char *repository, uint64_t bytes,
	       struct problem *problem)
{
	int r = quota_try(quotas, repository, bytes, problem);

	if (r != -EAGAIN)
		return r;
	pthread_mutex_lock(&quotas->counting);
	r = quota_try(quotas, repository, bytes, problem);
	if (r == -EAGAIN) {
		r = count_all(quotas, NULL);
		if (!r)
			r = quota_try(quotas, repository, bytes, problem);
	}
	pthread_mutex_unlock(&quotas->counting);
	return r;
}

static uint64_t less(uint64_t from, uint64_t bytes)
{
	return from > bytes ? from - bytes : 0;
}

void quota_release(struct quotas *quotas, const char *repository, uint64_t bytes)
{
	struct sum *sums[2];
	int n;

	if (!quotas || !bytes)
		return;
	pthread_mutex_lock(&quotas->lock);
	n = sums_of(quotas, repository, sums);
	for (int i = 0; i < n; i++)
		sums[i]->held_bytes = less(sums[i]->held_bytes, bytes);
	pthread_mutex_unlock(&quotas->lock);
}

static void note(struct sum *sum, uint64_t bytes, bool came)
{
	if (came) {
		sum->came_bytes += bytes;
		sum->used_bytes += bytes;
	} else {
		sum->used_bytes = less(sum->used_bytes, bytes);
	}
}

void quota_note_link(struct quotas *quotas, const char *repository, const struct digest *digest,
		     bool came)
{
	struct sum *sums[2];
	uint64_t bytes = 0;
	int n;

	if (!quotas)
		return;
	pthread_mutex_lock(&quotas->lock);
	n = sums_of(quotas, repository, sums);
	pthread_mutex_unlock(&quotas->lock);
	if (!n) /* the usual case costs no look at the disk */
		return;
	bytes = content_size(quotas, digest);
	pthread_mutex_lock(&quotas->lock);
	n = sums_of(quotas, repository, sums);
	for (int i = 0; i < n; i++)
		note(sums[i], bytes, came);
	pthread_mutex_unlock(&quotas->lock);
}
