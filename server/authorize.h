/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step between a request's headers and its operation: may who sent it do that? Answers 401
 * with a challenge (RFC 9110, 11.6.1; the token scheme of the Docker registry), or 403.
 */
#pragma once

#include "server/request.h"

enum authorization {
	AUTHORIZATION_DONE,   /* allowed, or answered */
	AUTHORIZATION_BLOCKS, /* to be called on a worker, with @may_block */
	AUTHORIZATION_WAITS,  /* to be called when request->login is told to ask again */
};

/**
 * authorize() - before the operation's begin(). @may_block: this is a worker. After
 * AUTHORIZATION_WAITS the request is not the caller's any more.
 */
enum authorization authorize(struct request *request, bool may_block);

/** request_may() - may who sent it do that with @repository? For names in a query. */
bool request_may(const struct request *request, const char *repository, enum action action);

/** request_sees_all() - is nothing hidden from who sent it? */
bool request_sees_all(const struct request *request);

/** authorize_end() - forget who sent it. */
void authorize_end(struct request *request);
