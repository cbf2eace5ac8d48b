/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the way from a layer's bytes to tree entries.
 *
 * A transfer pushes bytes and libarchive pulls them: a pipe and a thread in between. The
 * transfer's verdict (digest, size) comes after the last entry and goes ahead of everything
 * the archive seemed to say.
 */
#include "client/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/log.h"

enum {
	BLOCK_BYTES = 128 * 1024,
	PIPE_BYTES = 1024 * 1024,
	XATTRS_MAX = 1024,
	NAMES_MAX_BYTES = 256 * 1024, /* a group comes with the names of all its members */
	ENTRIES_MAX = 50 * 1000 * 1000,
	/* What a layer may become: so many times its size, and so much more. */
	RATIO_MAX = 200,
	EXTRA_BYTES = 64 * 1024 * 1024,
};

struct transfer {
	struct image_store *store;
	const struct oci_descriptor *layer;
	int write_fd;
	void (*progress)(void *context, int64_t bytes);
	void *context;
	bool reader_gone;
	atomic_bool failed; /* the reader gave up: no use to transfer the rest */
	int result;
	struct problem problem;
};

static int on_bytes(void *context, const void *bytes, size_t len)
{
	struct transfer *transfer = context;
	int r = 0;

	/* Behind the archive's end the rest still counts for the digest. */
	if (!transfer->reader_gone)
		r = write_all(transfer->write_fd, bytes, len);
	if (r == -EPIPE) {
		transfer->reader_gone = true;
		r = transfer->failed ? -ECANCELED : 0;
	}
	if (transfer->progress)
		transfer->progress(transfer->context, (int64_t)len);
	return r;
}

static void *run_transfer(void *context)
{
	struct transfer *transfer = context;

	transfer->result = image_get_blob(transfer->store, &transfer->layer->digest,
					  transfer->layer->size_bytes, on_bytes, transfer,
					  &transfer->problem);
	close(steal_fd(&transfer->write_fd));
	return NULL;
}

/* ---- entries ---- */

struct reader {
	struct archive *archive;
	int64_t max_bytes; /* uncompressed */
	bool too_much;
};

static int archive_failure(struct archive *archive)
{
	int error = archive_errno(archive);

	/* The library's own codes (EFTYPE as 79, ARCHIVE_ERRNO_MISC as -1) mean a bad archive. */
	return error == ENOMEM ? -ENOMEM : -EBADMSG;
}

/* A small layer must not fill the disk, or keep us busy for hours. */
static int check_amount(struct reader *reader)
{
	reader->too_much = archive_filter_bytes(reader->archive, 0) > reader->max_bytes;
	return reader->too_much ? -EFBIG : 0;
}

static int read_data(void *context, const void **bytes, size_t *len, off_t *off)
{
	struct reader *reader = context;
	la_int64_t offset;
	int r = check_amount(reader);

	if (r)
		return r;
	r = archive_read_data_block(reader->archive, bytes, len, &offset);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r < ARCHIVE_WARN)
		return archive_failure(reader->archive);
	*off = (off_t)offset;
	return 1;
}

/* Extended attributes point into the archive entry. */
static int collect_xattrs(struct archive_entry *from, struct tree_xattr **out, size_t *n)
{
	int count = archive_entry_xattr_reset(from);
	struct tree_xattr *xattrs;

	*n = 0;
	if (count <= 0)
		return 0;
	if (count > XATTRS_MAX)
		return -E2BIG;
	xattrs = calloc((size_t)count, sizeof(*xattrs));
	if (!xattrs)
		return -ENOMEM;
	while (*n < (size_t)count &&
	       archive_entry_xattr_next(from, &xattrs[*n].name, &xattrs[*n].value,
					&xattrs[*n].size) == ARCHIVE_OK)
		(*n)++;
	*out = xattrs;
	return 0;
}

