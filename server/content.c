/* SPDX-License-Identifier: Apache-2.0 */
/* Owns which way content takes into its answer: memory, the file itself, a mapping, a reader. */
#include "server/content.h"

#include <string.h>
#include <sys/mman.h>

#include "server/hot.h"
#include "server/reader.h"
#include "server/verified.h"

enum {
	COPY_MAX = 8 * 1024, /* one message with the headers is quicker than sendfile */
	/* What is hashed before it is sent, and may be in memory for each client that waits. */
	SMALL_MAX = HOT_BLOB_MAX,
	/*
	 * Packed content decoded at once, so that damage is an error and no broken answer. What
	 * is over SMALL_MAX only while few such answers wait for their clients, together at most
	 * 64 MiB; then, and when it is larger, it is decoded while it is sent.
	 */
	MEMORY_MAX = 1024 * 1024,
	LARGE_ANSWERS_MAX = 64,
};

static atomic_uint n_large;

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
	if (!r && blob->size_bytes <= SMALL_MAX && !blob->is_frames)
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

/* Where @len is over SMALL_MAX, may_be_large() was true, and is given back with the answer. */
static void reply_memory(struct request *request, unsigned int status, struct blob *blob,
			 uint64_t off, uint64_t len)
{
	void (*release)(void *) = len > SMALL_MAX ? free_large : free;
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
			 const struct byte_range *ranges, unsigned int n, const char *content_type)
{
	if (reply_reader(request, status, blob, ranges, n, content_type))
		unreadable(request, blob, -ENOMEM);
}

/* Nothing at all, too: the file may have lost its bytes. */
static bool goes_through_memory(const struct request *request, const struct blob *blob,
				uint64_t len)
{
	return len <= COPY_MAX || (len <= SMALL_MAX && (blob->packed || request->keeper));
}

void reply_content(struct request *request, unsigned int status, struct blob *blob, uint64_t off,
		   uint64_t len)
{
	bool is_get = request->method == METHOD_GET;

	if (is_get && goes_through_memory(request, blob, len))
		reply_memory(request, status, blob, off, len);
	else if (!blob->packed)
		reply_fd(request, status, steal_fd(&blob->fd), off, len);
	else if (!is_get)
		/* libmicrohttpd sends no body, but the length: nothing is decoded for that. */
		reply_fd(request, status, steal_fd(&blob->fd), 0, len);
	else if (len <= MEMORY_MAX && may_be_large())
		reply_memory(request, status, blob, off, len);
	else
		reply_stream(request, status, blob, &(struct byte_range){ off, off + len - 1 }, 1,
			     NULL);
}

void reply_checked(struct request *request, unsigned int status, struct blob *blob)
{
	int r = 0;

	/* Other content is, on its way through memory. */
	if (request->method == METHOD_GET && !blob->packed &&
	    !goes_through_memory(request, blob, blob->size_bytes))
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

static void reply_mapped(struct request *request, struct blob *blob)
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
	request->in_memory = true;
	reply_response(request, 200, response, blob->size_bytes);
	blob_close(blob);
}

void reply_blob(struct request *request, struct blob *blob)
{
	/* libmicrohttpd sends a file in pieces; a mapping it sends at once. */
	if (request->keeper && !blob->packed && blob->size_bytes > SMALL_MAX)
		reply_mapped(request, blob);
	else if (blob->size_bytes <= SMALL_MAX)
		reply_checked(request, 200, blob);
	else
		reply_content(request, 200, blob, 0, blob->size_bytes);
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

void reply_parts(struct request *request, struct blob *blob, const struct byte_range *ranges,
		 unsigned int n, const char *content_type)
{
	reply_stream(request, 206, blob, ranges, n, content_type);
}
