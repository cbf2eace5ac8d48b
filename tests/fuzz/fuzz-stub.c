/* SPDX-License-Identifier: Apache-2.0 */
/* The stub parser: any bytes. What parses is written again, and that means the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stub stub, again;
	char text[STUB_SIZE_MAX];
	size_t len;

	if (!stub_parse(data, size, &stub))
		return 0;
	len = stub_format(&stub, text);
	assert(len <= STUB_SIZE_MAX);
	assert(stub_parse(text, len, &again));
	assert(!memcmp(stub.sha256, again.sha256, sizeof(stub.sha256)));
	assert(stub.size_bytes == again.size_bytes);
	assert(again.n_urls <= stub.n_urls);
	return 0;
}
