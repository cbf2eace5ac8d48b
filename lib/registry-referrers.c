/* SPDX-License-Identifier: Apache-2.0 */
/* Owns asking a registry what refers to a manifest (distribution specification, end-12). */
#include <string.h>

#include "lib/log.h"
#include "lib/oci.h"
#include "lib/registry-internal.h"
#include "lib/registry.h"

/* Registries without the referrers API keep the list under a tag made of the digest. */
static int get_by_tag(struct registry *registry, const char *host, const char *repository,
		      const struct digest *subject, struct registry_manifest *out,
		      struct problem *problem)
{
	char hex[DIGEST_TEXT_SIZE], tag[DIGEST_TEXT_SIZE + 1];

	snprintf(tag, sizeof(tag), "%s-%s", digest_algorithm_name(subject->algorithm),
		 digest_format_hex(subject, hex));
	return registry_get_manifest(registry, host, repository, tag, out, problem);
}

int registry_get_referrers(struct registry *registry, const char *host, const char *repository,
			   const struct digest *subject, struct registry_manifest *out,
			   struct problem *problem)
{
	cleanup_exchange struct exchange ex = { .method = HTTP_GET,
						.accept = OCI_MEDIA_INDEX,
						.size_bytes = MANIFEST_SIZE_MAX };
	char text[DIGEST_TEXT_SIZE];
	int r;

	digest_format(subject, text);
	r = registry_prepare(registry, &ex, host, repository, "pull",
			     format_text("referrers/%s", text),
			     format_text("referrers of %s", text), problem);
	if (!r)
		r = registry_call(registry, &ex, problem);
	if (r == -ENOENT)
		return get_by_tag(registry, host, repository, subject, out, problem);
	if (r)
		return r;
	*out = (struct registry_manifest){ .media_type = strdup(OCI_MEDIA_INDEX),
					   .bytes = steal_ptr(ex.bytes),
					   .size_bytes = ex.n_bytes };
	if (out->media_type && out->bytes)
		return digest_compute(DIGEST_SHA256, out->bytes, out->size_bytes, &out->digest);
	registry_manifest_free(out);
	return -ENOMEM;
}
