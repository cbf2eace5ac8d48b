/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns STORE/repositories: small synced files that say which blobs, manifests and tags a
 * repository has. Links are created and removed, never changed; a tag is the one thing
 * that is replaced.
 */
#include "server/store.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/reference.h"
#include "server/quota.h"

enum {
	LINK_TEXT_MAX = 4096, /* a media type and a digest */
	LINK_TRIES = 10,      /* when the collection takes it away again */
	TEMP_TRIES = 10000,   /* more than a crash leaves */
	TEMP_NAME_SIZE = 48,
	/* NAME "/_manifests/" "sha512-" 128 hex, or a tag of 128 */
	LINK_PATH_SIZE = REPOSITORY_MAX + 16 + DIGEST_TEXT_SIZE,
};

#define TEMP_PREFIX ".new-"

static const char *const kind_names[] = {
	[STORE_LAYERS] = "_layers",
	[STORE_MANIFESTS] = "_manifests",
	[STORE_TAGS] = "_tags",
};

/* "+" is in no repository name, so the way back is unambiguous. */
static void encode_name(const char *repository, char out[static REPOSITORY_MAX + 1])
{
	size_t i;

	for (i = 0; i < REPOSITORY_MAX && repository[i]; i++)
		out[i] = repository[i] == '/' ? '+' : repository[i];
	out[i] = '\0';
}

static void dir_path(const char *repository, enum store_kind kind, char out[static LINK_PATH_SIZE])
{
	char name[REPOSITORY_MAX + 1];

	encode_name(repository, name);
	snprintf(out, LINK_PATH_SIZE, "%s/%s", name, kind_names[kind]);
}

static void link_name(const struct digest *digest, char out[static DIGEST_TEXT_SIZE])
{
	digest_format(digest, out);
	out[strlen("sha256")] = '-';
}

static void link_path(const char *repository, enum store_kind kind, const struct digest *digest,
		      char out[static LINK_PATH_SIZE])
{
	char name[DIGEST_TEXT_SIZE];
	size_t len;

	dir_path(repository, kind, out);
	link_name(digest, name);
	len = strlen(out);
	snprintf(out + len, LINK_PATH_SIZE - len, "/%s", name);
}

int store_has_repository(const struct store *store, const char *repository)
{
	char path[LINK_PATH_SIZE];

	dir_path(repository, STORE_TAGS, path);
	return store_exists(store->repositories_fd, path);
}

int store_has_link(const struct store *store, const char *repository, enum store_kind kind,
		   const struct digest *digest)
{
	char path[LINK_PATH_SIZE];

	link_path(repository, kind, digest, path);
	return store_exists(store->repositories_fd, path);
}

/* _tags comes last: store_has_repository() looks for it. */
int store_make_repository(struct store *store, const char *repository)
{
	char name[REPOSITORY_MAX + 1], path[LINK_PATH_SIZE];
	bool made = false;
	int r;

	encode_name(repository, name);
	if (mkdirat(store->repositories_fd, name, 0755) && errno != EEXIST)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++) {
		dir_path(repository, (enum store_kind)i, path);
		if (!mkdirat(store->repositories_fd, path, 0755))
			made = true;
		else if (errno != EEXIST)
			return -errno;
	}
	if (!made)
		return 0;
	r = store_sync_dir(store->repositories_fd, name);
	if (!r)
		r = store_sync_dir(store->repositories_fd, ".");
	/* Or the next one would build on what is perhaps not on disk. */
	if (r && unlinkat(store->repositories_fd, path, AT_REMOVEDIR))
		return r;
	return r ? r : 1;
}

int store_create_repository(struct store *store, const char *repository)
{
	int r;

	/* Under the lock, so that nobody builds on a directory that is not synced yet. */
	store_lock_repository(store, repository);
	r = store_has_repository(store, repository);
	if (!r)
		r = store_make_repository(store, repository);
	store_unlock_repository(store, repository);
	return r < 0 ? r : 0;
}

/* Of a name that nobody has: a process of the same number may have left some in a crash. */
static int create_temp(int dirfd, char name[static TEMP_NAME_SIZE])
{
	static atomic_uint serial;
	int fd = -EEXIST;

	for (unsigned int i = 0; fd == -EEXIST && i < TEMP_TRIES; i++) {
		snprintf(name, TEMP_NAME_SIZE, TEMP_PREFIX "%d-%u", (int)getpid(), serial++);
		fd = store_openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
	}
	return fd;
}

/*
 * A file of its own name with @bytes, synced. With @replace it takes the place of what is
 * there; else an existing file stays. The temporary name starts with a dot, as no tag and
 * no link can.
 */
