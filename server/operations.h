/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all operations, each in the file of its endpoint. */
#pragma once

#include "server/request.h"

void ping_begin(struct request *request);

void blob_get_begin(struct request *request);
void blob_delete_finish(struct request *request);

void uploads_post_begin(struct request *request);
void uploads_post_finish(struct request *request);
void upload_patch_begin(struct request *request);
void upload_patch_finish(struct request *request);
void upload_put_begin(struct request *request);
void upload_put_finish(struct request *request);
void upload_body(struct request *request, const char *bytes, size_t len);
void upload_get_finish(struct request *request);
void upload_delete_finish(struct request *request);
void upload_end(struct request *request);

void manifest_get_begin(struct request *request);
void manifest_put_begin(struct request *request);
void manifest_put_body(struct request *request, const char *bytes, size_t len);
void manifest_put_finish(struct request *request);
void manifest_delete_begin(struct request *request);
void manifest_delete_finish(struct request *request);

void metrics_begin(struct request *request);
void health_begin(struct request *request);
void ready_begin(struct request *request);

void tags_finish(struct request *request);
void catalog_finish(struct request *request);
void referrers_finish(struct request *request);

/** operation_find() - NULL when the endpoint does not know the method. */
const struct operation *operation_find(enum endpoint endpoint, enum method method);

/** operation_allow() - the methods an endpoint knows, for an Allow header. */
void operation_allow(enum endpoint endpoint, char out[static 64]);
