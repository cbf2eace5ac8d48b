/* SPDX-License-Identifier: Apache-2.0 */
/* Archives made by hand, for tests: every byte of a header can be wrong. */
#pragma once

#include "lib/tarheader.h"
#include "tests/unit/roundtrip.h"

struct new_header {
	const char *name;
	char type;
	const char *size_field;	    /* 12 bytes as they stand, or NULL: "%011o" */
	const char *checksum_style; /* for snprintf, or NULL: "%06o", NUL, blank */
	bool sparse_more;
};

void tar_set_checksum(uint8_t *block, const char *style, bool with_sign);
void tar_header_make(uint8_t *block, const struct new_header *h, uint64_t size);
void tar_add_padding(struct bytes *tar, char fill);
void tar_add_entry(struct bytes *tar, const struct new_header *h, const void *data, size_t len);
void tar_add_extension(struct bytes *tar, char type, const char *text);
void tar_add_end(struct bytes *tar);

/** tar_text() - text that no one takes for compressed. The caller frees it. */
char *tar_text(size_t len);
void tar_add_text(struct bytes *tar, const char *name, size_t len);
