/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/roundtrip.h"

#include <string.h>

void bytes_add(struct bytes *bytes, const void *p, size_t len)
{
	if (bytes->max - bytes->len < len) {
		bytes->max = 2 * (bytes->len + len);
		bytes->p = realloc(bytes->p, bytes->max);
		if (!bytes->p)
			abort();
	}
	if (len)
		memcpy(bytes->p + bytes->len, p, len);
	bytes->len += len;
}

void bytes_free(struct bytes *bytes)
{
	free(bytes->p);
	*bytes = (struct bytes){ .p = NULL };
}

static int output_thin(void *context, const void *p, size_t len)
{
	struct roundtrip *trip = context;

	bytes_add(&trip->thin, p, len);
	return 0;
}

static int keep_blob(void *context, struct content *content)
{
	struct roundtrip *trip = context;

	trip->blobs = realloc(trip->blobs, (trip->n_blobs + 1) * sizeof(*trip->blobs));
	if (!trip->blobs)
		abort();
	trip->blobs[trip->n_blobs++] = content_move(content);
	return 0;
}

static int output_thick(void *context, const void *p, size_t len)
{
	struct roundtrip *trip = context;

	bytes_add(&trip->thick, p, len);
	return 0;
}

static int find_blob(void *context, const struct stub *stub, const char *path)
{
	struct roundtrip *trip = context;

	(void)path;
	for (size_t i = 0; i < trip->n_blobs; i++) {
		const struct content *blob = &trip->blobs[i];

		if (blob->size_bytes == stub->size_bytes &&
		    !memcmp(blob->digest.bytes, stub->sha256, SHA256_BYTES))
			return content_copy(blob, output_thick, trip);
	}
	return -ENOENT;
}

static const struct thin_handler thin_events = { .output = output_thin, .blob = keep_blob };
static const struct thick_handler thick_events = { .output = output_thick, .blob = find_blob };

static int thin_all(struct roundtrip *trip, const struct thin_options *options, const uint8_t *tar,
		    size_t len, size_t piece)
{
	struct thinner *thinner;
	int r = thinner_new(options, &thin_events, trip, &thinner, &trip->problem);

	if (r)
		return r;
	for (size_t off = 0; !r && off < len; off += piece)
		r = thinner_feed(thinner, tar + off, len - off < piece ? len - off : piece,
				 &trip->problem);
	if (!r)
		r = thinner_finish(thinner, &trip->problem);
	thinner_counts(thinner, &trip->counts);
	thinner_free(thinner);
	return r;
}

int roundtrip_run(struct roundtrip *trip, const struct thin_options *options, const void *tar,
		  size_t len, size_t piece)
{
	struct thickener *thickener;
	int r;

	*trip = (struct roundtrip){ .n_blobs = 0 };
	r = thin_all(trip, options, tar, len, piece);
	if (r)
		return r;
	thickener = thickener_new(&thick_events, trip);
	if (!thickener)
		abort();
	for (size_t off = 0; !r && off < trip->thin.len; off += piece) {
		size_t left = trip->thin.len - off;

		r = thickener_feed(thickener, trip->thin.p + off, left < piece ? left : piece,
				   &trip->problem);
	}
	/* What was accepted comes back: anything else is a bug, not an error. */
	if (r || thickener_finish(thickener, &trip->problem))
		abort();
	thickener_free(thickener);
	return 0;
}

void roundtrip_free(struct roundtrip *trip)
{
	for (size_t i = 0; i < trip->n_blobs; i++)
		content_free(&trip->blobs[i]);
	free(trip->blobs);
	bytes_free(&trip->thin);
	bytes_free(&trip->thick);
}
