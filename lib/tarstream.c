/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the framing of tar archives: where headers, data and padding lie.
 *
 * The hard idea: headers are collected whole, the extended ones with the one they describe,
 * and handed on untouched. So whoever copies the events copies the archive, and whoever
 * changes an entry sees all of its header bytes at once. One thread at a time.
 */
#include "lib/tarstream.h"

#include <limits.h>
#include <string.h>

#include "lib/log.h"

enum state { IN_HEADER, IN_EXTENSION, IN_SPARSE_MAP, IN_DATA, IN_PADDING, IN_TAIL };

enum {
	NAME_LEN = 100,
	PREFIX_OFF = 345,
	PREFIX_LEN = 155,
	MAGIC_OFF = 257,
	SPARSE_MORE_OFF = 482, /* in a header of type 'S': a block of map follows */
	SPARSE_MORE_NEXT_OFF = 504,
};

/* What the extended headers before an entry said. */
struct extension {
	bool local; /* there is one that needs an entry behind it */
	bool sparse;
	unsigned int n_sizes;
	uint64_t size_bytes;
	bool has_path;
};

struct tarstream {
	const struct tarstream_handler *handler; /* borrowed */
	void *context;				 /* borrowed */
	enum state state;
	int error;
	uint8_t *raw; /* owned: header blocks of the entry at hand */
	size_t raw_len, raw_max;
	size_t want;	       /* header states: raw is complete at this length */
	size_t extension_from; /* where the content of the extended header begins in raw */
	uint64_t left;	       /* IN_DATA: bytes to come */
	size_t padding_len, padding_have;
	uint8_t padding[TAR_BLOCK];
	uint64_t off; /* of the next byte, for messages */
	struct extension extension;
	struct tarstream_entry entry;
	char path[PATH_MAX];
};

struct tarstream *tarstream_new(const struct tarstream_handler *handler, void *context)
{
	struct tarstream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->handler = handler;
	stream->context = context;
	stream->want = TAR_BLOCK;
	return stream;
}

void tarstream_free(struct tarstream *stream)
{
	if (!stream)
		return;
	free(stream->raw);
	free(stream);
}

const char *tarstream_path(const struct tarstream *stream)
{
	return stream->path;
}

static int refuse(struct tarstream *stream, struct problem *problem, const char *what)
{
	char shown[256];

	log_escape(shown, sizeof(shown), stream->path, strlen(stream->path));
	return problem_set(problem, -EBADMSG, "tar entry '%s' before byte %llu: %s", shown,
			   (unsigned long long)stream->off, what);
}

static int reserve(struct tarstream *stream, size_t need)
{
	size_t max = stream->raw_max ? stream->raw_max : 16 * TAR_BLOCK;
	uint8_t *grown;

	if (need <= stream->raw_max)
		return 0;
	while (max < need)
		max *= 2;
	grown = realloc(stream->raw, max);
	if (!grown)
		return -ENOMEM;
	stream->raw = grown;
	stream->raw_max = max;
	return 0;
}

static void begin_header(struct tarstream *stream, bool keep_raw)
{
	if (!keep_raw) {
		stream->raw_len = 0;
		stream->extension = (struct extension){ .local = false };
		stream->path[0] = '\0';
	}
	stream->state = IN_HEADER;
	stream->want = stream->raw_len + TAR_BLOCK;
}

static void set_path(struct tarstream *stream, const char *name, size_t len)
{
	len = strnlen(name, len);
	if (len >= sizeof(stream->path))
		len = sizeof(stream->path) - 1;
	memcpy(stream->path, name, len);
	stream->path[len] = '\0';
}

static void read_plain_path(struct tarstream *stream, const uint8_t *block)
{
	const char *text = (const char *)block;
	size_t prefix_len = 0;

	if (stream->extension.has_path)
		return;
	if (!memcmp(text + MAGIC_OFF, "ustar", 6))
		prefix_len = strnlen(text + PREFIX_OFF, PREFIX_LEN);
	memcpy(stream->path, text + PREFIX_OFF, prefix_len);
	if (prefix_len)
		stream->path[prefix_len++] = '/';
	memcpy(stream->path + prefix_len, text, NAME_LEN);
	stream->path[prefix_len + strnlen(text, NAME_LEN)] = '\0';
}

static int read_pax_record(struct tarstream *stream, bool global, const struct pax_record *record,
			   struct problem *problem)
{
	struct extension *extension = &stream->extension;
	bool sparse = record->key_len >= 11 && !memcmp(record->key, "GNU.sparse.", 11);

	sparse |= pax_key_is(record, "SCHILY.realsize");
	if (pax_key_is(record, "size")) {
		if (global)
			return refuse(stream, problem,
				      "a global pax header sets a size for all entries, which "
				      "readers do not agree on");
		if (pax_value_size(record, &extension->size_bytes))
			return refuse(stream, problem, "the pax size is not a number of bytes");
		extension->n_sizes++;
	} else if (sparse) {
		if (global)
			return refuse(stream, problem, "a global pax header describes holes");
		extension->sparse = true;
	} else if (pax_key_is(record, "path") && !global) {
		set_path(stream, record->value, record->value_len);
		extension->has_path = true;
	}
	return 0;
}

