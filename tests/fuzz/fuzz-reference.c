/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: any text. What parses has one canonical form, which parses to itself. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/reference.h"
#include "lib/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_reference struct reference reference = { 0 };
	cleanup_reference struct reference again = { 0 };
	cleanup_free char *text = strndup((const char *)data, size);
	cleanup_free char *canonical = NULL;
	cleanup_free char *canonical_again = NULL;
	struct problem problem;

	if (!text || reference_parse(text, &reference, &problem) < 0)
		return 0;
	canonical = reference_format(&reference);
	assert(canonical);
	if (reference_parse(canonical, &again, &problem) < 0)
		abort();
	canonical_again = reference_format(&again);
	assert(canonical_again && !strcmp(canonical, canonical_again));
	return 0;
}
