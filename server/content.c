/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the readers that libmicrohttpd asks for content while it sends. */
#include "server/content.h"

#include <string.h>
#include <sys/random.h>

#include "lib/log.h"

enum {
	MEMORY_MAX = 1024 * 1024, /* decoded at once; more is decoded while it is sent */
	COPY_MAX = 64 * 1024,	  /* one message with the headers is quicker than sendfile */
	BLOCK_BYTES = 128 * 1024, /* asked of a reader at a time */
	/*
	 * Unpackers that are kept from one read to the next, some 400 KiB each. Who comes
	 * later, maybe a crowd of clients that do not read, gets small pieces, each by an
	 * unpacker of its own that decodes the frame again: slower, and no memory.
	 */
	UNPACKERS_KEPT = 256,
	SMALL_PIECE = 32 * 1024,
	PART_HEADER_SIZE = 256,
	BOUNDARY_SIZE = 33,
};

/* A part of an answer: text, then content. */
struct part {
	char text[PART_HEADER_SIZE];
	size_t text_len;
	struct byte_range range; /* the last part has text only */
};

/* Content that is read while it is sent. */
struct reader {
	struct blob blob;	   /* owned */
	struct unpacker *unpacker; /* owned; NULL: not packed, or not there now */
	bool keeps;		   /* the unpacker, and is one of n_kept */
	struct digest digest;	   /* for the log */
	unsigned int part, n_parts;
	uint64_t done; /* of the part, text first */
	struct part parts[];
};

static atomic_uint n_kept;

/* One of those whose unpacker stays? Else it is made and freed for each read. */
static bool may_keep(struct reader *reader)
{
	if (!reader->keeps && n_kept++ < UNPACKERS_KEPT)
		reader->keeps = true;
	else if (!reader->keeps)
		n_kept--;
	return reader->keeps;
}

static void unreadable(struct request *request, struct blob *blob, int r)
{
	blob_close(blob);
	reply_failure(request, r,
		      r == -EBADMSG ? "the stored blob is damaged, run intinode-serve fsck"
				    : "the blob cannot be read");
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
	bool keep = may_keep(reader);
	ssize_t n;
	int copy, r;

	/* Sequential within a part: the unpacker is where the last read ended. */
	if (!reader->unpacker) {
		copy = dup(reader->blob.fd);
		r = copy < 0 ? -errno
			     : unpacker_new(copy, &reader->blob.pack, off, &reader->unpacker);
		if (r) {
			if (copy >= 0)
				close(copy);
			return r;
		}
	}
	n = unpacker_read(reader->unpacker, buffer, !keep && len > SMALL_PIECE ? SMALL_PIECE : len);
	if (!keep)
		unpacker_free(steal_ptr(reader->unpacker));
	return n;
}

static ssize_t read_part(struct reader *reader, const struct part *part, char *buffer, size_t max)
{
	uint64_t in_part = reader->done - part->text_len;
	uint64_t off = part->range.first + in_part, left = part->range.last + 1 - off;
	size_t want = left < max ? (size_t)left : max;

	if (reader->blob.packed)
		return read_packed(reader, buffer, want, off);
	return pread_full(reader->blob.fd, buffer, want, off);
}

static void next_part(struct reader *reader)
{
	reader->part++;
	reader->done = 0;
	unpacker_free(steal_ptr(reader->unpacker));
}

