/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the reading of thin layers for their stubs alone. One thread. */
#include "client/thinscan.h"

#include "lib/compress.h"
#include "lib/log.h"
#include "lib/thin.h"

struct scan {
	struct decompressor *decompressor;
	struct thickener *thickener;
	thin_scan_found found;
	void *context;
	struct problem problem;
};

static int ignore(void *context, const void *bytes, size_t len)
{
	(void)context;
	(void)bytes;
	(void)len;
	return 0;
}

static int pass_stub(void *context, const struct stub *stub, const char *path)
{
	struct scan *scan = context;

	return scan->found(scan->context, stub, path);
}

static const struct thick_handler scan_events = { .output = ignore, .blob = pass_stub };

static int scan_plain(void *context, const void *bytes, size_t len)
{
	struct scan *scan = context;

	return thickener_feed(scan->thickener, bytes, len, &scan->problem);
}

static int scan_packed(void *context, const void *bytes, size_t len)
{
	struct scan *scan = context;

	return decompressor_feed(scan->decompressor, bytes, len, scan_plain, scan, &scan->problem);
}

static int scan_layer(struct image_store *store, const struct oci_descriptor *descriptor,
		      struct scan *scan, struct problem *problem)
{
	enum oci_compression compression;
	int r = oci_layer_compression(descriptor->media_type, &compression);

	if (r)
		return problem_set(problem, r, "its media type is not one of a layer");
	scan->problem.text[0] = '\0';
	scan->decompressor = decompressor_new(compression);
	scan->thickener = thickener_new(&scan_events, scan);
	r = scan->decompressor && scan->thickener ? 0 : -ENOMEM;
	if (!r)
		r = image_get_blob(store, &descriptor->digest, descriptor->size_bytes, scan_packed,
				   scan, problem);
	if (r && scan->problem.text[0])
		*problem = scan->problem;
	if (!r)
		r = decompressor_finish(scan->decompressor, problem);
	if (!r)
		r = thickener_finish(scan->thickener, problem);
	decompressor_free(scan->decompressor);
	thickener_free(scan->thickener);
	return r;
}

int thin_scan(struct image_store *store, const struct oci_document *image, thin_scan_found found,
	      void *context, struct problem *problem)
{
	struct scan scan = { .found = found, .context = context };

	for (size_t i = 0; i < image->n_entries; i++) {
		char text[DIGEST_TEXT_SIZE];
		int r = scan_layer(store, &image->entries[i], &scan, problem);

		if (r)
			return problem_prefix(problem, r, "thin layer %zu of %zu (%s)", i + 1,
					      image->n_entries,
					      digest_format(&image->entries[i].digest, text));
	}
	return 0;
}
