/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the walk over STORE/repositories, and what is said of the names themselves and of links
 * to blobs. Manifests come first, so that it is known which links they need.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "server/fsck-internal.h"

static const struct {
	const char *name;
	enum store_kind kind;
} kinds[] = {
	{ "_manifests", STORE_MANIFESTS },
	{ "_layers", STORE_LAYERS },
	{ "_tags", STORE_TAGS },
};

static const char *kind_name(enum store_kind kind)
{
	size_t i = 0;

	while (kinds[i].kind != kind)
		i++;
	return kinds[i].name;
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static int stray(struct fsck_repository *repository, int dirfd, const char *where, const char *name,
		 const char *text)
{
	cleanup_free char *label = format_text("%s+%s+%s", repository->name, where, name);
	int r = label ? fsck_quarantine(repository->fsck, dirfd, name, label) : -ENOMEM;

	return r == -ENOENT
		       ? 0
		       : fsck_found(repository->fsck, "stray", repository->name, name, r, text);
}

/* A link to a blob. */
static int check_layer(struct fsck_repository *repository, const struct digest *digest)
{
	struct fsck *fsck = repository->fsck;
	struct store *store = fsck->store;
	char text[DIGEST_TEXT_SIZE];
	int64_t before_s = fsck->options->live ? store_now() - store->lease_s : INT64_MAX;
	int r = store_has_blob(store, digest);

	fsck->report->n_links++;
	if (r)
		return r < 0 ? r : 0;
	r = store_has_link(store, repository->name, STORE_LAYERS, digest);
	if (r <= 0)
		return r;
	r = -EAGAIN;
	digest_format(digest, text);
	if (repository->unreadable || digest_set_has(&repository->named, digest))
		return fsck_found(fsck, "missing-content", repository->name, text, r,
				  "a manifest names this blob, and its content is not there; push "
				  "it again to any repository");
	if (fsck->options->repair) {
		r = store_remove_idle_link(store, repository->name, STORE_LAYERS, digest, before_s);
		if (!r)
			r = store_sync_links(store, repository->name, STORE_LAYERS);
	}
	if (r == -ENOENT)
		return 0;
	return fsck_found(fsck, "dangling-link", repository->name, text, r == -EBUSY ? -EAGAIN : r,
			  r == -EBUSY ? "the content of this blob is not there; the link goes when "
					"its lease has run out"
				      : "the content of this blob is not there, and no manifest "
					"names it");
}

static int check_entry(struct fsck_repository *repository, enum store_kind kind, int dirfd,
		       const char *name)
{
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	size_t len = strlen(name);
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode))
		return stray(repository, dirfd, kind_name(kind), name,
			     "a link or a tag is a plain file, and this is none");
	if (kind == STORE_TAGS && tag_is_valid(name, len))
		return fsck_tag(repository, dirfd, name);
	if (kind != STORE_TAGS && len > 6 && len < sizeof(text) && name[6] == '-') {
		memcpy(text, name, len + 1);
		text[6] = ':';
		if (!digest_parse(text, len, &digest))
			return kind == STORE_LAYERS
				       ? check_layer(repository, &digest)
				       : fsck_manifest(repository, dirfd, name, &digest);
	}
	return stray(repository, dirfd, kind_name(kind), name, "no link or tag is named like this");
}

static int check_kind(struct fsck_repository *repository, int repository_fd, size_t i)
{
	struct fsck *fsck = repository->fsck;
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(repository_fd, kinds[i].name, &dir);

	if (r == -ENOENT) { /* said before */
		repository->unreadable = true;
		return 0;
	}
	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		/* Names with a dot in front are being written, or were when there was a crash. */
		if (entry->d_name[0] == '.')
			continue;
		r = fsck_tick(fsck, "links",
			      fsck->report->n_links + fsck->report->n_manifests +
				      fsck->report->n_tags);
		if (!r)
			r = check_entry(repository, kinds[i].kind, dirfd(dir), entry->d_name);
	}
	return r;
}

/* Is there a name in it? Return: 1, 0, -ENOENT: not even the directory; -errno. */
static int has_name(int repository_fd, const char *kind)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(repository_fd, kind, &dir);

	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		if (entry->d_name[0] != '.')
			return 1;
	}
	return r;
}

/* What lacks a directory and has no names is one whose creation ended early: the next push goes on.
 */
static int check_directories(struct fsck_repository *repository, int repository_fd)
{
	struct fsck *fsck = repository->fsck;
	const char *lost = NULL;
	bool has_names = false;
	int r = -EAGAIN;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int found = has_name(repository_fd, kinds[i].name);

		if (found == -ENOENT)
			lost = kinds[i].name;
		else if (found < 0)
			return found;
		has_names |= found == 1;
	}
	if (!lost || !has_names)
		return 0;
	repository->unreadable = true; /* until the next check, also when it is made again now */
	if (fsck->options->repair) {
		store_lock_repository(fsck->store, repository->name);
		r = store_make_repository(fsck->store, repository->name);
		store_unlock_repository(fsck->store, repository->name);
		fsck->index_stale = true;
	}
	return fsck_found(fsck, "lost-directory", repository->name, lost, r > 0 ? 0 : r,
			  "the repository lost this directory and what was in it; links come back "
			  "by pushes, those of tagged manifests by --repair");
}

static int check_repository(struct fsck_repository *repository, int parent_fd, const char *name)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(parent_fd, name, &dir);

	if (r == -ENOENT)
		return 0;
	repository->fsck->report->n_repositories++;
	/* Names of later versions start with "_", too. */
	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		if (!is_dot(entry->d_name) && entry->d_name[0] != '_')
			r = stray(repository, dirfd(dir), "", entry->d_name,
				  "nothing in a repository is named like this");
	}
	if (!r)
		r = check_directories(repository, dirfd(dir));
	for (size_t i = 0; !r && i < ARRAY_SIZE(kinds); i++)
		r = check_kind(repository, dirfd(dir), i);
	return r;
}

static int check_directory(struct fsck *fsck, int dirfd, const char *name)
{
	struct fsck_repository repository = { .fsck = fsck };
	size_t len = strlen(name);
	struct stat st;
	int r;

	if (len <= REPOSITORY_MAX) {
		for (size_t i = 0; i < len; i++)
			repository.name[i] = name[i] == '+' ? '/' : name[i];
	}
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode) && repository_is_valid(repository.name, strlen(repository.name))) {
		r = check_repository(&repository, dirfd, name);
		digest_set_deinit(&repository.named);
		return r;
	}
	r = fsck_quarantine(fsck, dirfd, name, name);
	return r == -ENOENT ? 0
			    : fsck_found(fsck, "stray", NULL, name, r,
					 "no repository is named like this");
}

int fsck_repositories(struct fsck *fsck)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(fsck->store->repositories_fd, ".", &dir);

	while (!r && !(r = next_entry(dir, &entry)) && entry) {
		if (!is_dot(entry->d_name))
			r = check_directory(fsck, dirfd(dir), entry->d_name);
	}
	return r;
}
