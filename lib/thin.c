/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the decision which entry becomes a stub.
 *
 * The hard idea: an entry is a stub only if its way back was tried. Its headers are resized
 * there and back before its content is even looked at, and its padding must be zeros,
 * since the way back writes zeros. The other way round nothing may be left whole that
 * reads as a stub, or the way back (and every front end) would take it for one: a file whose
 * content is a stub's text is made a stub itself, and refused where that cannot be.
 *
 * One thread at a time.
 */
#include "lib/thin.h"

#include <assert.h>
#include <string.h>

#include "lib/log.h"

static const uint8_t zeros[TAR_BLOCK];

enum mode { KEEP, KEEP_AND_LOOK, HOLD };

struct thinner {
	const struct thin_options *options;
	const struct thin_handler *handler;
	void *context;
	struct tarstream *stream; /* owned */
	struct spool *spool;	  /* owned */
	struct problem *problem;  /* of the call at hand */
	struct thin_counts counts;
	enum mode mode;
	bool large;	   /* above the threshold: to be a stub whatever it holds */
	bool maybe_packed; /* to be a stub if its bytes look so */
	const struct tarstream_entry *entry;
	uint8_t *resized; /* owned: headers of the stub, HOLD only */
	size_t resized_max;
	size_t stub_len;
	uint64_t off;	      /* KEEP_AND_LOOK: bytes of data so far */
	char tail[TAR_BLOCK]; /* KEEP_AND_LOOK: what came since the last multiple of 512 */
};

/*
 * Of n bytes drawn evenly from 256 values the squares of the counts sum to n + n * (n - 1) /
 * 256. Compressed data comes within a few percent of that, text and code lie at ten times
 * as much, so twice is a wide margin on either side.
 */
bool thin_looks_packed(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t counts[256] = { 0 }, sum = 0;

	for (size_t i = 0; i < len; i++)
		counts[p[i]]++;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		sum += counts[i] * counts[i];
	return len > 0 && sum < 2 * (len + (uint64_t)len * len / 256);
}

static bool may_be_stub(uint64_t size_bytes)
{
	return size_bytes >= STUB_SIZE_MIN && size_bytes <= STUB_SIZE_MAX;
}

static size_t make_stub(const struct thinner *thinner, const uint8_t *sha256, uint64_t size_bytes,
			char out[static STUB_SIZE_MAX])
{
	struct stub stub = { .size_bytes = size_bytes };

	if (sha256)
		memcpy(stub.sha256, sha256, sizeof(stub.sha256));
	if (thinner->options->url && !stub_set_url(&stub, thinner->options->url))
		stub.n_urls = 0;
	return stub_format(&stub, out);
}

/* Can this entry be resized to hold a stub, and back? Return: 1, 0 or -errno. */
static int try_resize(struct thinner *thinner)
{
	const struct tarstream_entry *entry = thinner->entry;
	char text[STUB_SIZE_MAX];

	if (entry->raw_len > thinner->resized_max) {
		uint8_t *grown = realloc(thinner->resized, entry->raw_len);

		if (!grown)
			return -ENOMEM;
		thinner->resized = grown;
		thinner->resized_max = entry->raw_len;
	}
	/* The length of a stub does not depend on the digest. */
	thinner->stub_len = make_stub(thinner, NULL, entry->size_bytes, text);
	return tar_resize_is_reversible(entry->raw, entry->raw_len, entry->size_bytes,
					thinner->stub_len, thinner->resized);
}

static int thin_begin(void *context, const struct tarstream_entry *entry)
{
	struct thinner *thinner = context;
	bool suspect = may_be_stub(entry->size_bytes) || entry->sparse;
	int r;

	thinner->entry = entry;
	thinner->large = entry->plain && entry->size_bytes > thinner->options->inline_max;
	thinner->maybe_packed = entry->plain && !thinner->large &&
				entry->size_bytes <= SPOOL_MEMORY_MAX &&
				entry->size_bytes > thinner->options->inline_packed_max;
	thinner->mode = suspect ? KEEP_AND_LOOK : KEEP;
	thinner->off = 0;
	if (thinner->large || thinner->maybe_packed || (entry->plain && suspect)) {
		r = try_resize(thinner);
		if (r < 0)
			return r;
		if (r) {
			thinner->mode = HOLD;
			return spool_begin(thinner->spool, entry->size_bytes, thinner->problem);
		}
	}
	if (thinner->large) {
		thinner->counts.n_whole++;
		thinner->counts.whole_bytes += entry->size_bytes;
	}
	return thinner->handler->output(thinner->context, entry->raw, entry->raw_len);
}

