/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the readers that libmicrohttpd asks for content while it sends. */
#include "server/content.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "lib/log.h"
#include "server/verified.h"

enum {
	COPY_MAX = 64 * 1024, /* one message with the headers is quicker than sendfile */
	/*
	 * Packed content decoded at once, so that damage is an error and no broken answer. What
	 * is over COPY_MAX only while few such answers wait for their clients, together at most
	 * 64 MiB; then, and when it is larger, it is decoded while it is sent.
	 */
	MEMORY_MAX = 1024 * 1024,
	LARGE_ANSWERS_MAX = 64,
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

static atomic_uint n_kept, n_large;

/* One of those that keep their frame? */
static bool may_keep(struct reader *reader)
{
	if (!reader->keeps && n_kept++ < READERS_KEPT)
		reader->keeps = true;
	else if (!reader->keeps)
		n_kept--;
	return reader->keeps;
}

static void unreadable(struct request *request, struct blob *blob, int r)
{
	const char *what = r == -EBADMSG
				   ? "what is stored is damaged: intinode-serve fsck --repair "
				     "takes it out of the way, then push it again"
				   : "the blob cannot be read";

	/* Small enough to be looked at again at once; then it is missing, and pushed again. */
	if ((r == -EBADMSG || r == -EIO) && blob->size_bytes <= MEMORY_MAX &&
	    store_distrust_blob(request->services->store, &blob->digest) == -EBADMSG)
		what = "what was stored is damaged: it is in quarantine, push it again";
	blob_close(blob);
	reply_failure(request, r, what);
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

static struct reader *reader_new(struct blob *blob, const struct byte_range *ranges, unsigned int n)
{
	struct reader *reader = calloc(1, sizeof(*reader) + n * sizeof(*ranges));

	if (!reader)
		return NULL;
	reader->blob = *blob;
	blob->fd = -1;
	memcpy(reader->ranges, ranges, n * sizeof(*ranges));
	reader->n_ranges = n;
	return reader;
}

static void reply_reader(struct request *request, unsigned int status, struct reader *reader)
{
	struct MHD_Response *response;
	uint64_t len = 0;

	for (unsigned int i = n_parts(reader); i-- > 0;)
		len += part_begin(reader, i); /* ends with the first */
	response = MHD_create_response_from_callback(len, BLOCK_BYTES, reader_read, reader,
						     reader_free);
	if (!response)
		reader_free(reader);
	reply_response(request, status, response, len);
}

/* Was this file hashed since the start? */
static bool is_verified(const struct request *request, const struct blob *blob)
{
	return verified_has(request->services->verified, VERIFIED_FILE, &blob->digest,
			    blob->version);
}

/* Judge what was hashed. */
static int verify(struct request *request, const struct blob *blob, const struct digest *found)
{
	if (!digest_equal(found, &blob->digest))
		return -EBADMSG;
	verified_add(request->services->verified, VERIFIED_FILE, &blob->digest, blob->version);
	return 0;
}

/* Content goes nowhere before it was hashed; a file is read from the disk once. */
static int verify_bytes(struct request *request, const struct blob *blob, const char *bytes)
{
	struct digest found;
	int r;

	if (is_verified(request, blob))
		return 0;
	r = digest_compute(blob->digest.algorithm, bytes, blob->size_bytes, &found);
	return r ? r : verify(request, blob, &found);
}

static int verify_file(struct request *request, const struct blob *blob)
{
	struct digest found;
	uint64_t size_bytes;
	int r;

	if (is_verified(request, blob))
		return 0;
	r = digest_compute_fd(blob->digest.algorithm, blob->fd, &found, &size_bytes);
	return r ? r : verify(request, blob, &found);
}

static int read_all(struct request *request, struct blob *blob, char **out)
{
	cleanup_free char *bytes = NULL;
	int r = blob_read_all(blob, MEMORY_MAX, &bytes);

	/* Frames have their own checksums; that is enough where hashing would take long. */
	if (!r && blob->size_bytes <= COPY_MAX && !blob->is_frames)
		r = verify_bytes(request, blob, bytes);
	if (!r)
		*out = steal_ptr(bytes);
	return r;
}

/* Small enough for memory: errors are seen before the answer begins. */
static int read_memory(struct request *request, struct blob *blob, uint64_t off, uint64_t len,
		       char **out)
{
	cleanup_unpacker struct unpacker *unpacker = NULL;
	cleanup_free char *bytes = NULL;
	ssize_t n;
	int r = 0;

	if (off == 0 && len == blob->size_bytes)
		return read_all(request, blob, out);
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	if (blob->packed)
		r = unpacker_new(blob->fd, &blob->pack, off, &unpacker);
	if (r)
		return r;
	n = blob->packed ? unpacker_read(unpacker, bytes, len)
			 : pread_full(blob->fd, bytes, len, off);
	if (n < 0 || (uint64_t)n != len)
		return n < 0 ? (int)n : -EBADMSG;
	*out = steal_ptr(bytes);
	return 0;
}

static bool may_be_large(void)
{
	if (n_large++ < LARGE_ANSWERS_MAX)
		return true;
	n_large--;
	return false;
}

static void free_large(void *bytes)
{
	free(bytes);
	n_large--;
}

/* Where @len is over COPY_MAX, may_be_large() was true, and is given back with the answer. */
static void reply_memory(struct request *request, unsigned int status, struct blob *blob,
			 uint64_t off, uint64_t len)
{
	void (*release)(void *) = len > COPY_MAX ? free_large : free;
	struct MHD_Response *response;
	char *bytes = NULL;
	int r = read_memory(request, blob, off, len, &bytes);

	if (r) {
		release(NULL);
		unreadable(request, blob, r);
		return;
	}
	blob_close(blob);
	response = MHD_create_response_from_buffer_with_free_callback(len, bytes, release);
	if (!response)
		release(bytes);
	request->in_memory = response != NULL;
	reply_response(request, status, response, len);
}

static void reply_stream(struct request *request, unsigned int status, struct blob *blob,
			 uint64_t off, uint64_t len)
{
	const struct byte_range range = { off, off + len - 1 };
	struct reader *reader = reader_new(blob, &range, 1);

	if (reader)
		reply_reader(request, status, reader);
	else
		unreadable(request, blob, -ENOMEM);
}

void reply_content(struct request *request, unsigned int status, struct blob *blob, uint64_t off,
		   uint64_t len)
{
	bool is_get = request->method == METHOD_GET;

	if (is_get && len <= COPY_MAX) /* nothing, too: the file may have lost its bytes */
		reply_memory(request, status, blob, off, len);
	else if (!blob->packed)
		reply_fd(request, status, steal_fd(&blob->fd), off, len);
	else if (!is_get)
		/* libmicrohttpd sends no body, but the length: nothing is decoded for that. */
		reply_fd(request, status, steal_fd(&blob->fd), 0, len);
	else if (len <= MEMORY_MAX && may_be_large())
		reply_memory(request, status, blob, off, len);
	else
		reply_stream(request, status, blob, off, len);
}

void reply_checked(struct request *request, unsigned int status, struct blob *blob)
{
	int r = 0;

	/* Shorter content is, on its way through memory. */
	if (request->method == METHOD_GET && !blob->packed && blob->size_bytes > COPY_MAX)
		r = verify_file(request, blob);
	if (r)
		unreadable(request, blob, r);
	else
		reply_content(request, status, blob, 0, blob->size_bytes);
}

struct mapping {
	void *at; /* owned */
	size_t len;
	struct MHD_IoVec part;
};

static void free_mapping(void *argument)
{
	struct mapping *mapping = argument;

	munmap(mapping->at, mapping->len);
	free(mapping);
}

/*
 * Nothing here looks at the pages: without TLS the kernel copies from them when it sends, and one
 * that the disk does not give is an error of that call and no signal.
 */
static struct MHD_Response *map_response(const struct blob *blob)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	struct MHD_Response *response;

	if (!mapping)
		return NULL;
	mapping->len = blob->size_bytes;
	mapping->at = mmap(NULL, mapping->len, PROT_READ, MAP_SHARED, blob->fd, 0);
	if (mapping->at == MAP_FAILED) {
		free(mapping);
		return NULL;
	}
	mapping->part = (struct MHD_IoVec){ mapping->at, mapping->len };
	response = MHD_create_response_from_iovec(&mapping->part, 1, free_mapping, mapping);
	if (!response)
		free_mapping(mapping);
	return response;
}

void reply_mapped(struct request *request, struct blob *blob)
{
	struct MHD_Response *response;
	int r = verify_file(request, blob);

	if (r) {
		unreadable(request, blob, r);
		return;
	}
	response = map_response(blob);
	if (!response) {
		reply_content(request, 200, blob, 0, blob->size_bytes);
		return;
	}
	request->is_mapped = true;
	reply_response(request, 200, response, blob->size_bytes);
	blob_close(blob);
}

/* Whose frames nobody here decodes again when they are sent. */
static int verify_small(struct request *request, struct blob *blob)
{
	cleanup_free char *bytes = NULL;
	int r;

	if (blob->size_bytes > MEMORY_MAX || is_verified(request, blob))
		return 0;
	r = blob_read_all(blob, MEMORY_MAX, &bytes);
	return r ? r : verify_bytes(request, blob, bytes);
}

void reply_frames(struct request *request, struct blob *blob)
{
	uint64_t len = blob->pack.frames_bytes;
	/* As they lie there: to the reader of small content they are content like any other. */
	struct blob frames = {
		.digest = blob->digest, .size_bytes = len, .stored_bytes = len, .is_frames = true
	};
	int r = verify_small(request, blob);

	if (r) {
		unreadable(request, blob, r);
		return;
	}
	frames.fd = steal_fd(&blob->fd);
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
	char boundary[BOUNDARY_SIZE];
	struct reader *reader;

	reader = make_boundary(boundary) ? NULL : reader_new(blob, ranges, n);
	if (!reader) {
		unreadable(request, blob, -ENOMEM);
		return;
	}
	memcpy(reader->boundary, boundary, sizeof(boundary));
	reader->content_type = content_type;
	reply_reader(request, 206, reader);
	if (request->status == 206)
		reply_header(request, "Content-Type", "multipart/byteranges; boundary=%s",
			     boundary);
}