static int read_pax(struct tarstream *stream, bool global, const char *text, size_t len,
		    struct problem *problem)
{
	struct pax_record record;
	size_t off = 0;
	int r;

	while ((r = pax_next(text, len, &off, &record)) > 0) {
		r = read_pax_record(stream, global, &record, problem);
		if (r)
			return r;
	}
	return r ? refuse(stream, problem, "malformed pax header") : 0;
}

/* An extended header is complete. */
static int take_extension(struct tarstream *stream, struct problem *problem)
{
	const char *text = (const char *)stream->raw + stream->extension_from;
	size_t len = (size_t)stream->entry.size_bytes;
	int r = 0;

	switch (stream->entry.type) {
	case 'x':
	case 'g':
		r = read_pax(stream, stream->entry.type == 'g', text, len, problem);
		break;
	case 'L':
		set_path(stream, text, len);
		stream->extension.has_path = true;
		break;
	}
	stream->extension.local |= stream->entry.type != 'g';
	/* Two size records for one entry: tools differ in which counts. */
	if (!r && stream->extension.n_sizes > 1)
		r = refuse(stream, problem, "its size is given twice");
	if (!r)
		begin_header(stream, true);
	return r;
}

static int begin_extension(struct tarstream *stream, const struct tar_header *header,
			   struct problem *problem)
{
	if (header->size_bytes > TAR_HEADERS_MAX ||
	    stream->raw_len + tar_padded(header->size_bytes) > TAR_HEADERS_MAX)
		return refuse(stream, problem, "its extended headers are larger than 1 MiB");
	stream->entry.type = header->type;
	stream->entry.size_bytes = header->size_bytes;
	stream->extension_from = stream->raw_len;
	stream->want = stream->raw_len + tar_padded(header->size_bytes);
	stream->state = IN_EXTENSION;
	return 0;
}

static int end_entry(struct tarstream *stream)
{
	int r = stream->handler->end(stream->context, stream->padding, stream->padding_len);

	begin_header(stream, false);
	return r;
}

static int begin_data(struct tarstream *stream)
{
	struct tarstream_entry *entry = &stream->entry;
	int r;

	entry->raw = stream->raw;
	entry->raw_len = stream->raw_len;
	entry->path = stream->path;
	r = stream->handler->begin(stream->context, entry);
	if (r)
		return r;
	stream->left = entry->size_bytes;
	stream->padding_len = (size_t)(tar_padded(entry->size_bytes) - entry->size_bytes);
	stream->padding_have = 0;
	stream->state = IN_DATA;
	return stream->left ? 0 : end_entry(stream);
}

static int begin_sparse_map(struct tarstream *stream, struct problem *problem)
{
	if (stream->raw_len + TAR_BLOCK > TAR_HEADERS_MAX)
		return refuse(stream, problem, "its sparse map is larger than 1 MiB");
	stream->want = stream->raw_len + TAR_BLOCK;
	stream->state = IN_SPARSE_MAP;
	return 0;
}

static bool ends_in_slash(const char *path)
{
	size_t len = strlen(path);

	return len > 0 && path[len - 1] == '/';
}

static int begin_entry(struct tarstream *stream, const struct tar_header *header,
		       struct problem *problem)
{
	struct tarstream_entry *entry = &stream->entry;
	const uint8_t *block = stream->raw + stream->raw_len - TAR_BLOCK;

	read_plain_path(stream, block);
	entry->type = header->type;
	entry->size_bytes = stream->extension.n_sizes ? stream->extension.size_bytes
						      : header->size_bytes;
	if (!tar_type_has_data(entry->type))
		entry->size_bytes = 0;
	entry->sparse = stream->extension.sparse || entry->type == 'S';
	entry->plain = !entry->sparse && (entry->type == '0' || entry->type == '\0');
	/* Before ustar a directory was a regular file whose name ends in a slash. */
	if (entry->type == '\0' && ends_in_slash(stream->path)) {
		if (entry->size_bytes)
			return refuse(stream, problem, "an old-style directory with data");
		entry->plain = false;
	}
	if (entry->type == 'S' && block[SPARSE_MORE_OFF])
		return begin_sparse_map(stream, problem);
	return begin_data(stream);
}

/* The end mark, or archives that end in nothing but a global header. */
static int begin_tail(struct tarstream *stream, struct problem *problem)
{
	int r;

	if (stream->extension.local)
		return refuse(stream, problem, "an extended header without an entry");
	r = stream->raw_len ? stream->handler->raw(stream->context, stream->raw, stream->raw_len)
			    : 0;
	begin_header(stream, false);
	stream->state = IN_TAIL;
	return r;
}

