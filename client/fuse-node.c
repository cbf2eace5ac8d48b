/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the inode table of the fuse front end. Any thread; the table's lock guards the
 * buckets and the counts, everything else in a node never changes.
 *
 * The one hard idea: a path is never trusted to stay what it was. openat2() walks it
 * below the root without following a link or crossing a mount, in pieces where it is
 * longer than PATH_MAX.
 */
#include "client/fuse-node.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

enum { BUCKETS_MIN = 1024 }; /* a power of two, as every later number of buckets */

struct node_table {
	pthread_mutex_t lock;
	int root_fd;	       /* borrowed */
	struct node **buckets; /* owned, under lock */
	size_t n_buckets, n_nodes;
	struct node *root; /* owned; not in a bucket */
};

static size_t bucket_of(dev_t dev, ino_t ino, size_t n_buckets)
{
	uint64_t h = ((uint64_t)ino ^ ((uint64_t)dev << 40)) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 20) & (n_buckets - 1);
}

struct node_table *node_table_new(int root_fd)
{
	struct node_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	pthread_mutex_init(&table->lock, NULL);
	table->root_fd = root_fd;
	table->n_buckets = BUCKETS_MIN;
	table->buckets = calloc(BUCKETS_MIN, sizeof(*table->buckets));
	table->root = calloc(1, sizeof(*table->root) + 2);
	if (!table->buckets || !table->root) {
		node_table_free(table);
		return NULL;
	}
	table->root->name[0] = '.';
	table->root->n_lookups = 1;
	return table;
}

static void node_free(struct node *node)
{
	free(node->stub);
	free(node);
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; table->buckets && i < table->n_buckets; i++) {
		for (struct node *node = table->buckets[i], *next; node; node = next) {
			next = node->next;
			node_free(node);
		}
	}
	free(table->buckets);
	free(table->root);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

struct node *node_root(struct node_table *table)
{
	return table->root;
}