/* The number that this host knows a name by, or -1. */
static int find_id(int tag, const char *name)
{
	cleanup_free char *buffer = malloc(NAMES_MAX_BYTES);
	struct passwd user, *known_user = NULL;
	struct group group, *known_group = NULL;

	if (!buffer)
		return -1;
	if (tag == ARCHIVE_ENTRY_ACL_USER) {
		if (getpwnam_r(name, &user, buffer, NAMES_MAX_BYTES, &known_user) || !known_user)
			return -1;
		return (int)known_user->pw_uid;
	}
	if (getgrnam_r(name, &group, buffer, NAMES_MAX_BYTES, &known_group) || !known_group)
		return -1;
	return (int)known_group->gr_gid;
}

/*
 * Who an entry is for, by number. Where a layer has only a name, it is the number that this
 * host knows, as with tar(1). Return: 0 or -EINVAL.
 */
static int acl_qualifier(int tag, int id, const char *name, char *out, size_t size)
{
	out[0] = '\0';
	if (tag != ARCHIVE_ENTRY_ACL_USER && tag != ARCHIVE_ENTRY_ACL_GROUP)
		return 0;
	if (id == -1 && name)
		id = find_id(tag, name);
	snprintf(out, size, "%u", (unsigned int)id);
	return id == -1 ? -EINVAL : 0;
}

/* "u:1000:rw-" */
static int append_acl_entry(FILE *out, int tag, int id, const char *name, int permset)
{
	char who[16], kind;
	int r = acl_qualifier(tag, id, name, who, sizeof(who));

	if (tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_USER_OBJ)
		kind = 'u';
	else if (tag == ARCHIVE_ENTRY_ACL_GROUP || tag == ARCHIVE_ENTRY_ACL_GROUP_OBJ)
		kind = 'g';
	else
		kind = tag == ARCHIVE_ENTRY_ACL_MASK ? 'm' : 'o';
	fprintf(out, "%c:%s:%c%c%c\n", kind, who, permset & ARCHIVE_ENTRY_ACL_READ ? 'r' : '-',
		permset & ARCHIVE_ENTRY_ACL_WRITE ? 'w' : '-',
		permset & ARCHIVE_ENTRY_ACL_EXECUTE ? 'x' : '-');
	return r;
}

/* Text as acl_from_text(3) takes it; NULL where there is no ACL of this @wanted type. */
static int collect_acl(struct archive_entry *from, int wanted, char **out)
{
	int type, permset, tag, id, r = 0;
	const char *name;
	size_t size;
	FILE *text;

	if (!(archive_entry_acl_types(from) & wanted))
		return 0;
	text = open_memstream(out, &size);
	if (!text)
		return -ENOMEM;
	archive_entry_acl_reset(from, wanted);
	while (!r && archive_entry_acl_next(from, wanted, &type, &permset, &tag, &id, &name) ==
			     ARCHIVE_OK)
		r = append_acl_entry(text, tag, id, name, permset);
	return fclose(text) && !r ? -ENOMEM : r;
}

/* Content that nobody wanted, as of a hard link: the library would skip it in one go. */
static int skip_data(struct reader *reader)
{
	const void *bytes;
	size_t len;
	off_t off;
	int r;

	do {
		r = read_data(reader, &bytes, &len, &off);
	} while (r > 0);
	return r;
}

static int add_entry(struct reader *reader, struct archive_entry *from, struct tree *tree,
		     struct problem *problem)
{
	cleanup_free struct tree_xattr *xattrs = NULL;
	cleanup_free char *access = NULL, *defaults = NULL;
	struct tree_entry entry = {
		.path = archive_entry_pathname(from),
		.st = *archive_entry_stat(from),
		.link_target = archive_entry_symlink(from),
		.hardlink = archive_entry_hardlink(from),
		.read = read_data,
		.context = reader,
	};
	char shown[512];
	int r;