static int take_header(struct tarstream *stream, struct problem *problem)
{
	const uint8_t *block = stream->raw + stream->raw_len - TAR_BLOCK;
	struct tar_header header;
	int r;

	if (tar_block_is_zero(block))
		return begin_tail(stream, problem);
	r = tar_header_parse(block, &header, problem);
	if (r)
		return problem_prefix(problem, r, "tar archive at byte %llu",
				      (unsigned long long)(stream->off - TAR_BLOCK));
	switch (header.type) {
	case 'x':
	case 'g':
	case 'L':
	case 'K':
		return begin_extension(stream, &header, problem);
	case 'X':
		return refuse(stream, problem, "Solaris extended headers are not supported");
	}
	if (stream->raw_len > TAR_HEADERS_MAX)
		return refuse(stream, problem, "its headers are larger than 1 MiB");
	return begin_entry(stream, &header, problem);
}

static int take_sparse_map(struct tarstream *stream, struct problem *problem)
{
	const uint8_t *block = stream->raw + stream->raw_len - TAR_BLOCK;

	if (block[SPARSE_MORE_NEXT_OFF])
		return begin_sparse_map(stream, problem);
	return begin_data(stream);
}

/* Header states: collect into raw until @want, then act. Return: bytes used or -errno. */
static ssize_t feed_raw(struct tarstream *stream, const uint8_t *bytes, size_t len,
			struct problem *problem)
{
	size_t n = stream->want - stream->raw_len;
	int r;

	if (n > len)
		n = len;
	r = reserve(stream, stream->raw_len + n);
	if (r)
		return r;
	if (n)
		memcpy(stream->raw + stream->raw_len, bytes, n);
	stream->raw_len += n;
	stream->off += n;
	if (stream->raw_len < stream->want)
		return (ssize_t)n;
	if (stream->state == IN_HEADER)
		r = take_header(stream, problem);
	else if (stream->state == IN_EXTENSION)
		r = take_extension(stream, problem);
	else
		r = take_sparse_map(stream, problem);
	return r ? r : (ssize_t)n;
}

static ssize_t feed_data(struct tarstream *stream, const uint8_t *bytes, size_t len)
{
	size_t n = stream->left < len ? (size_t)stream->left : len;
	int r = stream->handler->data(stream->context, bytes, n);

	if (r)
		return r;
	stream->left -= n;
	stream->off += n;
	if (stream->left)
		return (ssize_t)n;
	if (stream->padding_len) {
		stream->state = IN_PADDING;
		return (ssize_t)n;
	}
	r = end_entry(stream);
	return r ? r : (ssize_t)n;
}

uint64_t tarstream_offset(const struct tarstream *stream)
{
	return stream->off;
}

/* The last byte stays, so that the end of the data is met in feed_data() alone. */
uint64_t tarstream_skip(struct tarstream *stream)
{
	uint64_t n = stream->error || stream->state != IN_DATA ? 0 : stream->left - 1;

	stream->left -= n;
	stream->off += n;
	return n;
}

static ssize_t feed_padding(struct tarstream *stream, const uint8_t *bytes, size_t len)
{
	size_t n = stream->padding_len - stream->padding_have;
	int r;

	if (n > len)
		n = len;
	memcpy(stream->padding + stream->padding_have, bytes, n);
	stream->padding_have += n;
	stream->off += n;
	if (stream->padding_have < stream->padding_len)
		return (ssize_t)n;
	r = end_entry(stream);
	return r ? r : (ssize_t)n;
}

static ssize_t feed_some(struct tarstream *stream, const uint8_t *bytes, size_t len,
			 struct problem *problem)
{
	int r;

	switch (stream->state) {
	case IN_DATA:
		return feed_data(stream, bytes, len);
	case IN_PADDING:
		return feed_padding(stream, bytes, len);
	case IN_TAIL:
		r = stream->handler->raw(stream->context, bytes, len);
		return r ? r : (ssize_t)len;
	default:
		return feed_raw(stream, bytes, len, problem);
	}
}

int tarstream_feed(struct tarstream *stream, const void *bytes, size_t len, struct problem *problem)
{
	const uint8_t *p = bytes;

	if (stream->error)
		return stream->error;
	/* An extended header of no content is complete without a further byte. */
	while (len > 0 || (stream->state == IN_EXTENSION && stream->want == stream->raw_len)) {
		ssize_t n = feed_some(stream, p, len, problem);

		if (n < 0) {
			stream->error = (int)n;
			return stream->error;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int tarstream_finish(struct tarstream *stream, struct problem *problem)
{
	if (stream->error)
		return stream->error;
	if (stream->state == IN_TAIL)
		return 0;
	if (stream->state != IN_HEADER || stream->want != stream->raw_len + TAR_BLOCK)
		return refuse(stream, problem, "the archive is cut off here");
	return begin_tail(stream, problem);
}
