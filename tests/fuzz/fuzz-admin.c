/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on the control socket: any bytes. What is taken means the same when written anew. */
#include <assert.h>
#include <string.h>

#include "lib/log.h"
#include "server/admin_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct admin_request request, again;
	cleanup_json json_t *value = NULL;
	cleanup_free char *text = NULL;
	struct problem problem = { "" };

	if (admin_request_parse((const char *)data, size, &request, &problem)) {
		assert(problem.text[0]);
		return 0;
	}
	value = admin_request_json(&request);
	text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	assert(text);
	if (admin_request_parse(text, strlen(text), &again, NULL))
		abort();
	assert(request.op == again.op && request.repair == again.repair &&
	       request.quick == again.quick && request.dry_run == again.dry_run &&
	       request.has_untagged == again.has_untagged && request.rate == again.rate &&
	       request.untagged_s == again.untagged_s);
	return 0;
}
