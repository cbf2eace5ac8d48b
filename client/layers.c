/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns STATE/layers: a layer is written in a temporary directory, synced, and renamed.
 * Two processes may make the same layer; the first rename wins, the other one is dropped.
 */
#include "client/layers.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "client/dirtwin.h"
#include "client/unpack.h"
#include "lib/log.h"

#define TEMP_PREFIX "tmp-"

struct draft {
	struct host *host;
	char name[64];
	int fd, tree_fd; /* owned */
	struct tree *tree;
};

/* What a process that is gone has left behind. */
static void sweep_drafts(struct host *host)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;

	if (open_dir_at(host->layers_fd, ".", &dir))
		return;
	while ((entry = readdir(dir))) {
		long pid;

		if (strncmp(entry->d_name, TEMP_PREFIX, strlen(TEMP_PREFIX)))
			continue;
		pid = strtol(entry->d_name + strlen(TEMP_PREFIX), NULL, 10);
		if (pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH &&
		    remove_tree_at(host->layers_fd, entry->d_name))
			log_warning("%s/layers/%s cannot be removed", host->state, entry->d_name);
	}
}

static int draft_begin(struct host *host, enum tree_kind kind, struct draft *draft)
{
	static unsigned int serial;
	int r;

	*draft = (struct draft){ .host = host, .fd = -1, .tree_fd = -1 };
	snprintf(draft->name, sizeof(draft->name), TEMP_PREFIX "%d-%u", (int)getpid(), serial++);
	/* Left by a process that had our number. */
	r = remove_tree_at(host->layers_fd, draft->name);
	if (r)
		return r;
	if (mkdirat(host->layers_fd, draft->name, 0755))
		return -errno;
	draft->fd = openat(host->layers_fd, draft->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (draft->fd < 0 || mkdirat(draft->fd, "tree", 0755))
		return -errno;
	draft->tree_fd = openat(draft->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (draft->tree_fd < 0)
		return -errno;
	draft->tree = tree_new(draft->tree_fd, kind);
	return draft->tree ? 0 : -ENOMEM;
}

/* Ends a draft: with @error 0 it becomes @name, else it is removed. */
static int draft_end(struct draft *draft, const char *name, int error, struct problem *problem)
{
	int r = error;

	if (!r)
		r = tree_finish(draft->tree, problem);
	if (!r) {
		r = tree_write_tables(draft->tree, draft->fd);
		if (!r && syncfs(draft->fd))
			r = -errno;
		if (!r &&
		    renameat(draft->host->layers_fd, draft->name, draft->host->layers_fd, name) &&
		    errno != EEXIST && errno != ENOTEMPTY)
			r = -errno;
		if (!r && fsync(draft->host->layers_fd))
			r = -errno;
		if (r)
			problem_set(problem, r, "%s/layers/%s: %s", draft->host->state, name,
				    strerror(-r));
	}
	tree_free(draft->tree);
	if (draft->tree_fd >= 0)
		close(draft->tree_fd);
	if (draft->fd >= 0)
		close(draft->fd);
	/* Gone already where the rename worked. */
	if (remove_tree_at(draft->host->layers_fd, draft->name))
		log_warning("%s/layers/%s cannot be removed", draft->host->state, draft->name);
	return r;
}

static bool have(struct host *host, const char *name)
{
	return !faccessat(host->layers_fd, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

int layers_chain(const struct digest *below, const struct digest *layer, struct digest *out)
{
	char a[DIGEST_TEXT_SIZE], b[DIGEST_TEXT_SIZE], both[2 * DIGEST_TEXT_SIZE];
	int n;

	if (!below) {
		*out = *layer;
		return 0;
	}
	n = snprintf(both, sizeof(both), "%s %s", digest_format(below, a), digest_format(layer, b));
	return digest_compute(DIGEST_SHA256, both, (size_t)n, out);
}

static char *twin_name(const struct digest *chain)
{
	char hex[DIGEST_TEXT_SIZE];

	return format_text("%s.twin", digest_format_hex(chain, hex));
}

bool layers_have_twin(struct host *host, const struct digest *chain, char **name)
{
	cleanup_free char *wanted = twin_name(chain);

	if (!wanted || !have(host, wanted))
		return false;
	*name = steal_ptr(wanted);
	return true;
}

static int begin_failed(struct host *host, int error, struct problem *problem)
{
	return problem_set(problem, error, "%s/layers: %s", host->state, strerror(-error));
}

int layers_make_twin(struct host *host, struct image_store *store,
		     const struct oci_descriptor *layer, const struct digest *chain,
		     const json_t *lower, layers_progress progress, void *context, char **name,
		     struct problem *problem)
{
	cleanup_free char *wanted = twin_name(chain);
	struct draft draft;
	int r;

	if (!wanted)
		return -ENOMEM;
	sweep_drafts(host);
	r = draft_begin(host, TREE_TWIN, &draft);
	if (r) {
		begin_failed(host, r, problem);
	} else {
		tree_set_lower(draft.tree, host->layers_fd, lower);
		tree_begin_layer(draft.tree);
		r = unpack_layer(store, layer, draft.tree, progress, context, problem);
	}
	r = draft_end(&draft, wanted, r, problem);
	if (!r)
		*name = steal_ptr(wanted);
	return r;
}

int layers_make_merged(struct host *host, struct image_store *store, const struct digest *manifest,
		       const struct oci_document *document, layers_progress progress, void *context,
		       char **name, struct problem *problem)
{
	char hex[DIGEST_TEXT_SIZE];
	cleanup_free char *wanted = format_text("%s.stubs", digest_format_hex(manifest, hex));
	struct draft draft;
	int r;

	if (!wanted)
		return -ENOMEM;
	if (!have(host, wanted)) {
		sweep_drafts(host);
		r = draft_begin(host, TREE_STUBS, &draft);
		if (r)
			begin_failed(host, r, problem);
		for (size_t i = 0; !r && i < document->n_entries; i++) {
			tree_begin_layer(draft.tree);
			r = unpack_layer(store, &document->entries[i], draft.tree, progress,
					 context, problem);
		}
		r = draft_end(&draft, wanted, r, problem);
		if (r)
			return r;
	}
	*name = steal_ptr(wanted);
	return 0;
}

int layers_make_dir_twin(struct host *host, const char *path, char **name, struct problem *problem)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *wanted = NULL;
	char hex[DIGEST_TEXT_SIZE];
	struct digest fingerprint;
	struct draft draft;
	int r;

	if (fd < 0)
		return problem_set(problem, -errno, "%s: %s", path, strerror(errno));
	r = dirtwin_fingerprint(fd, &fingerprint, problem);
	if (r)
		return r;
	wanted = format_text("dir-%.32s.twin", digest_format_hex(&fingerprint, hex));
	if (!wanted)
		return -ENOMEM;
	if (!have(host, wanted)) {
		sweep_drafts(host);
		r = draft_begin(host, TREE_TWIN, &draft);
		if (r)
			begin_failed(host, r, problem);
		else
			r = dirtwin_make(fd, draft.tree_fd, draft.tree, problem);
		r = draft_end(&draft, wanted, r, problem);
		if (r)
			return r;
	}
	*name = steal_ptr(wanted);
	return 0;
}
