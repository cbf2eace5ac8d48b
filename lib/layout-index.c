/* SPDX-License-Identifier: Apache-2.0 */
/* Owns index.json of an OCI layout, and how a version becomes a manifest. Any thread. */
#include "lib/layout-index.h"

#include <string.h>

#include "lib/log.h"

static const char ref_name[] = "org.opencontainers.image.ref.name";

static const char *tag_of(const json_t *entry)
{
	return json_get_string(json_object_get(entry, "annotations"), ref_name);
}

static int read_index(struct layout *layout, json_t **index, json_t **manifests,
		      struct problem *problem)
{
	cleanup_json json_t *json = NULL;
	cleanup_free char *bytes = NULL;
	size_t len;
	int r = layout_read_file(layout, "index.json", &bytes, &len);

	if (r)
		return problem_set(problem, r, "OCI layout %s: index.json: %s", layout_path(layout),
				   strerror(-r));
	r = json_parse(bytes, len, &json, problem);
	if (r)
		return problem_prefix(problem, r, "OCI layout %s: index.json", layout_path(layout));
	*manifests = json_object_get(json, "manifests");
	if (!json_is_array(*manifests))
		return problem_set(problem, -EBADMSG,
				   "OCI layout %s: index.json has no list of manifests",
				   layout_path(layout));
	*index = steal_ptr(json);
	return 0;
}

int layout_index_replace(struct layout *layout, const char *tag, json_t *descriptor,
			 struct problem *problem)
{
	json_t *manifests, *annotations = json_object_get(descriptor, "annotations");
	cleanup_json json_t *index = NULL;
	cleanup_free char *text = NULL;
	size_t len, i = 0;
	int r = read_index(layout, &index, &manifests, problem);

	if (r)
		return r;
	while (i < json_array_size(manifests)) {
		const char *name = tag_of(json_array_get(manifests, i));

		if (name && !strcmp(name, tag))
			json_array_remove(manifests, i);
		else
			i++;
	}
	if (json_object_set_new(annotations, ref_name, json_string(tag)) ||
	    json_array_append(manifests, descriptor))
		return problem_set(problem, -EINVAL, "the tag '%s' is not UTF-8", tag);
	text = oci_dump(index, &len);
	if (!text)
		return -ENOMEM;
	r = layout_write_file(layout, "index.json", text, len);
	return r ? problem_set(problem, r, "OCI layout %s: index.json: %s", layout_path(layout),
			       strerror(-r))
		 : 0;
}

static void list_tags(struct layout *layout, const json_t *manifests, const char *tag,
		      struct problem *problem)
{
	char list[512] = "", shown[128];
	size_t i, used = 0;
	json_t *entry;

	json_array_foreach(manifests, i, entry) {
		const char *name = tag_of(entry);
		size_t left = sizeof(list) - used;

		if (!name)
			continue;
		log_escape(shown, sizeof(shown), name, strlen(name));
		if (strlen(shown) + 8 > left) {
			snprintf(list + used, left, ", ...");
			break;
		}
		used += (size_t)snprintf(list + used, left, "%s%s", used ? ", " : "", shown);
	}
	if (!tag) {
		problem_set(problem, -ENOENT,
			    "OCI layout %s has %zu images; name one by its tag: %s",
			    layout_path(layout), json_array_size(manifests), list);
		return;
	}
	log_escape(shown, sizeof(shown), tag, strlen(tag));
	problem_set(problem, -ENOENT, "OCI layout %s has no tag '%s'; it has: %s",
		    layout_path(layout), shown, *list ? list : "none");
}

/* The descriptor of @tag, or of the only entry. */
static int find_entry(struct layout *layout, const char *tag, struct digest *digest,
		      char **media_type, struct problem *problem)
{
	cleanup_json json_t *index = NULL;
	json_t *manifests, *entry, *found = NULL;
	const char *text, *type;
	size_t i;
	int r = read_index(layout, &index, &manifests, problem);

	if (r)
		return r;
	json_array_foreach(manifests, i, entry) {
		const char *name = tag_of(entry);

		if (tag ? name && !strcmp(name, tag) : json_array_size(manifests) == 1)
			found = entry;
	}
	if (!found) {
		list_tags(layout, manifests, tag, problem);
		return -ENOENT;
	}
	text = json_get_string(found, "digest");
	type = json_get_string(found, "mediaType");
	if (!text || !type || digest_parse(text, strlen(text), digest))
		return problem_set(problem, -EBADMSG,
				   "OCI layout %s: index.json: an entry has no mediaType or no "
				   "digest that can be used",
				   layout_path(layout));
	*media_type = strdup(type);
	return *media_type ? 0 : -ENOMEM;
}

/* What a manifest says it is; before that was a rule, its shape. */
static int guess_media_type(const char *bytes, size_t len, char **out, struct problem *problem)
{
	cleanup_json json_t *json = NULL;
	const char *type;
	int r = json_parse(bytes, len, &json, problem);

	if (r)
		return r;
	type = json_get_string(json, "mediaType");
	if (!type)
		type = json_object_get(json, "manifests") ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
	*out = strdup(type);
	return *out ? 0 : -ENOMEM;
}

static int read_manifest(struct layout *layout, const struct digest *digest, char **bytes,
			 size_t *len, struct problem *problem)
{
	struct layout_blob blob = { .fd = -1 };
	char text[DIGEST_TEXT_SIZE];
	cleanup_free char *copy = NULL;
	struct digest actual;
	ssize_t n;
	int r = layout_open_blob(layout, digest, &blob);

	digest_format(digest, text);
	if (r)
		return problem_set(problem, r, "OCI layout %s: manifest %s: %s",
				   layout_path(layout), text, strerror(-r));
	if (blob.size_bytes <= MANIFEST_SIZE_MAX)
		copy = malloc((size_t)blob.size_bytes + 1);
	n = copy ? pread(blob.fd, copy, (size_t)blob.size_bytes, (off_t)blob.off) : -1;
	close(blob.fd);
	if (!copy)
		return problem_set(problem, -EFBIG, "OCI layout %s: manifest %s is over 4 MiB",
				   layout_path(layout), text);
	if (n != (ssize_t)blob.size_bytes)
		return problem_set(problem, -EIO, "OCI layout %s: manifest %s cannot be read",
				   layout_path(layout), text);
	copy[n] = '\0';
	r = digest_compute(digest->algorithm, copy, (size_t)n, &actual);
	if (r)
		return r;
	if (!digest_equal(&actual, digest))
		return problem_set(problem, -EBADMSG,
				   "OCI layout %s: manifest %s is damaged: its bytes have "
				   "another digest",
				   layout_path(layout), text);
	*len = (size_t)n;
	*bytes = steal_ptr(copy);
	return 0;
}

int layout_get_manifest(struct layout *layout, const char *version, struct registry_manifest *out,
			struct problem *problem)
{
	cleanup_free char *media_type = NULL, *bytes = NULL;
	struct digest digest;
	size_t len = 0;
	int r = 0;

	if (!version || digest_parse(version, strlen(version), &digest))
		r = find_entry(layout, version, &digest, &media_type, problem);
	if (!r)
		r = read_manifest(layout, &digest, &bytes, &len, problem);
	if (!r && !media_type)
		r = guess_media_type(bytes, len, &media_type, problem);
	if (r)
		return r;
	out->media_type = steal_ptr(media_type);
	out->bytes = steal_ptr(bytes);
	out->size_bytes = len;
	out->digest = digest;
	return 0;
}
