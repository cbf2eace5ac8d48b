/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's headers ask of a representation: its coding (RFC 9110, 12.5.3) and its
 * preconditions (13.1). Pure functions of header text, which may be anything.
 */
#pragma once

#include "lib/util.h"

/**
 * accepts_zstd() - does an Accept-Encoding header (or NULL) list zstd with q > 0, and identity
 * not with a higher one?
 */
bool accepts_zstd(const char *accept_encoding);

/**
 * etag_listed() - does an If-None-Match or If-Match list name the entity tag @etag?
 * @header: or NULL. "*" names every tag.
 * @etag: with its quotes.
 * @weak: W/"x" is "x", too (If-None-Match); else weak tags match nothing (If-Match).
 */
bool etag_listed(const char *header, const char *etag, bool weak);

/**
 * etag_allows_change() - do If-Match and If-None-Match (each may be NULL) let a request change
 * what has the entity tag @etag now, or is not there (NULL)?
 */
bool etag_allows_change(const char *if_match, const char *if_none_match, const char *etag);
