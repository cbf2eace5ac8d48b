/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the documents of the full image that a plain directory stands for. Any thread. */
#include <string.h>
#include <sys/utsname.h>

#include "client/dirsource.h"
#include "lib/log.h"
#include "lib/oci.h"

/* Names of machines as images spell them; what is not here is spelled alike. */
static const struct {
	const char *machine, *architecture, *variant;
} machines[] = {
	{ "x86_64", "amd64", NULL },	    { "aarch64", "arm64", NULL }, { "armv7l", "arm", "v7" },
	{ "armv6l", "arm", "v6" },	    { "i686", "386", NULL },	  { "i586", "386", NULL },
	{ "loongarch64", "loong64", NULL },
};

static int set_default(json_t *json, const char *key, const char *value)
{
	if (!value || json_object_get(json, key))
		return 0;
	return json_object_set_new(json, key, json_string(value));
}

static int set_platform(json_t *json)
{
	const char *architecture, *variant = NULL;
	struct utsname name;

	if (uname(&name))
		return -errno;
	architecture = name.machine;
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		if (strcmp(name.machine, machines[i].machine))
			continue;
		architecture = machines[i].architecture;
		variant = machines[i].variant;
	}
	/* The variant belongs to our architecture, not to one the user named. */
	if (json_object_get(json, "architecture"))
		variant = NULL;
	return set_default(json, "architecture", architecture) ||
			       set_default(json, "variant", variant) ||
			       set_default(json, "os", "linux")
		       ? -ENOMEM
		       : 0;
}

char *dir_source_config(const char *base, size_t base_len, const struct digest *diff_id,
			size_t *lenp, struct problem *problem)
{
	cleanup_json json_t *json = NULL;
	char text[DIGEST_TEXT_SIZE], *config = NULL;
	int r = 0;

	if (base)
		r = json_parse(base, base_len, &json, problem);
	else
		json = json_object();
	if (!r && !json_is_object(json))
		r = problem_set(problem, -EBADMSG, "it is not a JSON object");
	if (r) {
		problem_prefix(problem, r, "image config");
		return NULL;
	}
	digest_format(diff_id, text);
	/* History tells of layers that are not here. */
	json_object_del(json, "history");
	if (!set_platform(json) &&
	    !json_object_set_new(json, "rootfs",
				 json_pack("{s:s,s:[s]}", "type", "layers", "diff_ids", text)))
		config = oci_dump(json, lenp);
	if (!config)
		problem_set(problem, -ENOMEM, "out of memory");
	return config;
}

char *dir_source_manifest(const struct digest *config, uint64_t config_len,
			  const struct digest *diff_id, uint64_t layer_bytes, size_t *lenp)
{
	cleanup_json json_t *json = json_object(), *layers = json_array();

	if (json_array_append_new(layers,
				  oci_descriptor_json(OCI_MEDIA_LAYER, diff_id, layer_bytes)) ||
	    json_object_set_new(json, "schemaVersion", json_integer(2)) ||
	    json_object_set_new(json, "mediaType", json_string(OCI_MEDIA_MANIFEST)) ||
	    json_object_set_new(json, "config",
				oci_descriptor_json(OCI_MEDIA_CONFIG, config, config_len)) ||
	    json_object_set(json, "layers", layers))
		return NULL;
	return oci_dump(json, lenp);
}
