/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests, indexes and configs: any bytes. What is taken as a manifest is never taken as an
 * index, and the other way round.
 */
#include <assert.h>

#include "lib/log.h"
#include "lib/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool parses_as(const char *bytes, size_t size, const char *media_type)
{
	cleanup_oci_document struct oci_document document = { .json = NULL };
	const struct oci_descriptor *entry;
	struct problem problem;

	if (oci_document_parse(bytes, size, media_type, &document, &problem))
		return false;
	assert(document.media_type);
	for (size_t i = 0; i < document.n_entries; i++)
		assert(document.entries[i].media_type &&
		       document.entries[i].size_bytes <= INT64_MAX);
	(void)oci_is_thin(&document);
	if (document.kind == OCI_KIND_INDEX &&
	    !oci_select_platform(&document, "linux/amd64", &entry, &problem))
		assert(entry >= document.entries && entry < document.entries + document.n_entries);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	struct problem problem;
	struct digest *diff_ids;
	bool manifest, list;
	size_t n;

	manifest = parses_as(bytes, size, OCI_MEDIA_MANIFEST) ||
		   parses_as(bytes, size, DOCKER_MEDIA_MANIFEST);
	list = parses_as(bytes, size, OCI_MEDIA_INDEX) || parses_as(bytes, size, DOCKER_MEDIA_LIST);
	assert(!(manifest && list));
	if (parses_as(bytes, size, NULL))
		assert(manifest || list);
	if (!oci_config_diff_ids(bytes, size, &diff_ids, &n, &problem)) {
		assert(n <= OCI_LAYERS_MAX);
		free(diff_ids);
	}
	return 0;
}
