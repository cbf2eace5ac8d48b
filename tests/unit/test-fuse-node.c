/* SPDX-License-Identifier: Apache-2.0 */
/* The inode table of the fuse front end, over a directory of its own. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "client/fuse-node.h"

static const char stub_text[] =
	"intinode {\"digest\":\"sha256:"
	"abababababababababababababababababababababababababababababababab\","
	"\"size\":77777,\"urls\":[]}\n";

struct fixture {
	char dir[32];
	int fd;
	struct node_table *table;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/fuse-node-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_return_code(chmod(f->dir, 0755), errno);
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(f->fd, errno);
	f->table = node_table_new(f->fd);
	assert_non_null(f->table);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	node_table_free(f->table);
	close(f->fd);
	assert_int_equal(remove_tree_at(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void put(const struct fixture *f, const char *path, const char *text)
{
	int fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static void put_dir(const struct fixture *f, const char *path)
{
	assert_return_code(mkdirat(f->fd, path, 0755), errno);
}

static struct node *get(const struct fixture *f, struct node *parent, const char *name,
			struct stat *st)
{
	struct node *node;

	assert_int_equal(node_lookup(f->table, parent, name, &node, st), 0);
	return node;
}

static void a_stub_shows_the_size_of_what_it_stands_for(void **state)
{
	struct fixture *f = *state;
	struct node *node;
	struct stat st;

	put(f, "stub", stub_text);
	node = get(f, node_root(f->table), "stub", &st);
	assert_non_null(node->stub);
	assert_int_equal(st.st_size, 77777);
	assert_int_equal(st.st_blocks, 152);
	assert_int_equal(node_stat(f->table, node, &st), 0);
	assert_int_equal(st.st_size, 77777);
}

static void what_is_almost_a_stub_keeps_its_size(void **state)
{
	char text[sizeof(stub_text) + 1];
	struct fixture *f = *state;
	struct node *node;
	struct stat st;

	snprintf(text, sizeof(text), "%s ", stub_text);
	put(f, "almost", text);
	node = get(f, node_root(f->table), "almost", &st);
	assert_null(node->stub);
	assert_int_equal(st.st_size, strlen(text));
}

static void a_stub_that_cannot_be_read_is_no_ordinary_file(void **state)
{
	struct fixture *f = *state;
	struct node *node = NULL;
	struct stat st;
	int r;

	if (geteuid())
		skip();
	put(f, "stub", stub_text);
	put(f, "large", "");
	assert_return_code(fchmodat(f->fd, "stub", 0, 0), errno);
	assert_return_code(fchmodat(f->fd, "large", 0, 0), errno);
	assert_return_code(seteuid(65534), errno);
	r = node_lookup(f->table, node_root(f->table), "stub", &node, &st);
	assert_int_equal(node_lookup(f->table, node_root(f->table), "large", &node, &st), 0);
	assert_return_code(seteuid(0), errno);
	assert_int_equal(r, -EACCES);
}

static void a_name_that_is_not_there_is_enoent(void **state)
{
	struct fixture *f = *state;
	struct node *node;
	struct stat st;

	assert_int_equal(node_lookup(f->table, node_root(f->table), "none", &node, &st), -ENOENT);
}

static void hard_links_are_one_node_and_other_files_are_not(void **state)
{
	struct fixture *f = *state;
	struct node *root = node_root(f->table), *first;
	struct stat st;

	put(f, "a", "same");
	put(f, "c", "same");
	put_dir(f, "d");
	assert_return_code(linkat(f->fd, "a", f->fd, "d/b", 0), errno);
	first = get(f, root, "a", &st);
	assert_ptr_equal(get(f, get(f, root, "d", &st), "b", &st), first);
	assert_int_equal(first->n_lookups, 2);
	assert_ptr_not_equal(get(f, root, "c", &st), first);
}

static void a_directory_under_another_name_is_another_node(void **state)
{
	struct fixture *f = *state;
	struct node *root = node_root(f->table), *first;
	struct stat st;

	put_dir(f, "a");
	first = get(f, root, "a", &st);
	assert_ptr_equal(get(f, root, "a", &st), first);
	assert_return_code(renameat(f->fd, "a", f->fd, "b"), errno);
	assert_ptr_not_equal(get(f, root, "b", &st), first);
}

static void a_forgotten_directory_stays_as_long_as_its_children(void **state)
{
	struct fixture *f = *state;
	struct node *root = node_root(f->table), *dir, *file;
	struct stat st;
	int fd;

	put_dir(f, "d");
	put(f, "d/file", "text");
	dir = get(f, root, "d", &st);
	file = get(f, dir, "file", &st);
	node_forget(f->table, dir, 1);
	assert_int_equal(root->n_children, 1);
	fd = node_open(f->table, file, O_RDONLY);
	assert_return_code(fd, -fd);
	close(fd);
	node_forget(f->table, file, 1);
	assert_int_equal(root->n_children, 0);
}

static void more_forgets_than_lookups_do_no_harm(void **state)
{
	struct fixture *f = *state;
	struct node *root = node_root(f->table);
	struct stat st;

	put(f, "a", "text");
	node_forget(f->table, get(f, root, "a", &st), UINT64_MAX);
	node_forget(f->table, root, UINT64_MAX);
	assert_int_equal(root->n_children, 0);
	get(f, root, "a", &st);
	assert_int_equal(root->n_children, 1);
}

static void thousands_of_nodes_are_found_again(void **state)
{
	enum { N = 5000 };
	struct fixture *f = *state;
	struct node *root = node_root(f->table);
	struct node **nodes = calloc(N, sizeof(struct node *));
	char name[16];
	struct stat st;

	assert_non_null(nodes);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put(f, name, "");
		nodes[i] = get(f, root, name, &st);
	}
	assert_int_equal(root->n_children, N);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_ptr_equal(get(f, root, name, &st), nodes[i]);
		node_forget(f->table, nodes[i], 2);
	}
	assert_int_equal(root->n_children, 0);
	free(nodes);
}

static void a_symbolic_link_on_the_way_is_refused(void **state)
{
	struct fixture *f = *state;
	struct node *file;
	struct stat st;
	int fd;

	put_dir(f, "d");
	put(f, "d/file", "text");
	file = get(f, get(f, node_root(f->table), "d", &st), "file", &st);
	assert_return_code(renameat(f->fd, "d", f->fd, "elsewhere"), errno);
	assert_return_code(symlinkat("elsewhere", f->fd, "d"), errno);
	fd = node_open(f->table, file, O_RDONLY);
	assert_int_equal(fd, -ELOOP);
}

static void a_path_over_path_max_opens(void **state)
{
	enum { LEVELS = 30 };
	struct fixture *f = *state;
	struct node *node = node_root(f->table);
	char name[NAME_MAX + 1], *path;
	int fd = dup(f->fd), out;
	struct stat st;

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	for (int i = 0; i < LEVELS; i++) {
		int next;

		assert_return_code(mkdirat(fd, name, 0755), errno);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_return_code(next, errno);
		close(fd);
		fd = next;
		node = get(f, node, name, &st);
	}
	out = openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_return_code(out, errno);
	close(out);
	close(fd);
	node = get(f, node, "file", &st);
	path = node_path(node);
	assert_non_null(path);
	assert_int_equal(strlen(path), LEVELS * (NAME_MAX + 1) + 4);
	free(path);
	fd = node_open(f->table, node, O_RDONLY);
	assert_return_code(fd, -fd);
	close(fd);
	assert_int_equal(node_stat(f->table, node, &st), 0);
}

#define node_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		node_test(a_stub_shows_the_size_of_what_it_stands_for),
		node_test(what_is_almost_a_stub_keeps_its_size),
		node_test(a_stub_that_cannot_be_read_is_no_ordinary_file),
		node_test(a_name_that_is_not_there_is_enoent),
		node_test(hard_links_are_one_node_and_other_files_are_not),
		node_test(a_directory_under_another_name_is_another_node),
		node_test(a_forgotten_directory_stays_as_long_as_its_children),
		node_test(more_forgets_than_lookups_do_no_harm),
		node_test(thousands_of_nodes_are_found_again),
		node_test(a_symbolic_link_on_the_way_is_refused),
		node_test(a_path_over_path_max_opens),
	};

	return cmocka_run_group_tests_name("fuse-node", tests, NULL, NULL);
}
