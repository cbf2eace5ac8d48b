/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the readers: which bytes of which part libmicrohttpd gets next. */
#include "server/reader.h"

#include <string.h>
#include <sys/random.h>

#include "lib/log.h"

enum {
	BLOCK_BYTES = 128 * 1024, /* asked of a reader at a time */
	/*
	 * Readers that keep a decoded frame, 256 KiB, from one read to the next, and are asked
	 * for whole blocks. Who comes later, maybe a crowd of clients that do not read, gets
	 * small pieces, and its frame is decoded for each again: slower, and no memory.
	 */
	READERS_KEPT = 256,
	SMALL_PIECE = 32 * 1024,
	PART_HEADER_SIZE = 256,
	BOUNDARY_SIZE = 33,
};

/*
 * Content that is read while it is sent: one range, or several as a multipart body, where each
 * has some text in front of it and the end is text, too.
 */
struct reader {
	struct blob blob;	   /* owned */
	struct unpacker *unpacker; /* owned; NULL: not packed, or nothing was read yet */
	bool keeps;		   /* is one of n_kept */
	unsigned int part, n_ranges;
	uint64_t done;		  /* of the part, text first */
	const char *content_type; /* static; NULL: one range, no text */
	char boundary[BOUNDARY_SIZE];
	size_t text_len;
	char text[PART_HEADER_SIZE]; /* of the part */
	struct byte_range ranges[];
};

static atomic_uint n_kept;

/* One of those that keep their frame? */
static bool may_keep(struct reader *reader)
{
	if (!reader->keeps && n_kept++ < READERS_KEPT)
		reader->keeps = true;
	else if (!reader->keeps)
		n_kept--;
	return reader->keeps;
}

static void reader_free(void *argument)
{
	struct reader *reader = argument;

	unpacker_free(reader->unpacker);
	if (reader->keeps)
		n_kept--;
	blob_close(&reader->blob);
	free(reader);
}

static ssize_t read_packed(struct reader *reader, char *buffer, size_t len, uint64_t off)
{
	ssize_t n;
	int r;

	if (reader->unpacker && !unpacker_seek(reader->unpacker, off))
		unpacker_free(steal_ptr(reader->unpacker));
	if (!reader->unpacker) {
		r = unpacker_new(reader->blob.fd, &reader->blob.pack, off, &reader->unpacker);
		if (r)
			return r;
	}
	n = unpacker_read(reader->unpacker, buffer, len);
	if (!reader->keeps)
		unpacker_rest(reader->unpacker);
	return n;
}

static ssize_t read_range(struct reader *reader, char *buffer, size_t max)
{
	const struct byte_range *range = &reader->ranges[reader->part];
	uint64_t off = range->first + reader->done - reader->text_len;
	uint64_t left = range->last + 1 - off;
	size_t want;

	if (!may_keep(reader) && max > SMALL_PIECE)
		max = SMALL_PIECE;
	want = left < max ? (size_t)left : max;
	if (reader->blob.packed)
		return read_packed(reader, buffer, want, off);
	return pread_full(reader->blob.fd, buffer, want, off);
}

static unsigned int n_parts(const struct reader *reader)
{
	return reader->n_ranges + (reader->content_type != NULL);
}

/* Return: of how many bytes the part is. */
static uint64_t part_begin(struct reader *reader, unsigned int part)
{
	const struct byte_range *range = &reader->ranges[part];
	bool is_end = part >= reader->n_ranges;
	int n = 0;

	reader->part = part;
	reader->done = 0;
	if (is_end && reader->content_type)
		n = snprintf(reader->text, sizeof(reader->text), "\r\n--%s--\r\n",
			     reader->boundary);
	else if (reader->content_type)
		n = snprintf(reader->text, sizeof(reader->text),
			     "\r\n--%s\r\nContent-Type: %s\r\nContent-Range: "
			     "bytes %llu-%llu/%llu\r\n\r\n",
			     reader->boundary, reader->content_type,
			     (unsigned long long)range->first, (unsigned long long)range->last,
			     (unsigned long long)reader->blob.size_bytes);
	reader->text_len = (size_t)n;
	return reader->text_len + (is_end ? 0 : range->last - range->first + 1);
}

static bool part_is_done(const struct reader *reader)
{
	const struct byte_range *range = &reader->ranges[reader->part];
	uint64_t content = reader->part < reader->n_ranges ? range->last - range->first + 1 : 0;

	return reader->done == reader->text_len + content;
}

/* Called by libmicrohttpd, in the order of the bytes. */
static ssize_t reader_read(void *argument, uint64_t pos, char *buffer, size_t max)
{
	struct reader *reader = argument;
	ssize_t n;

	(void)pos;
	if (reader->part == n_parts(reader))
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (reader->done < reader->text_len) {
		size_t left = reader->text_len - (size_t)reader->done;

		n = (ssize_t)(left < max ? left : max);
		memcpy(buffer, reader->text + reader->done, (size_t)n);
	} else {
		n = read_range(reader, buffer, max);
	}
	if (n <= 0) { /* the connection is cut: the client sees that bytes are missing */
		char text[DIGEST_TEXT_SIZE];

		log_error("blob %s cannot be read to its end: %s; intinode-serve fsck --repair "
			  "takes what is damaged out of the way, then push it again",
			  digest_format(&reader->blob.digest, text),
			  n ? strerror((int)-n) : "the file is too short");
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	reader->done += (uint64_t)n;
	if (part_is_done(reader))
		part_begin(reader, reader->part + 1);
	return n;
}

static int make_boundary(char out[static BOUNDARY_SIZE])
{
	unsigned char random[(BOUNDARY_SIZE - 1) / 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(out + 2 * i, 3, "%02x", random[i]);
	return 0;
}

/* @blob: taken over where the result is not NULL. */
static struct reader *reader_new(struct blob *blob, const struct byte_range *ranges, unsigned int n,
				 const char *content_type)
{
	struct reader *reader = calloc(1, sizeof(*reader) + n * sizeof(*ranges));

	if (reader && content_type && make_boundary(reader->boundary))
		free(steal_ptr(reader));
	if (!reader)
		return NULL;
	reader->blob = *blob;
	blob->fd = -1;
	memcpy(reader->ranges, ranges, n * sizeof(*ranges));
	reader->n_ranges = n;
	reader->content_type = content_type;
	return reader;
}

int reply_reader(struct request *request, unsigned int status, struct blob *blob,
		 const struct byte_range *ranges, unsigned int n, const char *content_type)
{
	struct reader *reader = reader_new(blob, ranges, n, content_type);
	char boundary[BOUNDARY_SIZE];
	struct MHD_Response *response;
	uint64_t len = 0;

	if (!reader)
		return -ENOMEM;
	memcpy(boundary, reader->boundary, sizeof(boundary)); /* the answer may take it and fail */
	for (unsigned int i = n_parts(reader); i-- > 0;)
		len += part_begin(reader, i); /* ends with the first */
	response = MHD_create_response_from_callback(len, BLOCK_BYTES, reader_read, reader,
						     reader_free);
	if (!response)
		reader_free(reader);
	reply_response(request, status, response, len);
	if (content_type && request->status == status)
		reply_header(request, "Content-Type", "multipart/byteranges; boundary=%s",
			     boundary);
	return 0;
}
