/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive as a stream of events that together are all of its bytes: headers as they
 * stand, content, padding, and what lies behind the end mark. No I/O, no seeking, memory
 * bounded by TAR_HEADERS_MAX.
 *
 * Framing follows what container tools do (Go's archive/tar): a pax size wins over the
 * header's, links and devices have no data, unknown types have. Where readers would
 * disagree on where the next header is, the archive is refused.
 */
#pragma once

#include "lib/tarheader.h"

struct tarstream;

struct tarstream_entry {
	const uint8_t *raw; /* all header blocks; borrowed, until the handler's end() returns */
	size_t raw_len;
	char type;
	uint64_t size_bytes; /* of the data that follows, without padding */
	/*
	 * A plain regular file: type '0' or NUL, not sparse, its size said once. Only such an
	 * entry may be given another size.
	 */
	bool plain;
	bool sparse;	  /* any of the sparse formats: the data is not the content */
	const char *path; /* NUL-terminated, for messages; may be cut */
};

/* Each returns 0 or a negative errno that ends the walk and is passed up. */
struct tarstream_handler {
	int (*begin)(void *context, const struct tarstream_entry *entry);
	int (*data)(void *context, const void *bytes, size_t len);
	/* @padding: the 0 .. 511 bytes up to the next block, whatever they hold. */
	int (*end)(void *context, const void *padding, size_t len);
	/* Bytes that belong to no entry: global headers before the end, everything behind it. */
	int (*raw)(void *context, const void *bytes, size_t len);
};

/** tarstream_new() - @handler is borrowed. NULL = no memory. Free with tarstream_free(). */
struct tarstream *tarstream_new(const struct tarstream_handler *handler, void *context) must_check;
void tarstream_free(struct tarstream *stream);

/**
 * tarstream_feed() - the next bytes of the archive, in pieces of any length.
 * Return: 0; -EBADMSG with @problem that names entry and offset; what the handler returned.
 * After an error the stream is dead: the same error again.
 */
int tarstream_feed(struct tarstream *stream, const void *bytes, size_t len,
		   struct problem *problem) must_check;

/**
 * tarstream_finish() - that was all. An archive that stops between entries, without end
 * mark, is accepted as every reader does; one that stops within an entry is -EBADMSG.
 */
int tarstream_finish(struct tarstream *stream, struct problem *problem) must_check;

/** tarstream_offset() - bytes taken so far: in begin(), where the entry's data begins. */
uint64_t tarstream_offset(const struct tarstream *stream);

/**
 * tarstream_skip() - jump over data of the entry at hand, for who can seek.
 * Return: bytes of data that are now taken for fed without having been seen, 0 where the
 * next byte is not data.
 */
uint64_t tarstream_skip(struct tarstream *stream);

/** tarstream_path() - of the entry at hand, for messages; "" where there is none. Borrowed. */
const char *tarstream_path(const struct tarstream *stream);

static inline void cleanup_tarstreamp(struct tarstream **stream)
{
	tarstream_free(*stream);
}

#define cleanup_tarstream __attribute__((cleanup(cleanup_tarstreamp)))