/* Called by libmicrohttpd, in the order of the bytes. */
static ssize_t reader_read(void *argument, uint64_t pos, char *buffer, size_t max)
{
	struct reader *reader = argument;
	const struct part *part;
	uint64_t length;
	ssize_t n;

	(void)pos;
	if (reader->part == reader->n_parts)
		return MHD_CONTENT_READER_END_OF_STREAM;
	part = &reader->parts[reader->part];
	length = part->text_len;
	if (part->range.last >= part->range.first)
		length += part->range.last - part->range.first + 1;
	if (reader->done < part->text_len) {
		size_t left = part->text_len - (size_t)reader->done;

		n = (ssize_t)(left < max ? left : max);
		memcpy(buffer, part->text + reader->done, (size_t)n);
	} else {
		n = read_part(reader, part, buffer, max);
	}
	if (n <= 0) { /* the connection is cut: the client sees that bytes are missing */
		char text[DIGEST_TEXT_SIZE];

		log_error("blob %s cannot be read to its end: %s; run intinode-serve fsck",
			  digest_format(&reader->digest, text),
			  n ? strerror((int)-n) : "the file is too short");
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	reader->done += (uint64_t)n;
	if (reader->done == length)
		next_part(reader);
	return n;
}

static struct reader *reader_new(struct request *request, struct blob *blob, unsigned int n_parts)
{
	struct reader *reader = calloc(1, sizeof(*reader) + n_parts * sizeof(struct part));

	if (!reader)
		return NULL;
	reader->blob = *blob;
	blob->fd = -1;
	reader->digest = request->route.digest;
	reader->n_parts = n_parts;
	return reader;
}

static void reply_reader(struct request *request, unsigned int status, struct reader *reader,
			 uint64_t len)
{
	struct MHD_Response *response = MHD_create_response_from_callback(
		len, BLOCK_BYTES, reader_read, reader, reader_free);

	if (!response)
		reader_free(reader);
	reply_response(request, status, response, len);
}

/* Small enough for memory: errors are seen before the answer begins. */
static int read_memory(struct blob *blob, uint64_t off, uint64_t len, char **out)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	cleanup_free char *bytes = NULL;
	ssize_t n;
	int r;

	if (off == 0 && len == blob->size_bytes) {
		r = blob_read_all(blob, MEMORY_MAX, out);
		return r;
	}
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	if (!blob->packed) {
		n = pread_full(blob->fd, bytes, len, off);
		if (n < 0 || (uint64_t)n != len)
			return n < 0 ? (int)n : -EBADMSG;
		*out = steal_ptr(bytes);
		return 0;
	}
	r = unpacker_new(blob->fd, &blob->pack, off, &unpacker);
	if (r)
		return r;
	blob->fd = -1;
	n = unpacker_read(unpacker, bytes, len);
	if (n < 0 || (uint64_t)n != len)
		return n < 0 ? (int)n : -EBADMSG;
	*out = steal_ptr(bytes);
	return 0;
}

static void reply_memory(struct request *request, unsigned int status, struct blob *blob,
			 uint64_t off, uint64_t len)
{
	struct MHD_Response *response;
	char *bytes;
	int r = read_memory(blob, off, len, &bytes);

	if (r) {
		unreadable(request, blob, r);
		return;
	}
	blob_close(blob);
	response = MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(bytes);
	request->in_memory = response != NULL;
	reply_response(request, status, response, len);
}

void reply_content(struct request *request, unsigned int status, struct blob *blob, uint64_t off,
		   uint64_t len)
{
	struct reader *reader;

	if (!blob->packed && request->method == METHOD_GET && len > 0 && len <= COPY_MAX) {
		reply_memory(request, status, blob, off, len);
	} else if (!blob->packed) {
		reply_fd(request, status, steal_fd(&blob->fd), off, len);
	} else if (request->method == METHOD_HEAD) {
		/* libmicrohttpd sends no body, but the length: nothing is decoded for that. */
		reply_fd(request, status, steal_fd(&blob->fd), 0, len);
	} else if (len <= MEMORY_MAX) {
		reply_memory(request, status, blob, off, len);
	} else {
		reader = reader_new(request, blob, 1);
		if (!reader) {
			unreadable(request, blob, -ENOMEM);
			return;
		}
		reader->parts[0].range = (struct byte_range){ off, off + len - 1 };
		reply_reader(request, status, reader, len);
	}
}

void reply_frames(struct request *request, struct blob *blob)
{
	uint64_t len = blob->pack.frames_bytes;
	/* As they lie there: to the reader of small content they are content like any other. */
	struct blob frames = { .fd = steal_fd(&blob->fd), .size_bytes = len, .stored_bytes = len };

	reply_content(request, 200, &frames, 0, len);
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

void reply_parts(struct request *request, struct blob *blob, const struct byte_range *ranges,
		 unsigned int n, const char *content_type)
{
	uint64_t size_bytes = blob->size_bytes, total = 0;
	char boundary[BOUNDARY_SIZE];
	struct reader *reader;
	struct part *part;

	reader = make_boundary(boundary) ? NULL : reader_new(request, blob, n + 1);
	if (!reader) {
		unreadable(request, blob, -ENOMEM);
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		part = &reader->parts[i];
		part->range = ranges[i];
		part->text_len = (size_t)snprintf(part->text, sizeof(part->text),
						  "\r\n--%s\r\nContent-Type: %s\r\nContent-Range: "
						  "bytes %llu-%llu/%llu\r\n\r\n",
						  boundary, content_type,
						  (unsigned long long)ranges[i].first,
						  (unsigned long long)ranges[i].last,
						  (unsigned long long)size_bytes);
		total += part->text_len + (ranges[i].last - ranges[i].first + 1);
	}
	part = &reader->parts[n];
	part->range = (struct byte_range){ 1, 0 };
	part->text_len =
		(size_t)snprintf(part->text, sizeof(part->text), "\r\n--%s--\r\n", boundary);
	total += part->text_len;
	reply_reader(request, 206, reader, total);
	if (request->status == 206)
		reply_header(request, "Content-Type", "multipart/byteranges; boundary=%s",
			     boundary);
}
