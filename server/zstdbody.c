/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns compressed responses and their cache. The cache is a table of fixed size, each
 * digest has one slot; a slot that is wanted by another digest, or met by the hand that
 * makes room, is emptied. Bytes that are being sent are counted references.
 */
#include "server/zstdbody.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <zstd.h>

enum {
	LEVEL = 5,	 /* 3 is a third faster, and its output 3 % larger */
	WINDOW_LOG = 21, /* 2 MiB; 23 is the most HTTP allows */
	SLOTS = 8192,
	PROBE_BYTES = 64 * 1024,
	INPUT_BYTES = 128 * 1024,
};

/* Compressed bytes that a slot and responses share. */
struct packed {
	atomic_uint refs;
	size_t len; /* 0: the content does not shrink */
	char bytes[];
};

struct zstd_cache {
	pthread_mutex_t lock;
	uint64_t max_bytes, bytes; /* bytes: under lock */
	unsigned int hand;	   /* under lock */
	atomic_uint n_streams;
	struct {
		struct digest digest;
		struct packed *packed; /* referenced */
	} slots[SLOTS];		       /* under lock */
};

struct stream {
	struct zstd_cache *cache;
	ZSTD_CCtx *context; /* owned */
	int fd;		    /* owned */
	uint64_t size_bytes, off;
	size_t in_pos, in_len;
	bool ended;
	char input[INPUT_BYTES];
};

struct zstd_cache *zstd_cache_new(uint64_t max_bytes)
{
	struct zstd_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	pthread_mutex_init(&cache->lock, NULL);
	cache->max_bytes = max_bytes;
	return cache;
}

static void packed_unref(void *argument)
{
	struct packed *packed = argument;

	if (packed && atomic_fetch_sub(&packed->refs, 1) == 1)
		free(packed);
}

