/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error answers: the fixed codes of the OCI distribution specification ("Error Codes"),
 * with the HTTP status each has, and the way from errno to an answer.
 */
#pragma once

#include "lib/util.h"

enum api_error {
	API_BLOB_UNKNOWN,
	API_BLOB_UPLOAD_INVALID,
	API_BLOB_UPLOAD_UNKNOWN,
	API_DIGEST_INVALID,
	API_MANIFEST_BLOB_UNKNOWN,
	API_MANIFEST_INVALID,
	API_MANIFEST_UNKNOWN,
	API_NAME_INVALID,
	API_NAME_UNKNOWN,
	API_SIZE_INVALID,
	API_UNAUTHORIZED,
	API_DENIED,
	API_UNSUPPORTED,
	API_TOOMANYREQUESTS,
	/* Not of the specification; registries have used them from the start. */
	API_UNAVAILABLE,
	API_UNKNOWN,
};

/** api_error_code() - "BLOB_UNKNOWN". */
const char *api_error_code(enum api_error error);

/** api_error_status() - the HTTP status that goes with it. */
unsigned int api_error_status(enum api_error error);

/**
 * api_error_json() - {"errors":[{"code","message","detail":null}]} as text.
 * @message: any bytes up to NUL; what is not UTF-8 was escaped by the caller.
 * Return: allocated text, or NULL without memory.
 */
char *api_error_json(enum api_error error, const char *message) must_check;

/**
 * api_error_from_errno() - what a failure of the store means to a client.
 * @status: 507 for a full disk, 503 where trying again helps, else 500.
 */
enum api_error api_error_from_errno(int error, unsigned int *status);