/* A sparse file's content ends in the last block of its data, whatever map is before it. */
static void keep_tail(struct thinner *thinner, const char *bytes, size_t len)
{
	while (len > 0) {
		size_t at = thinner->off % TAR_BLOCK, n = TAR_BLOCK - at;

		if (n > len)
			n = len;
		memcpy(thinner->tail + at, bytes, n);
		thinner->off += n;
		bytes += n;
		len -= n;
	}
}

static int thin_data(void *context, const void *bytes, size_t len)
{
	struct thinner *thinner = context;

	if (thinner->mode == HOLD)
		return spool_write(thinner->spool, bytes, len, thinner->problem);
	if (thinner->mode == KEEP_AND_LOOK)
		keep_tail(thinner, bytes, len);
	return thinner->handler->output(thinner->context, bytes, len);
}

static int refuse_stub(struct thinner *thinner)
{
	char shown[256];

	log_escape(shown, sizeof(shown), thinner->entry->path, strlen(thinner->entry->path));
	return problem_set(thinner->problem, -EBADMSG,
			   "tar entry '%s' holds the text of a stub, and its header is such that "
			   "it cannot be escaped; a thin image of it would show another file",
			   shown);
}

static int output_whole(struct thinner *thinner, const struct content *content, const void *padding,
			size_t padding_len)
{
	const struct tarstream_entry *entry = thinner->entry;
	int r = thinner->handler->output(thinner->context, entry->raw, entry->raw_len);

	if (!r)
		r = content_copy(content, thinner->handler->output, thinner->context);
	if (!r && padding_len)
		r = thinner->handler->output(thinner->context, padding, padding_len);
	return r;
}

static int output_stub(struct thinner *thinner, struct content *content)
{
	const struct thin_handler *handler = thinner->handler;
	char text[STUB_SIZE_MAX];
	size_t len;
	int r;

	len = make_stub(thinner, content->digest.bytes, content->size_bytes, text);
	assert(len == thinner->stub_len);
	thinner->counts.n_stubs++;
	thinner->counts.stub_bytes += content->size_bytes;
	r = handler->output(thinner->context, thinner->resized, thinner->entry->raw_len);
	if (!r)
		r = handler->output(thinner->context, text, len);
	if (!r)
		r = handler->output(thinner->context, zeros, (size_t)tar_padded(len) - len);
	return r ? r : handler->blob(thinner->context, content);
}

static int thin_held(struct thinner *thinner, const void *padding, size_t padding_len)
{
	cleanup_content struct content content = CONTENT_EMPTY;
	bool plain_padding = !memcmp(padding, zeros, padding_len);
	bool is_stub = false, wanted = thinner->large;
	struct stub stub;
	int r;

	r = spool_end(thinner->spool, &content);
	if (r)
		return r;
	if (content.bytes && may_be_stub(content.size_bytes))
		is_stub = stub_parse(content.bytes, (size_t)content.size_bytes, &stub);
	if (content.bytes && thinner->maybe_packed)
		wanted = thin_looks_packed(content.bytes, (size_t)content.size_bytes);
	if (plain_padding && (wanted || is_stub))
		return output_stub(thinner, &content);
	if (is_stub)
		return refuse_stub(thinner);
	if (thinner->large) {
		thinner->counts.n_whole++;
		thinner->counts.whole_bytes += content.size_bytes;
	}
	return output_whole(thinner, &content, padding, padding_len);
}

static int thin_end(void *context, const void *padding, size_t padding_len)
{
	struct thinner *thinner = context;
	size_t tail_len = (size_t)(thinner->off % TAR_BLOCK);
	struct stub stub;

	if (thinner->mode == HOLD)
		return thin_held(thinner, padding, padding_len);
	if (thinner->mode == KEEP_AND_LOOK && stub_parse(thinner->tail, tail_len, &stub))
		return refuse_stub(thinner);
	if (padding_len == 0)
		return 0;
	return thinner->handler->output(thinner->context, padding, padding_len);
}

static int thin_raw(void *context, const void *bytes, size_t len)
{
	struct thinner *thinner = context;

	return thinner->handler->output(thinner->context, bytes, len);
}

static const struct tarstream_handler thin_events = {
	.begin = thin_begin,
	.data = thin_data,
	.end = thin_end,
	.raw = thin_raw,
};

int thinner_new(const struct thin_options *options, const struct thin_handler *handler,
		void *context, struct thinner **out, struct problem *problem)
{
	struct thinner *thinner = calloc(1, sizeof(*thinner));
	int r = thinner ? spool_new(options->temp_dir, &thinner->spool, problem) : -ENOMEM;

	if (!r) {
		thinner->options = options;
		thinner->handler = handler;
		thinner->context = context;
		thinner->stream = tarstream_new(&thin_events, thinner);
		if (!thinner->stream)
			r = -ENOMEM;
	}
	if (r) {
		thinner_free(thinner);
		return r;
	}
	*out = thinner;
	return 0;
}