/* Twice the buckets; without memory the chains just grow longer. Under lock. */
static void grow(struct node_table *table)
{
	size_t n = table->n_buckets * 2;
	struct node **buckets = calloc(n, sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < table->n_buckets; i++) {
		for (struct node *node = table->buckets[i], *next; node; node = next) {
			size_t b = bucket_of(node->dev, node->ino, n);

			next = node->next;
			node->next = buckets[b];
			buckets[b] = node;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->n_buckets = n;
}

/*
 * A directory has one place: where the same one is seen at two (a bind mount), the kernel
 * would move the first away. So it is the same node only under the same name.
 */
static bool is_same(const struct node *node, const struct node *parent, const char *name,
		    const struct stat *st)
{
	if (node->dev != st->st_dev || node->ino != st->st_ino)
		return false;
	return !S_ISDIR(st->st_mode) || (node->parent == parent && !strcmp(node->name, name));
}

/* Under lock. */
static struct node *find(struct node_table *table, const struct node *parent, const char *name,
			 const struct stat *st)
{
	struct node *node = table->buckets[bucket_of(st->st_dev, st->st_ino, table->n_buckets)];

	while (node && !is_same(node, parent, name, st))
		node = node->next;
	if (node)
		node->n_lookups++;
	return node;
}

static struct node *node_new(struct node *parent, const char *name, const struct stat *st,
			     const struct stub *stub)
{
	size_t len = strlen(name) + 1;
	struct node *node = calloc(1, sizeof(*node) + len);

	if (!node)
		return NULL;
	memcpy(node->name, name, len);
	node->dev = st->st_dev;
	node->ino = st->st_ino;
	node->parent = parent;
	node->n_lookups = 1;
	if (stub) {
		node->stub = malloc(sizeof(*stub));
		if (!node->stub) {
			free(node);
			return NULL;
		}
		*node->stub = *stub;
	}
	return node;
}

/* @node, or the one that another thread has put there first. */
static struct node *insert(struct node_table *table, struct node *node, const struct stat *st)
{
	struct node *other;
	size_t b;

	pthread_mutex_lock(&table->lock);
	other = find(table, node->parent, node->name, st);
	if (!other) {
		if (table->n_nodes >= table->n_buckets)
			grow(table);
		b = bucket_of(node->dev, node->ino, table->n_buckets);
		node->next = table->buckets[b];
		table->buckets[b] = node;
		table->n_nodes++;
		node->parent->n_children++;
	}
	pthread_mutex_unlock(&table->lock);
	if (other)
		node_free(node);
	return other ? other : node;
}

static void show_stub(const struct node *node, struct stat *st)
{
	if (!node->stub)
		return;
	st->st_size = (off_t)node->stub->size_bytes;
	st->st_blocks = (blkcnt_t)((node->stub->size_bytes + 511) / 512);
}

int node_lookup_at(struct node_table *table, struct node *parent, int dir_fd, const char *name,
		   struct node **out, struct stat *st)
{
	struct node *node;
	struct stub stub;
	int is_stub = 0;

	if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	pthread_mutex_lock(&table->lock);
	node = find(table, parent, name, st);
	pthread_mutex_unlock(&table->lock);
	if (!node) {
		if (S_ISREG(st->st_mode))
			is_stub = stub_read_at(dir_fd, name, (uint64_t)st->st_size, &stub);
		if (is_stub < 0)
			return is_stub;
		node = node_new(parent, name, st, is_stub ? &stub : NULL);
		if (!node)
			return -ENOMEM;
		node = insert(table, node, st);
	}
	show_stub(node, st);
	*out = node;
	return 0;
}

int node_lookup(struct node_table *table, struct node *parent, const char *name, struct node **out,
		struct stat *st)
{
	cleanup_close int dir_fd = node_open(table, parent, O_PATH | O_DIRECTORY);

	if (dir_fd < 0)
		return dir_fd;
	return node_lookup_at(table, parent, dir_fd, name, out, st);
}

/* Under lock. */
static void unlink_node(struct node_table *table, struct node *node)
{
	struct node **p = &table->buckets[bucket_of(node->dev, node->ino, table->n_buckets)];

	while (*p != node)
		p = &(*p)->next;
	*p = node->next;
	table->n_nodes--;
}

void node_forget(struct node_table *table, struct node *node, uint64_t n)
{
	struct node *dead = NULL, *parent;

	pthread_mutex_lock(&table->lock);
	node->n_lookups -= n < node->n_lookups ? n : node->n_lookups;
	while (node->parent && !node->n_lookups && !node->n_children) {
		unlink_node(table, node);
		parent = node->parent;
		parent->n_children--;
		node->next = dead;
		dead = node;
		node = parent;
	}
	pthread_mutex_unlock(&table->lock);
	while (dead) {
		node = dead->next;
		node_free(dead);
		dead = node;
	}
}

char *node_path(const struct node *node)
{
	size_t len = 0;
	char *path, *p;

	for (const struct node *n = node; n->parent; n = n->parent)
		len += strlen(n->name) + 1;
	if (!len)
		return strdup(".");
	path = malloc(len);
	if (!path)
		return NULL;
	p = path + len;
	for (const struct node *n = node; n->parent; n = n->parent) {
		size_t n_len = strlen(n->name);

		*--p = n == node ? '\0' : '/';
		p -= n_len;
		memcpy(p, n->name, n_len);
	}
	return path;
}

static int open_beneath(int dir_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* A path of any length: all but the last PATH_MAX bytes are walked piece by piece. */
static int open_path(int root_fd, char *path, int flags)
{
	cleanup_close int at_fd = -1;
	int dir_fd = root_fd;
	size_t len = strlen(path);

	while (len >= PATH_MAX) {
		char *cut = path + PATH_MAX - 1;
		int fd;

		while (*cut != '/')
			cut--;
		*cut = '\0';
		fd = open_beneath(dir_fd, path, O_PATH | O_DIRECTORY);
		if (at_fd >= 0)
			close(at_fd);
		at_fd = fd;
		if (fd < 0)
			return fd;
		dir_fd = fd;
		len -= (size_t)(cut + 1 - path);
		path = cut + 1;
	}
	return open_beneath(dir_fd, path, flags);
}

int node_open(const struct node_table *table, const struct node *node, int flags)
{
	cleanup_free char *path = node_path(node);

	if (!path)
		return -ENOMEM;
	return open_path(table->root_fd, path, flags);
}

int node_open_parent(const struct node_table *table, const struct node *node)
{
	return node_open(table, node->parent ? node->parent : node, O_PATH | O_DIRECTORY);
}

int node_stat(struct node_table *table, struct node *node, struct stat *st)
{
	cleanup_close int dir_fd = node_open_parent(table, node);

	if (dir_fd < 0)
		return dir_fd;
	if (fstatat(dir_fd, node->name, st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	show_stub(node, st);
	return 0;
}
