/* SPDX-License-Identifier: Apache-2.0 */
/* Owns images: the stub tables of their layers, and where their blobs come from. Loop thread. */
#include "fetchd/mounts-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/stubtable.h"

enum { IMAGE_LAYERS_MAX = 1000 };

static void image_free(struct image *image)
{
	for (size_t i = 0; i < image->n_tables; i++)
		stubtable_close(image->tables[i]);
	for (size_t i = 0; i < image->n_hints; i++)
		free(image->hints[i]);
	free(image->tables);
	free(image->miss_path);
	free(image->id);
	free(image);
}

void image_unref(struct image *image)
{
	struct image **p = &image->mounts->images;

	if (--image->refs)
		return;
	while (*p && *p != image)
		p = &(*p)->next;
	if (*p)
		*p = image->next;
	if (image->miss)
		miss_remove(image->miss);
	image_free(image);
}

/* LAYER/urls: a JSON array of the URLs that the layer's stubs name. */
static int load_hints(struct image *image, int layer_fd)
{
	cleanup_free char *bytes = NULL;
	cleanup_json json_t *urls = NULL;
	size_t len, i;
	json_t *url;
	int r = read_file_at(layer_fd, "urls", RECORD_MAX_BYTES, &bytes, &len);

	if (r == -ENOENT)
		return 0;
	if (!r)
		r = json_parse(bytes, len, &urls, NULL);
	if (r)
		return r;
	json_array_foreach(urls, i, url) {
		if (!json_is_string(url) || image->n_hints == IMAGE_HINTS_MAX)
			continue;
		image->hints[image->n_hints] = strdup(json_string_value(url));
		if (!image->hints[image->n_hints])
			return -ENOMEM;
		image->n_hints++;
	}
	return 0;
}

static int load_layer(struct image *image, const char *name, struct problem *problem)
{
	cleanup_close int fd = -1;
	int r;

	if (!plain_name_is_valid(name))
		return problem_set(problem, -EINVAL, "layer name '%s' is not valid", name);
	fd = openat(image->mounts->layers_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : stubtable_open(fd, "stubs", &image->tables[image->n_tables]);
	if (!r) {
		image->n_tables++;
		r = load_hints(image, fd);
	}
	return r ? problem_set(problem, r, "layer %s is not usable (%s); mount the image again",
			       name, strerror(-r))
		 : 0;
}

static int image_load(struct image *image, const json_t *record, struct problem *problem)
{
	const json_t *layers = json_object_get(record, "layers");
	size_t i, n = json_array_size(layers);
	int r = 0;

	if (n > IMAGE_LAYERS_MAX)
		return problem_set(problem, -E2BIG, "more than %d layers", IMAGE_LAYERS_MAX);
	image->tables = calloc(n + 1, sizeof(struct stubtable *));
	if (!image->tables)
		return -ENOMEM;
	for (i = 0; !r && i < n; i++)
		r = load_layer(image, json_string_value(json_array_get(layers, i)) ?: "", problem);
	return r;
}

struct image *image_find(const struct mounts *mounts, const char *id)
{
	struct image *image = mounts->images;

	while (image && strcmp(image->id, id))
		image = image->next;
	return image;
}

int image_get(struct mounts *mounts, const json_t *record, struct image **out,
	      struct problem *problem)
{
	const char *id = json_get_string(record, "image");
	struct image *image;
	int r;

	if (!plain_name_is_valid(id) || strlen(id) > NAME_LEN_MAX)
		return problem_set(problem, -EINVAL, "\"image\" is not a valid name");
	image = image_find(mounts, id);
	if (image) {
		image->refs++;
		*out = image;
		return 0;
	}
	image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	image->mounts = mounts;
	image->id = strdup(id);
	image->miss_path = format_text("%s/miss/%s", mounts->options.options->run, id);
	r = image->id && image->miss_path ? image_load(image, record, problem) : -ENOMEM;
	if (r) {
		image_free(image);
		return r;
	}
	image->refs = 1;
	image->next = mounts->images;
	mounts->images = image;
	*out = image;
	return 0;
}

int image_sources(const struct image *image, const struct digest *digest,
		  struct source_list *sources)
{
	int r = 0;

	/* What any of its mounts was made from is a source of the image. */
	for (const struct mount *mount = image->mounts->list; !r && mount; mount = mount->next) {
		if (mount->image == image)
			r = source_copy_all(sources, &mount->sources);
	}
	for (size_t i = 0; !r && i < image->n_hints; i++)
		r = source_add_hint(sources, image->hints[i], digest,
				    image->mounts->options.options);
	return r;
}

static int find_stub(void *context, const struct digest *digest, uint64_t *size_bytes,
		     struct source_list *sources)
{
	struct image *image = context;

	for (size_t i = 0; i < image->n_tables; i++) {
		if (!stubtable_find(image->tables[i], digest, size_bytes))
			return image_sources(image, digest, sources);
	}
	return -ENOENT;
}

struct miss_options image_miss_options(struct image *image)
{
	const struct mounts_options *options = &image->mounts->options;

	return (struct miss_options){
		.base = options->base,
		.table = options->table,
		.keeper = options->keeper,
		.id = image->id,
		.mountpoint = image->miss_path,
		.deadline_ms = (int64_t)options->options->deadline_s * 1000,
		.find = find_stub,
		.context = image,
	};
}