void thinner_free(struct thinner *thinner)
{
	if (!thinner)
		return;
	tarstream_free(thinner->stream);
	spool_free(thinner->spool);
	free(thinner->resized);
	free(thinner);
}

int thinner_feed(struct thinner *thinner, const void *bytes, size_t len, struct problem *problem)
{
	thinner->problem = problem;
	return tarstream_feed(thinner->stream, bytes, len, problem);
}

int thinner_finish(struct thinner *thinner, struct problem *problem)
{
	thinner->problem = problem;
	return tarstream_finish(thinner->stream, problem);
}

void thinner_counts(const struct thinner *thinner, struct thin_counts *out)
{
	*out = thinner->counts;
}

const char *thinner_path(const struct thinner *thinner)
{
	return tarstream_path(thinner->stream);
}

/* ---- The way back ---- */

struct thickener {
	const struct thick_handler *handler;
	void *context;
	struct tarstream *stream; /* owned */
	struct problem *problem;
	const struct tarstream_entry *entry;
	bool hold;
	char text[STUB_SIZE_MAX];
	size_t text_len;
};

static int thick_begin(void *context, const struct tarstream_entry *entry)
{
	struct thickener *thickener = context;

	thickener->entry = entry;
	thickener->hold = entry->plain && may_be_stub(entry->size_bytes);
	thickener->text_len = 0;
	if (thickener->hold)
		return 0;
	return thickener->handler->output(thickener->context, entry->raw, entry->raw_len);
}

static int thick_data(void *context, const void *bytes, size_t len)
{
	struct thickener *thickener = context;

	if (!thickener->hold)
		return thickener->handler->output(thickener->context, bytes, len);
	memcpy(thickener->text + thickener->text_len, bytes, len);
	thickener->text_len += len;
	return 0;
}

static int output_content(struct thickener *thickener, const struct stub *stub)
{
	const struct thick_handler *handler = thickener->handler;
	const struct tarstream_entry *entry = thickener->entry;
	cleanup_free uint8_t *raw = malloc(entry->raw_len);
	char shown[256];
	int r;

	if (!raw)
		return -ENOMEM;
	memcpy(raw, entry->raw, entry->raw_len);
	if (tar_resize(raw, entry->raw_len, entry->size_bytes, stub->size_bytes)) {
		log_escape(shown, sizeof(shown), entry->path, strlen(entry->path));
		return problem_set(thickener->problem, -EBADMSG,
				   "tar entry '%s': its header has no room for the size in its "
				   "stub; this layer was not made by intinode convert",
				   shown);
	}
	r = handler->output(thickener->context, raw, entry->raw_len);
	if (!r)
		r = handler->blob(thickener->context, stub, entry->path);
	if (!r && stub->size_bytes % TAR_BLOCK)
		r = handler->output(thickener->context, zeros,
				    TAR_BLOCK - (size_t)(stub->size_bytes % TAR_BLOCK));
	return r;
}

static int thick_end(void *context, const void *padding, size_t padding_len)
{
	struct thickener *thickener = context;
	const struct thick_handler *handler = thickener->handler;
	const struct tarstream_entry *entry = thickener->entry;
	struct stub stub;
	int r = 0;

	if (thickener->hold) {
		if (stub_parse(thickener->text, thickener->text_len, &stub))
			return output_content(thickener, &stub);
		r = handler->output(thickener->context, entry->raw, entry->raw_len);
		if (!r)
			r = handler->output(thickener->context, thickener->text,
					    thickener->text_len);
	}
	if (!r && padding_len)
		r = handler->output(thickener->context, padding, padding_len);
	return r;
}

static int thick_raw(void *context, const void *bytes, size_t len)
{
	struct thickener *thickener = context;

	return thickener->handler->output(thickener->context, bytes, len);
}

static const struct tarstream_handler thick_events = {
	.begin = thick_begin,
	.data = thick_data,
	.end = thick_end,
	.raw = thick_raw,
};

struct thickener *thickener_new(const struct thick_handler *handler, void *context)
{
	struct thickener *thickener = calloc(1, sizeof(*thickener));

	if (!thickener)
		return NULL;
	thickener->handler = handler;
	thickener->context = context;
	thickener->stream = tarstream_new(&thick_events, thickener);
	if (!thickener->stream) {
		thickener_free(thickener);
		return NULL;
	}
	return thickener;
}

void thickener_free(struct thickener *thickener)
{
	if (!thickener)
		return;
	tarstream_free(thickener->stream);
	free(thickener);
}

int thickener_feed(struct thickener *thickener, const void *bytes, size_t len,
		   struct problem *problem)
{
	thickener->problem = problem;
	return tarstream_feed(thickener->stream, bytes, len, problem);
}

int thickener_finish(struct thickener *thickener, struct problem *problem)
{
	thickener->problem = problem;
	return tarstream_finish(thickener->stream, problem);
}
