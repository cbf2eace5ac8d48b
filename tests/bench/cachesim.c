/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays traces of opens against the cache's policy (fetchd/policy.h), against LRU and LFU, and
 * against one that knows the future. cachesim [TRACE...]: files with a line "KEY SIZE" for each
 * open; without: ones that are made here, the same each time. Prints a line a trace and size of the
 * cache, tab-separated: trace, cache as a part of all bytes, then of each policy hits and bytes of
 * hits in percent; and whether ours has more hits than the better one of LRU and LFU. LFU counts
 * for ever.
 */
#include <math.h>
#include <string.h>

#include "fetchd/policy.h"
#include "lib/log.h"

enum { LOW_PERCENT = 95 }; /* ours makes room in rounds, as fetchd does */

struct access {
	uint32_t file;
	uint32_t next; /* when it is used again; UINT32_MAX: never */
};

struct trace {
	const char *name;
	struct access *accesses;
	size_t n, max;
	uint64_t *sizes; /* by file */
	uint32_t n_files, max_files;
};

struct score {
	uint64_t hits, bytes;
};
/* ---- traces ---- */

static uint64_t random_state;

static uint64_t next_random(void)
{
	uint64_t z = (random_state += 0x9E3779B97F4A7C15u);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static double uniform(void)
{
	return (double)(next_random() >> 11) / 9007199254740992.0;
}

static void *must_calloc(size_t n, size_t size)
{
	void *p = calloc(n + 1, size);

	if (!p)
		abort();
	return p;
}

static void *grow(void *array, size_t n, size_t *max, size_t size)
{
	if (n < *max)
		return array;
	*max = *max ? 2 * *max : 1024;
	array = realloc(array, *max * size);
	if (!array)
		abort();
	return array;
}

/* As files of root file systems are: a median of 4 KiB, a few of megabytes. */
static uint64_t random_size(void)
{
	double normal = sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
	double size = 4096 * exp(2.2 * normal);

	return size < 1 ? 1 : size > 256e6 ? 256000000 : (uint64_t)size;
}

static uint32_t new_file(struct trace *trace, uint64_t size)
{
	size_t max = trace->max_files;

	trace->sizes = grow(trace->sizes, trace->n_files, &max, sizeof(*trace->sizes));
	trace->max_files = (uint32_t)max;
	trace->sizes[trace->n_files] = size;
	return trace->n_files++;
}

static void use_file(struct trace *trace, uint32_t file)
{
	trace->accesses = grow(trace->accesses, trace->n, &trace->max, sizeof(*trace->accesses));
	trace->accesses[trace->n++].file = file;
}

/* A rank below @n, by Zipf's law with exponent @s, by rejection (W. Hörmann, G. Derflinger). */
static uint32_t zipf(uint32_t n, double s)
{
	double top = pow(n + 0.5, 1 - s), bottom = pow(0.5, 1 - s);

	for (;;) {
		double x = pow(bottom + uniform() * (top - bottom), 1 / (1 - s));
		uint32_t k = (uint32_t)(x + 0.5);

		if (k >= 1 && k <= n && uniform() * pow(x, -s) * 1.6 <= pow(k, -s))
			return k - 1;
	}
}

static void make_steady(struct trace *trace)
{
	for (unsigned int i = 0; i < 20000; i++)
		new_file(trace, random_size());
	for (unsigned int i = 0; i < 400000; i++)
		use_file(trace, zipf(20000, 0.9));
}

/* What is liked changes: each of 20 days its ranks move on by a twentieth. */
static void make_drifting(struct trace *trace)
{
	for (unsigned int i = 0; i < 20000; i++)
		new_file(trace, random_size());
	for (unsigned int i = 0; i < 400000; i++)
		use_file(trace, (zipf(20000, 0.9) * 7919 % 20000 + i / 20000 * 1000) % 20000);
}

/* Between steady use, jobs that read many files once. */
static void make_scanned(struct trace *trace)
{
	for (unsigned int i = 0; i < 10000; i++)
		new_file(trace, random_size());
	for (unsigned int i = 0; i < 300000; i++) {
		use_file(trace, zipf(10000, 0.9));
		if (i % 3000 != 0)
			continue;
		for (unsigned int k = 0; k < 1500; k++)
			use_file(trace, new_file(trace, random_size()));
	}
}

/* The same files, in turn. */
static void make_loop(struct trace *trace)
{
	for (unsigned int i = 0; i < 8000; i++)
		new_file(trace, random_size());
	for (unsigned int i = 0; i < 160000; i++)
		use_file(trace, i % 8000);
}

/* Containers start: of some images, which have a base in common, each with its own start-up files.
 */
static void make_containers(struct trace *trace)
{
	enum { IMAGES = 60, BASE = 300, OWN = 700, STARTS = 1500 };
	uint32_t own[IMAGES][OWN], base[BASE];

	for (unsigned int k = 0; k < BASE; k++)
		base[k] = new_file(trace, random_size());
	for (unsigned int i = 0; i < IMAGES; i++) {
		for (unsigned int k = 0; k < OWN; k++)
			own[i][k] = new_file(trace, random_size());
	}
	for (unsigned int n = 0; n < STARTS; n++) {
		uint32_t image = zipf(IMAGES, 0.8);

		for (unsigned int k = 0; k < BASE; k++)
			use_file(trace, base[k]);
		for (unsigned int k = 0; k < OWN; k++)
			use_file(trace, own[image][k]);
		/* A new version: a quarter of its files are others, and the old are not used again.
		 */
		if (n % 10 != 9)
			continue;
		image = zipf(IMAGES, 0.8);
		for (unsigned int k = 0; k < OWN; k++) {
			if (uniform() < 0.25)
				own[image][k] = new_file(trace, random_size());
		}
	}
}

/* What was used lately is used again soon. */
static void make_recent(struct trace *trace)
{
	for (unsigned int i = 0; i < 300000; i++) {
		uint32_t back = zipf(20000, 0.95);

		if (trace->n_files < 100 || uniform() < 0.05 || back >= trace->n)
			use_file(trace, new_file(trace, random_size()));
		else
			use_file(trace, trace->accesses[trace->n - 1 - back].file);
	}
}

static void find_next_uses(struct trace *trace)
{
	uint32_t *last = must_calloc(trace->n_files, sizeof(*last));

	memset(last, 0xff, trace->n_files * sizeof(*last));
	for (size_t i = trace->n; i-- > 0;) {
		trace->accesses[i].next = last[trace->accesses[i].file];
		last[trace->accesses[i].file] = (uint32_t)i;
	}
	free(last);
}

/* ---- a heap of files by value, the lowest first: what the others evict from ---- */

struct heap {
	uint32_t *files, *places; /* places: of a file, plus one; 0: it is not in the heap */
	double *values;		  /* by file */
	uint32_t n;
};

static bool is_below(const struct heap *heap, uint32_t a, uint32_t b)
{
	return heap->values[heap->files[a]] < heap->values[heap->files[b]];
}

static void swap(struct heap *heap, uint32_t a, uint32_t b)
{
	uint32_t file = heap->files[a];

	heap->files[a] = heap->files[b];
	heap->files[b] = file;
	heap->places[heap->files[a]] = a + 1;
	heap->places[heap->files[b]] = b + 1;
}

static void settle(struct heap *heap, uint32_t i)
{
	while (i > 0 && is_below(heap, i, (i - 1) / 2)) {
		swap(heap, i, (i - 1) / 2);
		i = (i - 1) / 2;
	}
	for (;;) {
		uint32_t least = i;

		for (uint32_t k = 2 * i + 1; k <= 2 * i + 2 && k < heap->n; k++)
			least = is_below(heap, k, least) ? k : least;
		if (least == i)
			return;
		swap(heap, i, least);
		i = least;
	}
}

static void heap_set(struct heap *heap, uint32_t file, double value)
{
	heap->values[file] = value;
	if (!heap->places[file]) {
		heap->files[heap->n] = file;
		heap->places[file] = ++heap->n;
	}
	settle(heap, heap->places[file] - 1);
}

static uint32_t heap_take(struct heap *heap)
{
	uint32_t file = heap->files[0];

	swap(heap, 0, heap->n - 1);
	heap->n--;
	heap->places[file] = 0;
	if (heap->n)
		settle(heap, 0);
	return file;
}

/* ---- policies ---- */

enum rule { RULE_LRU, RULE_LFU, RULE_FUTURE };

static double value_by(enum rule rule, const struct trace *trace, size_t i, uint32_t uses)
{
	uint32_t next = trace->accesses[i].next;

	if (rule == RULE_LRU)
		return (double)i;
	if (rule == RULE_LFU) /* of those used as often, the one used last */
		return uses + (double)i / (double)trace->n;
	/* Farthest in the future first, and the larger ones sooner: what room they take, for how
	 * long. */
	return next == UINT32_MAX
		       ? -HUGE_VAL
		       : -((double)next - (double)i) *
				 (double)(trace->sizes[trace->accesses[i].file] + POLICY_BLOCK);
}

static uint64_t room_of(uint64_t size)
{
	return (size + POLICY_BLOCK - 1) / POLICY_BLOCK * POLICY_BLOCK + (size == 0) * POLICY_BLOCK;
}

static struct score run_rule(const struct trace *trace, uint64_t cache_bytes, enum rule rule)
{
	uint32_t *uses = must_calloc(trace->n_files, sizeof(*uses));
	struct heap heap = { .files = must_calloc(trace->n_files, sizeof(uint32_t)),
			     .places = must_calloc(trace->n_files, sizeof(uint32_t)),
			     .values = must_calloc(trace->n_files, sizeof(double)) };
	struct score score = { 0, 0 };
	uint64_t used = 0;

	for (size_t i = 0; i < trace->n; i++) {
		uint32_t file = trace->accesses[i].file;
		uint64_t room = room_of(trace->sizes[file]);

		uses[file]++;
		if (!heap.places[file] && room > cache_bytes)
			continue;
		if (heap.places[file]) {
			score.hits++;
			score.bytes += trace->sizes[file];
		} else {
			used += room;
		}
		heap_set(&heap, file, value_by(rule, trace, i, uses[file]));
		while (used > cache_bytes)
			used -= room_of(trace->sizes[heap_take(&heap)]);
	}
	free(uses);
	free(heap.files), free(heap.places), free(heap.values);
	return score;
}

static uint64_t key_of(uint32_t file)
{
	random_state = file;
	return next_random() | 1;
}

/* As fetchd does it: below the limit all go. */
static void make_room(struct policy *policy, const struct trace *trace, bool *is_here,
		      uint64_t bytes)
{
	double limit = policy_limit(policy, bytes);

	for (uint32_t file = 0; file < trace->n_files; file++) {
		if (!is_here[file] || policy_value(policy, key_of(file)) >= limit)
			continue;
		is_here[file] = false;
		policy_remove(policy, key_of(file), true);
	}
}

static struct score run_ours(const struct trace *trace, uint64_t cache_bytes)
{
	struct policy *policy = policy_new();
	bool *is_here = must_calloc(trace->n_files, sizeof(*is_here));
	struct score score = { 0, 0 };

	for (size_t i = 0; policy && i < trace->n; i++) {
		uint32_t file = trace->accesses[i].file;
		uint64_t used;

		if (is_here[file]) {
			score.hits++;
			score.bytes += trace->sizes[file];
			policy_use(policy, key_of(file), 1);
			continue;
		}
		if (room_of(trace->sizes[file]) > cache_bytes)
			continue;
		if (policy_add(policy, key_of(file), trace->sizes[file], true))
			abort();
		is_here[file] = true;
		used = policy_totals(policy).bytes;
		if (used > cache_bytes)
			make_room(policy, trace, is_here, used - cache_bytes / 100 * LOW_PERCENT);
	}
	policy_free(policy);
	free(is_here);
	return score;
}

/* ---- all of it ---- */

static void print_score(const struct trace *trace, struct score score)
{
	double bytes = 0;

	for (size_t i = 0; i < trace->n; i++)
		bytes += (double)trace->sizes[trace->accesses[i].file];
	printf("\t%.1f\t%.1f", 100.0 * (double)score.hits / (double)trace->n,
	       100.0 * (double)score.bytes / bytes);
}

/* Level: within a tenth of a percent of all opens, which is what a tie of two policies makes. */
static const char *verdict(const struct trace *trace, uint64_t ours, uint64_t others)
{
	uint64_t some = trace->n / 1000;

	return ours > others + some ? "ahead" : ours + some >= others ? "level" : "behind";
}

static bool compare(const struct trace *trace, unsigned int percent)
{
	uint64_t bytes = 0, best;
	struct score lru, lfu, future, ours;

	for (uint32_t file = 0; file < trace->n_files; file++)
		bytes += room_of(trace->sizes[file]);
	bytes = bytes / 100 * percent;
	lru = run_rule(trace, bytes, RULE_LRU);
	lfu = run_rule(trace, bytes, RULE_LFU);
	future = run_rule(trace, bytes, RULE_FUTURE);
	ours = run_ours(trace, bytes);
	printf("%s\t%u %%", trace->name, percent);
	print_score(trace, lru);
	print_score(trace, lfu);
	print_score(trace, ours);
	print_score(trace, future);
	best = lru.hits > lfu.hits ? lru.hits : lfu.hits;
	printf("\t%s\n", verdict(trace, ours.hits, best));
	return strcmp(verdict(trace, ours.hits, best), "behind") != 0;
}

static bool compare_sizes(struct trace *trace)
{
	static const unsigned int percents[] = { 2, 10, 30 };
	bool ahead = true;

	find_next_uses(trace);
	for (size_t i = 0; i < ARRAY_SIZE(percents); i++)
		ahead = compare(trace, percents[i]) && ahead;
	free(trace->accesses), free(trace->sizes);
	return ahead;
}

/* "KEY SIZE". Return: false for what is none. */
static bool parse_line(const char *line, uint64_t *key, uint64_t *size)
{
	char *end;

	errno = 0;
	*key = strtoull(line, &end, 0);
	if (errno || end == line)
		return false;
	*size = strtoull(line = end, &end, 0);
	return !errno && end != line && (*end == '\n' || !*end);
}

static int load(const char *path, struct trace *trace)
{
	cleanup_fclose FILE *file = fopen(path, "r");
	cleanup_free char *line = NULL;
	cleanup_free uint64_t *keys = NULL;
	size_t max = 0, line_size = 0;
	uint64_t key, size;

	if (!file)
		return -errno;
	while (getline(&line, &line_size, file) > 0) {
		uint32_t found = 0;

		if (!parse_line(line, &key, &size))
			return -EINVAL;
		while (found < trace->n_files && keys[found] != key)
			found++;
		if (found == trace->n_files) {
			keys = grow(keys, found, &max, sizeof(*keys));
			keys[found] = key;
			new_file(trace, size);
		}
		use_file(trace, found);
	}
	return trace->n ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*make)(struct trace *trace);
	} made[] = { { "steady", make_steady },		{ "drifting", make_drifting },
		     { "scanned", make_scanned },	{ "loop", make_loop },
		     { "containers", make_containers }, { "recent", make_recent } };
	bool ahead = true;

	puts("trace\tcache\tLRU\tbytes\tLFU\tbytes\tours\tbytes\tfuture\tbytes");
	for (int i = 1; i < argc; i++) {
		struct trace trace = { .name = argv[i] };
		int r = load(argv[i], &trace);

		if (r) {
			fprintf(stderr, "cachesim: %s: %s\n", argv[i], strerror(-r));
			return 2;
		}
		ahead = compare_sizes(&trace) && ahead;
	}
	for (size_t i = 0; argc < 2 && i < ARRAY_SIZE(made); i++) {
		struct trace trace = { .name = made[i].name };

		random_state = i + 1;
		made[i].make(&trace);
		ahead = compare_sizes(&trace) && ahead;
	}
	return ahead ? 0 : 1;
}
