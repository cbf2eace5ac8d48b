/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content that is read, and decoded where it is packed, while it is sent.
 *
 * Context: any thread; the disk is read by libmicrohttpd's.
 */
#pragma once

#include "server/range.h"
#include "server/request.h"

/**
 * reply_reader() - @n ranges of the content, in their order. @ranges: copied.
 * @content_type: a literal: they are parts of a multipart/byteranges body (RFC 9110, 14.6), each of
 * this type; NULL: one range, and nothing else.
 * Return: 0: @blob was taken over, there is an answer; or -ENOMEM.
 */
int reply_reader(struct request *request, unsigned int status, struct blob *blob,
		 const struct byte_range *ranges, unsigned int n,
		 const char *content_type) must_check;
