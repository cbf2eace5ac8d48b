/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the file format of stub tables. */
#include "lib/stubtable.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const char magic[8] = "itbl0001";

struct record {
	uint8_t sha256[SHA256_BYTES];
	uint64_t size_le;
};

_Static_assert(sizeof(struct record) == 40, "records have no padding");

struct stubtable_builder {
	struct record *records; /* owned */
	size_t n, max;
};

struct stubtable {
	void *map; /* owned */
	size_t map_bytes;
	const struct record *records; /* into map */
	size_t n;
};

struct stubtable_builder *stubtable_builder_new(void)
{
	return calloc(1, sizeof(struct stubtable_builder));
}

void stubtable_builder_free(struct stubtable_builder *builder)
{
	if (!builder)
		return;
	free(builder->records);
	free(builder);
}

int stubtable_add(struct stubtable_builder *builder, const struct digest *digest,
		  uint64_t size_bytes)
{
	struct record *record;

	if (builder->n == builder->max) {
		size_t max = builder->max ? 2 * builder->max : 256;
		struct record *grown = realloc(builder->records, max * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		builder->records = grown;
		builder->max = max;
	}
	record = &builder->records[builder->n++];
	memcpy(record->sha256, digest->bytes, SHA256_BYTES);
	record->size_le = htole64(size_bytes);
	return 0;
}

static int compare_records(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_BYTES);
}

int stubtable_write(struct stubtable_builder *builder, int dirfd, const char *name)
{
	cleanup_free char *bytes = NULL;
	size_t n = 0, len;

	if (builder->n)
		qsort(builder->records, builder->n, sizeof(struct record), compare_records);
	for (size_t i = 0; i < builder->n; i++) {
		if (!n || compare_records(&builder->records[n - 1], &builder->records[i]))
			builder->records[n++] = builder->records[i];
	}
	builder->n = n;
	len = sizeof(magic) + n * sizeof(struct record);
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, magic, sizeof(magic));
	if (n)
		memcpy(bytes + sizeof(magic), builder->records, n * sizeof(struct record));
	return write_file_durably_at(dirfd, name, bytes, len, 0644);
}

int stubtable_open(int dirfd, const char *name, struct stubtable **out)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stubtable *table;
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if ((size_t)st.st_size < sizeof(magic) ||
	    ((size_t)st.st_size - sizeof(magic)) % sizeof(struct record))
		return -EBADMSG;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	table = memcmp(map, magic, sizeof(magic)) ? NULL : calloc(1, sizeof(*table));
	if (!table) {
		int r = memcmp(map, magic, sizeof(magic)) ? -EBADMSG : -ENOMEM;

		munmap(map, (size_t)st.st_size);
		return r;
	}
	table->map = map;
	table->map_bytes = (size_t)st.st_size;
	table->records = (const void *)((const char *)map + sizeof(magic));
	table->n = ((size_t)st.st_size - sizeof(magic)) / sizeof(struct record);
	*out = table;
	return 0;
}

void stubtable_close(struct stubtable *table)
{
	if (!table)
		return;
	munmap(table->map, table->map_bytes);
	free(table);
}

int stubtable_find(const struct stubtable *table, const struct digest *digest, uint64_t *size_bytes)
{
	const struct record *record;

	if (digest->algorithm != DIGEST_SHA256 || !table->n)
		return -ENOENT;
	record = bsearch(digest->bytes, table->records, table->n, sizeof(struct record),
			 compare_records);
	if (!record)
		return -ENOENT;
	*size_bytes = le64toh(record->size_le);
	return 0;
}

size_t stubtable_count(const struct stubtable *table)
{
	return table->n;
}

void stubtable_get(const struct stubtable *table, size_t i, struct digest *digest,
		   uint64_t *size_bytes)
{
	*digest = (struct digest){ .algorithm = DIGEST_SHA256 };
	memcpy(digest->bytes, table->records[i].sha256, SHA256_BYTES);
	*size_bytes = le64toh(table->records[i].size_le);
}
