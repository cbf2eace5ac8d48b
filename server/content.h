/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the content of a blob gets into an answer, in whichever form it is stored: as it came
 * by sendfile, packed decoded on the way. Small content is read at once into memory, and sent
 * if it is what its name says; large content is decoded frame by frame while it is sent; a range
 * decodes the frames it touches.
 *
 * Context: any thread; reads the disk.
 */
#pragma once

#include "server/range.h"
#include "server/request.h"

/**
 * reply_content() - @len bytes of the content from @off on. @blob is taken over.
 * What cannot be read becomes an error answer, which is logged.
 */
void reply_content(struct request *request, unsigned int status, struct blob *blob, uint64_t off,
		   uint64_t len);

/**
 * reply_checked() - all of the content, hashed before the first byte is sent, however large it
 * is: for manifests. @blob is taken over.
 */
void reply_checked(struct request *request, unsigned int status, struct blob *blob);

/**
 * reply_blob() - 200 with all of a blob. Where somebody is to keep the answer (request->keeper), it
 * holds no descriptor, as a rule: small content is in memory, of larger a file's pages are mapped.
 * Small and kept content was hashed before. @blob is taken over.
 */
void reply_blob(struct request *request, struct blob *blob);

/** reply_frames() - the whole of a packed blob as it is stored. @blob is taken over. */
void reply_frames(struct request *request, struct blob *blob);

/**
 * reply_parts() - 206 with several ranges of the content, multipart/byteranges (RFC 9110, 14.6).
 * @blob is taken over. @ranges: copied. @content_type: a literal.
 */
void reply_parts(struct request *request, struct blob *blob, const struct byte_range *ranges,
		 unsigned int n, const char *content_type);
