/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images, as skopeo spells them, and the grammar of repository names and
 * tags (OCI distribution specification, "Pulling manifests").
 */
#pragma once

#include "lib/digest.h"

enum reference_transport {
	REFERENCE_DOCKER,      /* docker://HOST[:PORT]/REPO[:TAG][@DIGEST] */
	REFERENCE_OCI,	       /* oci:DIR[:TAG] */
	REFERENCE_OCI_ARCHIVE, /* oci-archive:FILE[:TAG] */
	REFERENCE_DIR,	       /* dir:PATH, a plain root directory */
};

enum {
	REPOSITORY_MAX = 255,
	TAG_MAX = 128,
	HOST_MAX = 261, /* 255 + ":65535" */
};

struct problem;

/* All strings are owned; free with reference_free(). Unused ones are NULL. */
struct reference {
	enum reference_transport transport;
	char *host;	  /* docker: "HOST[:PORT]", lower case */
	char *repository; /* docker */
	char *tag;  /* docker: "latest" where neither tag nor digest was given; oci: may be NULL */
	char *path; /* oci, oci-archive, dir */
	bool has_digest;
	struct digest digest;
};

/**
 * reference_parse() - read what a user typed.
 * @problem: says what is wrong with it and what a right one looks like.
 * Return: 0, -EINVAL or -ENOMEM. Untrusted input is fine.
 */
int reference_parse(const char *text, struct reference *out, struct problem *problem) must_check;

void reference_free(struct reference *reference);

/** reference_format() - the canonical text, which parses back. The caller frees it; NULL = no
 * memory. */
char *reference_format(const struct reference *reference) must_check;

/** reference_version() - what goes into a manifest URL: the digest where there is one, else the
 * tag. */
const char *reference_version(const struct reference *reference,
			      char buffer[static DIGEST_TEXT_SIZE]);

/** repository_is_valid(), tag_is_valid(), host_is_valid() - the grammars, over any bytes. */
bool repository_is_valid(const char *text, size_t len);
bool tag_is_valid(const char *text, size_t len);

/** host_is_valid() - "name", "name:port", "1.2.3.4:port", "[::1]:port"; no user, no path. */
bool host_is_valid(const char *text, size_t len);

/** host_is_loopback() - localhost, 127.0.0.0/8 or ::1: plain HTTP is the default there. */
bool host_is_loopback(const char *host);

static inline void cleanup_referencep(struct reference *reference)
{
	reference_free(reference);
}

#define cleanup_reference __attribute__((cleanup(cleanup_referencep)))