void zstd_cache_free(struct zstd_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		packed_unref(cache->slots[i].packed);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static unsigned int slot_of(const struct digest *digest)
{
	uint32_t value;

	memcpy(&value, digest->bytes, sizeof(value));
	return value % SLOTS;
}

/* A reference, or NULL. */
static struct packed *cache_get(struct zstd_cache *cache, const struct digest *digest)
{
	unsigned int i = slot_of(digest);
	struct packed *packed = NULL;

	pthread_mutex_lock(&cache->lock);
	if (cache->slots[i].packed && digest_equal(&cache->slots[i].digest, digest)) {
		packed = cache->slots[i].packed;
		packed->refs++;
	}
	pthread_mutex_unlock(&cache->lock);
	return packed;
}

/* Under lock. */
static void empty_slot(struct zstd_cache *cache, unsigned int i)
{
	struct packed *packed = steal_ptr(cache->slots[i].packed);

	if (!packed)
		return;
	cache->bytes -= packed->len + sizeof(*packed);
	packed_unref(packed);
}

static void cache_put(struct zstd_cache *cache, const struct digest *digest, struct packed *packed)
{
	uint64_t need = packed->len + sizeof(*packed);
	unsigned int i = slot_of(digest);

	if (need > cache->max_bytes)
		return;
	pthread_mutex_lock(&cache->lock);
	empty_slot(cache, i);
	while (cache->bytes + need > cache->max_bytes)
		empty_slot(cache, cache->hand++ % SLOTS);
	packed->refs++;
	cache->slots[i].packed = packed;
	cache->slots[i].digest = *digest;
	cache->bytes += need;
	pthread_mutex_unlock(&cache->lock);
}

bool zstd_is_accepted(const char *accept_encoding)
{
	const char *p = accept_encoding;

	while (p && *p) {
		size_t len, name;

		p += strspn(p, " \t,");
		len = strcspn(p, ",");
		name = strcspn(p, ";, \t");
		if (name == 4 && !strncasecmp(p, "zstd", 4)) {
			const char *q = memchr(p, '=', len);

			/* q=0, q=0., q=0.000 mean "not this" */
			return !q || q[1 + strspn(q + 1, " 0.")] >= '1';
		}
		p += len;
	}
	return false;
}

/* Content that is compressed already starts with one of these. */
static bool is_packed_format(const char *bytes, size_t len)
{
	static const struct {
		const char *magic;
		size_t len;
	} magics[] = {
		{ "\x1f\x8b", 2 },
		{ "\x28\xb5\x2f\xfd", 4 },
		{ "\xfd"
		  "7zXZ",
		  5 },
		{ "BZh", 3 },
		{ "PK\x03\x04", 4 },
		{ "\x89PNG", 4 },
		{ "\xff\xd8\xff", 3 },
		{ "7z\xbc\xaf\x27\x1c", 6 },
		{ "\x04\x22\x4d\x18", 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		if (len >= magics[i].len && !memcmp(bytes, magics[i].magic, magics[i].len))
			return true;
	}
	return false;
}

static bool shrinks(size_t packed, size_t plain)
{
	return packed <= plain - plain / 10;
}

static ssize_t read_at(int fd, char *bytes, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, bytes + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int pack_small(int fd, size_t size, struct packed **out)
{
	cleanup_free char *plain = malloc(size);
	size_t bound = ZSTD_compressBound(size), len = 0;
	struct packed *packed, *shrunk;
	ssize_t n;

	if (!plain)
		return -ENOMEM;
	n = read_at(fd, plain, size, 0);
	if (n < 0 || (size_t)n != size)
		return n < 0 ? (int)n : -EIO;
	packed = malloc(sizeof(*packed) + bound);
	if (!packed)
		return -ENOMEM;
	if (!is_packed_format(plain, size)) {
		len = ZSTD_compress(packed->bytes, bound, plain, size, LEVEL);
		if (ZSTD_isError(len) || !shrinks(len, size))
			len = 0;
	}
	shrunk = realloc(packed, sizeof(*packed) + len);
	if (shrunk)
		packed = shrunk;
	atomic_init(&packed->refs, 1);
	packed->len = len;
	*out = packed;
	return 0;
}

static int respond_small(struct zstd_cache *cache, int fd, size_t size, const struct digest *digest,
			 struct MHD_Response **out, uint64_t *bytes)
{
	struct packed *packed = cache_get(cache, digest);
	int r;

	if (!packed) {
		r = pack_small(fd, size, &packed);
		if (r)
			return r;
		cache_put(cache, digest, packed);
	}
	if (!packed->len) {
		packed_unref(packed);
		return -ENOTSUP;
	}
	*out = MHD_create_response_from_buffer_with_free_callback_cls(packed->len, packed->bytes,
								      packed_unref, packed);
	if (!*out) {
		packed_unref(packed);
		return -ENOMEM;
	}
	*bytes = packed->len;
	close(fd);
	return 0;
}

static void stream_free(void *argument)
{
	struct stream *stream = argument;

	ZSTD_freeCCtx(stream->context);
	if (stream->fd >= 0)
		close(stream->fd);
	stream->cache->n_streams--;
	free(stream);
}

static ssize_t stream_read(void *argument, uint64_t pos, char *buffer, size_t max)
{
	struct stream *stream = argument;
	ZSTD_outBuffer out = { .dst = buffer, .size = max };

	(void)pos;
	while (!stream->ended && out.pos < out.size) {
		ZSTD_inBuffer in;
		bool last;
		size_t left;

		if (stream->in_pos == stream->in_len && stream->off < stream->size_bytes) {
			ssize_t n = read_at(stream->fd, stream->input, INPUT_BYTES, stream->off);

			if (n <= 0) /* a blob is never shorter than it was */
				return MHD_CONTENT_READER_END_WITH_ERROR;
			stream->in_pos = 0;
			stream->in_len = (size_t)n;
			stream->off += (uint64_t)n;
		}
		last = stream->off >= stream->size_bytes;
		in = (ZSTD_inBuffer){ stream->input, stream->in_len, stream->in_pos };
		left = ZSTD_compressStream2(stream->context, &out, &in,
					    last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		stream->in_pos = in.pos;
		stream->ended = last && left == 0;
	}
	return out.pos ? (ssize_t)out.pos : MHD_CONTENT_READER_END_OF_STREAM;
}

/* Is the beginning worth it? What follows is taken to be alike. */
static int probe(const char *bytes, size_t len)
{
	cleanup_free char *packed = NULL;
	size_t bound = ZSTD_compressBound(len), n;

	if (is_packed_format(bytes, len))
		return -ENOTSUP;
	packed = malloc(bound);
	if (!packed)
		return -ENOMEM;
	n = ZSTD_compress(packed, bound, bytes, len, 1);
	return !ZSTD_isError(n) && shrinks(n, len) ? 0 : -ENOTSUP;
}

static int respond_stream(struct zstd_cache *cache, int fd, uint64_t size_bytes,
			  struct MHD_Response **out, uint64_t *bytes)
{
	struct stream *stream;
	ssize_t n;
	int r;

	if (atomic_fetch_add(&cache->n_streams, 1) >= ZSTD_STREAMS_MAX) {
		cache->n_streams--;
		return -ENOTSUP;
	}
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		cache->n_streams--;
		return -ENOMEM;
	}
	stream->cache = cache;
	stream->fd = -1; /* the caller keeps it until nothing can fail */
	stream->size_bytes = size_bytes;
	n = read_at(fd, stream->input, PROBE_BYTES, 0);
	r = n < 0 ? (int)n : probe(stream->input, (size_t)n);
	stream->context = r ? NULL : ZSTD_createCCtx();
	if (!r &&
	    (!stream->context ||
	     ZSTD_isError(
		     ZSTD_CCtx_setParameter(stream->context, ZSTD_c_compressionLevel, LEVEL)) ||
	     ZSTD_isError(ZSTD_CCtx_setParameter(stream->context, ZSTD_c_windowLog, WINDOW_LOG)) ||
	     ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(stream->context, size_bytes))))
		r = -ENOMEM;
	if (!r) {
		*out = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, INPUT_BYTES, stream_read,
							 stream, stream_free);
		r = *out ? 0 : -ENOMEM;
	}
	if (r) {
		stream_free(stream);
		return r;
	}
	stream->fd = fd;
	*bytes = UINT64_MAX;
	return 0;
}

int zstd_respond(struct zstd_cache *cache, int fd, uint64_t size_bytes, const struct digest *digest,
		 struct MHD_Response **out, uint64_t *bytes)
{
	if (size_bytes < ZSTD_SIZE_MIN)
		return -ENOTSUP;
	if (size_bytes <= ZSTD_SMALL_MAX)
		return respond_small(cache, fd, (size_t)size_bytes, digest, out, bytes);
	return respond_stream(cache, fd, size_bytes, out, bytes);
}
