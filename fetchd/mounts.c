/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns mounts and their records. A mount holds a reference to its image; several mounts
 * share one image, its stub tables and its miss layer.
 */
#include "fetchd/mounts-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool needs_miss_layer(const json_t *record)
{
	const char *frontend = json_get_string(record, "frontend");

	return frontend && !strcmp(frontend, "overlay");
}

/* ---- mounts ---- */

static struct mount **mount_slot(struct mounts *mounts, const char *id)
{
	struct mount **p = &mounts->list;

	while (*p && strcmp((*p)->id, id))
		p = &(*p)->next;
	return p;
}

static void mount_free(struct mount *mount)
{
	if (mount->image)
		image_unref(mount->image);
	source_list_clear(&mount->sources);
	json_decref(mount->record);
	free(mount->id);
	free(mount);
}

static int mount_new(struct mounts *mounts, const json_t *record, struct mount **out,
		     struct problem *problem)
{
	const char *id = json_get_string(record, "id");
	const char *source = json_get_string(record, "source");
	struct mount *mount;
	int r;

	if (!plain_name_is_valid(id) || strlen(id) > NAME_LEN_MAX)
		return problem_set(problem, -EINVAL, "\"id\" is not a valid name");
	mount = calloc(1, sizeof(*mount));
	if (!mount)
		return -ENOMEM;
	mount->id = strdup(id);
	mount->record = json_deep_copy(record);
	r = mount->id && mount->record ? 0 : -ENOMEM;
	if (!r && source)
		r = source_add_reference(&mount->sources, source, mounts->options.options, problem);
	if (!r)
		r = image_get(mounts, record, &mount->image, problem);
	if (r) {
		mount_free(mount);
		return r;
	}
	*out = mount;
	return 0;
}

/* In place of one with the same id. */
static void mount_insert(struct mounts *mounts, struct mount *mount)
{
	struct mount **slot = mount_slot(mounts, mount->id), *old = *slot;

	mount->next = old ? old->next : NULL;
	*slot = mount;
	if (old)
		mount_free(old);
}

static int save_record(struct mounts *mounts, const struct mount *mount, struct problem *problem)
{
	const struct mount *old = *mount_slot(mounts, mount->id);
	cleanup_free char *name = format_text("%s.json", mount->id);
	cleanup_free char *text = json_dumps(mount->record, JSON_INDENT(2));
	int r;

	if (!name || !text)
		return -ENOMEM;
	if (strlen(text) > RECORD_MAX_BYTES)
		return problem_set(problem, -E2BIG, "the record of this mount is too large");
	if (old && json_equal(old->record, mount->record))
		return 0;
	r = write_file_durably_at(mounts->records_fd, name, text, strlen(text), 0600);
	return r ? problem_set(problem, r, "%s/mounts: %s", mounts->options.options->state,
			       strerror(-r))
		 : 0;
}

/* A miss layer that is not taken over is a new one, which an older overlay does not know. */
static int ensure_miss_layer(struct image *image, bool *is_new, struct problem *problem)
{
	const struct miss_options options = image_miss_options(image);
	int r;

	if (image->miss)
		return 0;
	r = miss_adopt(&options, &image->miss, problem);
	if (r != -ENOENT)
		return r;
	r = miss_open(&options, &image->miss, problem);
	*is_new = r == 0;
	return r;
}

int mounts_register(struct mounts *mounts, const json_t *record, const char **miss_path,
		    bool *is_new, struct problem *problem)
{
	struct mount *mount;
	int r = mount_new(mounts, record, &mount, problem);

	if (r)
		return r;
	if (needs_miss_layer(record))
		r = ensure_miss_layer(mount->image, is_new, problem);
	if (!r)
		r = save_record(mounts, mount, problem);
	if (r) {
		mount_free(mount);
		return r;
	}
	mount_insert(mounts, mount);
	*miss_path = needs_miss_layer(record) ? mount->image->miss_path : NULL;
	return 0;
}

int mounts_unregister(struct mounts *mounts, const char *id, struct problem *problem)
{
	struct mount **slot = plain_name_is_valid(id) ? mount_slot(mounts, id) : NULL, *mount;
	cleanup_free char *name = NULL;

	if (!slot || !*slot)
		return problem_set(problem, -ENOENT, "no mount has this id");
	mount = *slot;
	name = format_text("%s.json", mount->id);
	if (!name)
		return -ENOMEM;
	if (unlinkat(mounts->records_fd, name, 0) && errno != ENOENT)
		return problem_set(problem, -errno, "%s/mounts/%s: %s",
				   mounts->options.options->state, name, strerror(errno));
	*slot = mount->next;
	mount_free(mount);
	return 0;
}