static int write_file(int dirfd, const char *name, const char *bytes, size_t len, bool replace)
{
	char temp[TEMP_NAME_SIZE];
	int r, fd = create_temp(dirfd, temp);

	if (fd < 0)
		return fd;
	r = write_all(fd, bytes, len);
	if (!r && fsync(fd))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	if (!r && replace)
		r = renameat(dirfd, temp, dirfd, name) ? -errno : 0;
	else if (!r && linkat(dirfd, temp, dirfd, name, 0) && errno != EEXIST)
		r = -errno;
	if (r || !replace)
		unlinkat(dirfd, temp, 0);
	if (r)
		return r;
	return fsync(dirfd) ? -errno : 0;
}

static pthread_mutex_t *link_lock(struct store *store, const struct digest *digest)
{
	return &store->link_locks[digest->bytes[2] % ARRAY_SIZE(store->link_locks)];
}

/*
 * A link that is there gets a new lease.
 * @changes: the repository to which that is a change; may be NULL.
 * Return: 0, -ENOENT or -errno.
 */
static int renew(struct store *store, const char *path, const struct digest *digest, bool durably,
		 const char *changes)
{
	cleanup_close int fd = -1;
	struct stat st;
	int r = 0;

	if (fstatat(store->repositories_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (store_now() - st.st_mtim.tv_sec < store->lease_s / 2)
		return 0;
	if (changes)
		store_note_change(store, changes);
	pthread_mutex_lock(link_lock(store, digest));
	/* Looked at again: the collection may have been faster. */
	if (utimensat(store->repositories_fd, path, NULL, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	pthread_mutex_unlock(link_lock(store, digest));
	if (changes)
		store_note_change(store, changes);
	if (r || !durably)
		return r;
	fd = store_openat(store->repositories_fd, path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	return fsync(fd) ? -errno : 0;
}

int store_renew_link(struct store *store, const char *repository, enum store_kind kind,
		     const struct digest *digest)
{
	char path[LINK_PATH_SIZE];

	link_path(repository, kind, digest, path);
	return renew(store, path, digest, false, kind == STORE_MANIFESTS ? repository : NULL);
}

int store_offer_link(struct store *store, const char *repository, enum store_kind kind,
		     const struct digest *digest)
{
	int r = store_renew_link(store, repository, kind, digest);

	if (!r || r == -ENOENT)
		return r;
	store_note_failure(store, r);
	return store_is_read_only(store) ? 0 : r;
}

/* @came: it was not there before. */
static int create_link(int dirfd, const char *name, const char *bytes, size_t len, bool *came)
{
	int fd;

	if (len) {
		*came |= !store_exists(dirfd, name); /* under the repository's lock */
		return write_file(dirfd, name, bytes, len, false);
	}
	fd = store_openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
	*came |= fd >= 0;
	if (fd == -EEXIST)
		fd = store_openat(dirfd, name, O_WRONLY | O_CREAT, 0644);
	if (fd < 0)
		return fd;
	close(fd);
	return fsync(dirfd) ? -errno : 0;
}

int store_add_link(struct store *store, const char *repository, enum store_kind kind,
		   const struct digest *digest, const char *bytes, size_t len)
{
	char path[LINK_PATH_SIZE], name[DIGEST_TEXT_SIZE];
	cleanup_close int dirfd = -1;
	bool came = false;
	int r = -ENOENT;

	dir_path(repository, kind, path);
	dirfd = store_openat(store->repositories_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	if (kind == STORE_MANIFESTS)
		store_note_change(store, repository);
	link_name(digest, name);
	link_path(repository, kind, digest, path);
	for (unsigned int i = 0; r == -ENOENT && i < LINK_TRIES; i++) {
		r = create_link(dirfd, name, bytes, len, &came);
		if (!r)
			r = renew(store, path, digest, true, NULL);
	}
	if (came) /* also when it is not on disk for sure */
		quota_note_link(store->quotas, repository, digest, true);
	return r;
}

int store_replace_link(struct store *store, const char *repository, enum store_kind kind,
		       const struct digest *digest, const char *bytes, size_t len)
{
	char path[LINK_PATH_SIZE], name[DIGEST_TEXT_SIZE];
	cleanup_close int dirfd = -1;

	dir_path(repository, kind, path);
	dirfd = store_openat(store->repositories_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	link_name(digest, name);
	return write_file(dirfd, name, bytes, len, true);
}

int store_link_is_idle(const struct store *store, const char *repository, enum store_kind kind,
		       const struct digest *digest, int64_t before_s)
{
	char path[LINK_PATH_SIZE];
	struct stat st;

	link_path(repository, kind, digest, path);
	if (fstatat(store->repositories_fd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return st.st_mtim.tv_sec < before_s ? 0 : -EBUSY;
}

int store_remove_idle_link(struct store *store, const char *repository, enum store_kind kind,
			   const struct digest *digest, int64_t before_s)
{
	char path[LINK_PATH_SIZE];
	int r;

	link_path(repository, kind, digest, path);
	pthread_mutex_lock(link_lock(store, digest));
	r = store_link_is_idle(store, repository, kind, digest, before_s);
	if (!r && unlinkat(store->repositories_fd, path, 0))
		r = -errno;
	if (!r)
		store_note_removal(store, digest);
	pthread_mutex_unlock(link_lock(store, digest));
	if (!r)
		quota_note_link(store->quotas, repository, digest, false);
	return r;
}

int store_sync_links(struct store *store, const char *repository, enum store_kind kind)
{
	char path[LINK_PATH_SIZE];

	dir_path(repository, kind, path);
	return store_sync_dir(store->repositories_fd, path);
}

static int remove_path(struct store *store, const char *repository, enum store_kind kind,
		       const char *path, bool *went)
{
	char dir[LINK_PATH_SIZE];
	int r = unlinkat(store->repositories_fd, path, 0) ? -errno : 0, synced;

	*went = !r;
	if (r && r != -ENOTDIR && r != -ENOENT)
		return r;
	/* Also when it is gone: an earlier removal may have failed at this very step. */
	dir_path(repository, kind, dir);
	synced = store_sync_dir(store->repositories_fd, dir);
	if (synced == -ENOENT || synced == -ENOTDIR)
		synced = -ENOENT;
	return synced ? synced : r ? -ENOENT : 0;
}

int store_remove_link(struct store *store, const char *repository, enum store_kind kind,
		      const struct digest *digest)
{
	char path[LINK_PATH_SIZE];
	bool went;
	int r;

	link_path(repository, kind, digest, path);
	r = remove_path(store, repository, kind, path, &went);
	store_note_removal(store, digest);
	if (went)
		quota_note_link(store->quotas, repository, digest, false);
	return r;
}

static int read_text(const struct store *store, const char *path, char **out)
{
	cleanup_close int fd = store_openat(store->repositories_fd, path, O_RDONLY | O_NOFOLLOW, 0);
	cleanup_free char *text = NULL;
	ssize_t n;

	if (fd < 0)
		return fd;
	text = malloc(LINK_TEXT_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = read_full(fd, text, LINK_TEXT_MAX);
	if (n < 0)
		return (int)n;
	if (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	*out = steal_ptr(text);
	return 0;
}

int store_read_link(const struct store *store, const char *repository, enum store_kind kind,
		    const struct digest *digest, char **out)
{
	char path[LINK_PATH_SIZE];

	link_path(repository, kind, digest, path);
	return read_text(store, path, out);
}

static void tag_path(const char *repository, const char *tag, char out[static LINK_PATH_SIZE])
{
	size_t len;

	dir_path(repository, STORE_TAGS, out);
	len = strlen(out);
	snprintf(out + len, LINK_PATH_SIZE - len, "/%s", tag);
}

int store_set_tag(struct store *store, const char *repository, const char *tag,
		  const struct digest *digest)
{
	char path[LINK_PATH_SIZE], text[DIGEST_TEXT_SIZE + 1];
	cleanup_close int dirfd = -1;
	size_t len;

	dir_path(repository, STORE_TAGS, path);
	dirfd = store_openat(store->repositories_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd;
	store_note_change(store, repository);
	digest_format(digest, text);
	len = strlen(text);
	text[len++] = '\n';
	return write_file(dirfd, tag, text, len, true);
}

int store_get_tag(const struct store *store, const char *repository, const char *tag,
		  struct digest *out)
{
	char path[LINK_PATH_SIZE];
	cleanup_free char *text = NULL;
	int r;

	tag_path(repository, tag, path);
	r = read_text(store, path, &text);
	if (r)
		return r;
	return digest_parse(text, strlen(text), out) ? -EBADMSG : 0;
}

int store_remove_tag(struct store *store, const char *repository, const char *tag)
{
	char path[LINK_PATH_SIZE];
	bool went;

	tag_path(repository, tag, path);
	store_note_change(store, repository);
	return remove_path(store, repository, STORE_TAGS, path, &went);
}

int store_open_links(const struct store *store, const char *repository, enum store_kind kind,
		     DIR **out)
{
	char path[LINK_PATH_SIZE];
	int fd;

	dir_path(repository, kind, path);
	fd = store_openat(store->repositories_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	*out = fdopendir(fd);
	if (!*out) {
		close(fd);
		return -ENOMEM;
	}
	return 0;
}

void store_sweep_links(struct store *store, const char *repository)
{
	static const enum store_kind kinds[] = { STORE_MANIFESTS, STORE_TAGS };

	store_lock_repository(store, repository); /* nobody is writing such a file now */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		cleanup_closedir DIR *dir = NULL;
		struct dirent *entry;

		if (store_open_links(store, repository, kinds[i], &dir))
			continue;
		while (!next_entry(dir, &entry) && entry) {
			if (!strncmp(entry->d_name, TEMP_PREFIX, strlen(TEMP_PREFIX)))
				unlinkat(dirfd(dir), entry->d_name, 0);
		}
	}
	store_unlock_repository(store, repository);
}