	if (!entry.path || (S_ISLNK(entry.st.st_mode) && !entry.hardlink && !entry.link_target))
		return problem_set(problem, -EBADMSG, "an entry has a name that cannot be read");
	r = collect_xattrs(from, &xattrs, &entry.n_xattrs);
	if (r)
		return problem_set(problem, r, "entry with more than %d attributes", XATTRS_MAX);
	entry.xattrs = xattrs;
	r = collect_acl(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, &access);
	if (!r)
		r = collect_acl(from, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, &defaults);
	if (r) {
		log_escape(shown, sizeof(shown), entry.path, strlen(entry.path));
		return problem_set(
			problem, r,
			"entry '%s': its ACL names a user or group that has no number here", shown);
	}
	entry.acl_access = access;
	entry.acl_default = defaults;
	return tree_add(tree, &entry, problem);
}

static int read_entries(struct reader *reader, struct tree *tree, struct problem *problem)
{
	struct archive *archive = reader->archive;
	struct archive_entry *entry;
	int r;

	for (unsigned int n = 0; n < ENTRIES_MAX; n++) {
		r = archive_read_next_header(archive, &entry);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return problem_set(problem, archive_failure(archive), "broken tar: %s",
					   archive_error_string(archive));
		r = check_amount(reader);
		if (!r)
			r = add_entry(reader, entry, tree, problem);
		if (!r)
			r = skip_data(reader);
		if (r == -EBADMSG && archive_error_string(archive) && !problem->text[0])
			problem_set(problem, r, "broken tar: %s", archive_error_string(archive));
		if (reader->too_much)
			return problem_set(problem, -EFBIG,
					   "it becomes more than %d times as large when it is "
					   "unpacked, which no honest layer does",
					   RATIO_MAX);
		if (r)
			return r;
	}
	return problem_set(problem, -E2BIG, "more than %d entries", ENTRIES_MAX);
}

static int64_t amount_allowed(const struct oci_descriptor *layer)
{
	if (layer->size_bytes > (uint64_t)(INT64_MAX - EXTRA_BYTES) / RATIO_MAX)
		return INT64_MAX;
	return (int64_t)layer->size_bytes * RATIO_MAX + EXTRA_BYTES;
}

static int read_archive(int fd, const struct oci_descriptor *layer, struct tree *tree,
			struct problem *problem)
{
	struct archive *archive = archive_read_new();
	struct reader reader = { .archive = archive, .max_bytes = amount_allowed(layer) };
	int r = -ENOMEM;

	if (!archive)
		return r;
	if (archive_read_support_format_tar(archive) == ARCHIVE_OK &&
	    archive_read_support_format_empty(archive) == ARCHIVE_OK &&
	    archive_read_support_filter_gzip(archive) == ARCHIVE_OK &&
	    archive_read_support_filter_zstd(archive) == ARCHIVE_OK) {
		r = archive_read_open_fd(archive, fd, BLOCK_BYTES);
		if (r == ARCHIVE_OK)
			r = read_entries(&reader, tree, problem);
		else
			r = problem_set(problem, archive_failure(archive), "not a tar layer: %s",
					archive_error_string(archive));
	}
	archive_read_free(archive);
	return r;
}

int unpack_layer(struct image_store *store, const struct oci_descriptor *layer, struct tree *tree,
		 void (*progress)(void *context, int64_t bytes), void *context,
		 struct problem *problem)
{
	struct transfer transfer = {
		.store = store, .layer = layer, .progress = progress, .context = context
	};
	struct problem archive_problem = { "" };
	char text[DIGEST_TEXT_SIZE];
	pthread_t thread;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES);
	transfer.write_fd = fds[1];
	r = -pthread_create(&thread, NULL, run_transfer, &transfer);
	if (r) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	r = read_archive(fds[0], layer, tree, &archive_problem);
	transfer.failed = r != 0;
	close(fds[0]);
	pthread_join(thread, NULL);
	if (transfer.result && transfer.result != -ECANCELED) {
		*problem = transfer.problem;
		return transfer.result;
	}
	if (r)
		return problem_set(problem, r, "layer %s: %s", digest_format(&layer->digest, text),
				   problem_text(&archive_problem, r));
	return 0;
}