json_t *mounts_describe(const struct mounts *mounts)
{
	json_t *list = json_array();

	for (const struct mount *mount = mounts->list; list && mount; mount = mount->next)
		json_array_append(list, mount->record);
	return list;
}

int mounts_sources(const struct mounts *mounts, const char *id, const struct digest *digest,
		   struct source_list *sources)
{
	for (const struct mount *mount = mounts->list; mount; mount = mount->next) {
		if (!strcmp(mount->id, id) || !strcmp(mount->image->id, id))
			return image_sources(mount->image, digest, sources);
	}
	return -ENOENT;
}

/* ---- start and end ---- */

static void load_record(struct mounts *mounts, const char *name)
{
	cleanup_free char *bytes = NULL;
	cleanup_json json_t *record = NULL;
	struct problem problem = { "" };
	struct mount *mount;
	size_t len;
	int r = read_file_at(mounts->records_fd, name, RECORD_MAX_BYTES, &bytes, &len);

	if (!r)
		r = json_parse(bytes, len, &record, &problem);
	if (!r)
		r = mount_new(mounts, record, &mount, &problem);
	if (r) {
		log_error("%s/mounts/%s is left out: %s", mounts->options.options->state, name,
			  problem_text(&problem, r));
		return;
	}
	mount_insert(mounts, mount);
	if (needs_miss_layer(record) && !mount->image->miss) {
		const struct miss_options options = image_miss_options(mount->image);

		r = miss_adopt(&options, &mount->image->miss, &problem);
		if (!r)
			log_info("image %s: its miss layer goes on", mount->image->id);
		else if (r != -ENOENT)
			log_error("%s", problem_text(&problem, r));
	}
}

static bool is_record(const char *name)
{
	size_t len = strlen(name);

	return plain_name_is_valid(name) && len > 5 && !strcmp(name + len - 5, ".json");
}

static int load_records(struct mounts *mounts)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir_at(mounts->records_fd, ".", &dir);

	if (r)
		return r;
	while ((entry = readdir(dir))) {
		if (is_record(entry->d_name))
			load_record(mounts, entry->d_name);
	}
	return 0;
}

static int open_state(const char *state, const char *name, mode_t mode, int *out)
{
	cleanup_free char *path = format_text("%s/%s", state, name);
	int r = path ? make_dirs(path, mode) : -ENOMEM;

	if (r)
		return r;
	*out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Also where an earlier version made it: nobody else may come at an image's files here. */
	return *out < 0 || fchmod(*out, mode) ? -errno : 0;
}

static bool has_miss_layer(const void *context, const char *id)
{
	const struct image *image = image_find(context, id);

	return image && image->miss;
}

/* What an end of fetchd at the wrong moment, or a record that is gone, left behind. */
static int sweep(struct mounts *mounts)
{
	cleanup_free char *path = format_text("%s/miss", mounts->options.options->run);

	if (!path)
		return -ENOMEM;
	miss_sweep(mounts->options.keeper, path, has_miss_layer, mounts);
	return 0;
}

int mounts_open(const struct mounts_options *options, struct mounts **out, struct problem *problem)
{
	struct mounts *mounts = calloc(1, sizeof(*mounts));
	cleanup_close int miss_fd = -1, images_fd = -1;
	int r;

	if (!mounts)
		return -ENOMEM;
	mounts->options = *options;
	mounts->layers_fd = mounts->records_fd = -1;
	r = open_state(options->options->state, "layers", 0700, &mounts->layers_fd);
	if (!r)
		r = open_state(options->options->state, "mounts", 0700, &mounts->records_fd);
	if (!r)
		r = open_state(options->options->run, "miss", 0700, &miss_fd);
	if (!r)
		r = open_state(options->options->run, "images", 0700, &images_fd);
	if (!r)
		r = load_records(mounts);
	if (!r)
		r = sweep(mounts);
	if (r) {
		mounts_close(mounts);
		return problem_set(problem, r, "state directory %s: %s", options->options->state,
				   strerror(-r));
	}
	*out = mounts;
	return 0;
}

void mounts_close(struct mounts *mounts)
{
	struct mount *mount;

	if (!mounts)
		return;
	for (struct image *image = mounts->images; image; image = image->next) {
		if (image->miss)
			miss_close(image->miss);
		image->miss = NULL;
	}
	while ((mount = mounts->list)) {
		mounts->list = mount->next;
		mount_free(mount);
	}
	if (mounts->layers_fd >= 0)
		close(mounts->layers_fd);
	if (mounts->records_fd >= 0)
		close(mounts->records_fd);
	free(mounts);
}
