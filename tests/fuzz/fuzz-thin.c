/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thinning: any bytes as a tar. What is accepted is restored bit for bit, and nothing in the
 * thin layer is a stub that the thinner did not make.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAGIC_OFF = 257, CHECKSUM_OFF = 148, CHECKSUM_LEN = 8 };

/* Make the checksum right, or no change to a header would ever be looked at. */
static void fix_checksum(uint8_t *block)
{
	char text[CHECKSUM_LEN];
	unsigned int sum = 0;

	memset(block + CHECKSUM_OFF, ' ', CHECKSUM_LEN);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + CHECKSUM_OFF, text, 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct thin_options options = { .inline_max = 300, .inline_packed_max = 100 };
	struct roundtrip trip;
	uint8_t *tar;
	size_t piece;

	if (size < 2)
		return 0;
	piece = 1 + data[0] * 7;
	if (data[1] & 1)
		options.url = "oci://registry.example/app";
	if (data[1] & 2)
		options.inline_max = 0;
	tar = malloc(size);
	if (!tar)
		return 0;
	size -= 2;
	memcpy(tar, data + 2, size);
	for (size_t off = 0; off + TAR_BLOCK <= size; off += TAR_BLOCK) {
		if (!memcmp(tar + off + MAGIC_OFF, "ustar", 5))
			fix_checksum(tar + off);
	}
	if (!roundtrip_run(&trip, &options, tar, size, piece) &&
	    (trip.thick.len != size || (size && memcmp(trip.thick.p, tar, size))))
		abort();
	roundtrip_free(&trip);
	free(tar);
	return 0;
}
