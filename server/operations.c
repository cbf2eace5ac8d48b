/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table that says which function serves what. */
#include "server/operations.h"

static const struct operation operations[] = {
	{ .endpoint = ENDPOINT_BASE,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = ping_begin,
	  .need = NEED_LOGIN },
	{ .endpoint = ENDPOINT_CATALOG,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .finish = catalog_finish,
	  .on_worker = true,
	  .need = NEED_CATALOG },
	{ .endpoint = ENDPOINT_BLOB,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = blob_get_begin,
	  .need = NEED_PULL },
	{ .endpoint = ENDPOINT_BLOB,
	  .methods = METHOD_DELETE,
	  .finish = blob_delete_finish,
	  .on_worker = true,
	  .need = NEED_DELETE },
	{ .endpoint = ENDPOINT_UPLOADS,
	  .methods = METHOD_POST,
	  .begin = uploads_post_begin,
	  .body = upload_body,
	  .finish = uploads_post_finish,
	  .end = upload_end,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_UPLOAD,
	  .methods = METHOD_PATCH,
	  .begin = upload_patch_begin,
	  .body = upload_body,
	  .finish = upload_patch_finish,
	  .end = upload_end,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_UPLOAD,
	  .methods = METHOD_PUT,
	  .begin = upload_put_begin,
	  .body = upload_body,
	  .finish = upload_put_finish,
	  .end = upload_end,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_UPLOAD,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .finish = upload_get_finish,
	  .end = upload_end,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_UPLOAD,
	  .methods = METHOD_DELETE,
	  .finish = upload_delete_finish,
	  .end = upload_end,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_MANIFEST,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = manifest_get_begin,
	  .need = NEED_PULL },
	{ .endpoint = ENDPOINT_MANIFEST,
	  .methods = METHOD_PUT,
	  .begin = manifest_put_begin,
	  .body = manifest_put_body,
	  .finish = manifest_put_finish,
	  .on_worker = true,
	  .need = NEED_PUSH },
	{ .endpoint = ENDPOINT_MANIFEST,
	  .methods = METHOD_DELETE,
	  .begin = manifest_delete_begin,
	  .finish = manifest_delete_finish,
	  .on_worker = true,
	  .need = NEED_DELETE },
	{ .endpoint = ENDPOINT_TAGS,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .finish = tags_finish,
	  .on_worker = true,
	  .need = NEED_PULL },
	{ .endpoint = ENDPOINT_REFERRERS,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .finish = referrers_finish,
	  .on_worker = true,
	  .need = NEED_PULL },
	{ .endpoint = ENDPOINT_METRICS,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = metrics_begin,
	  .need = NEED_NOTHING },
	{ .endpoint = ENDPOINT_HEALTH,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = health_begin,
	  .need = NEED_NOTHING },
	{ .endpoint = ENDPOINT_READY,
	  .methods = METHOD_GET | METHOD_HEAD,
	  .begin = ready_begin,
	  .need = NEED_NOTHING },
};

const struct operation *operation_find(enum endpoint endpoint, enum method method)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (operations[i].endpoint == endpoint && operations[i].methods & method)
			return &operations[i];
	}
	return NULL;
}

void operation_allow(enum endpoint endpoint, char out[static 64])
{
	static const char *const names[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" };
	unsigned int methods = 0;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (operations[i].endpoint == endpoint)
			methods |= operations[i].methods;
	}
	out[0] = '\0';
	for (size_t i = 0, len = 0; i < ARRAY_SIZE(names); i++) {
		if (methods & 1u << i)
			len += (size_t)snprintf(out + len, 64 - len, "%s%s", len ? ", " : "",
						names[i]);
	}
}
