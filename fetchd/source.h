/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: where a blob can come from, and which of them configuration allows.
 *
 * What a mount was made from is a source because an administrator named it. A stub's URL is
 * a hint: it counts only when its host has a [registry HOST] section (SAFETY.md, threat 1).
 */
#pragma once

#include "fetchd/options.h"
#include "lib/digest.h"

enum source_kind { SOURCE_OCI, SOURCE_URL, SOURCE_S3, SOURCE_LAYOUT };

/* Strings are owned; NULL where the kind has no use for them. */
struct source {
	enum source_kind kind;
	char *host;	  /* OCI, URL, S3 */
	char *repository; /* OCI */
	char *namespace;  /* OCI, of a mirror: the registry that it stands for */
	char *url;	  /* URL: complete. S3: what is in front of /sha256/<hex> */
	char *region;	  /* S3 */
	char *path;	  /* LAYOUT: directory of an OCI image layout */
};

enum { SOURCES_MAX = 16 };

struct source_list {
	struct source entries[SOURCES_MAX];
	size_t n;
};

/**
 * source_add_reference() - docker://HOST/REPO…, oci:DIR… or s3://BUCKET[/PREFIX], named by an
 * administrator. In front of a registry its mirrors are added.
 */
int source_add_reference(struct source_list *list, const char *reference,
			 const struct options *options, struct problem *problem) must_check;

/** source_url() - of @digest there; owned by the caller. URL and S3. Return: 0 or -ENOMEM. */
int source_url(const struct source *source, const struct digest *digest, char **out) must_check;

/**
 * source_add_hint() - a stub's URL (FORMAT.md 1), for @digest.
 * A URL that is malformed, of a form we cannot use, or of a host that is not allowed is
 * passed over with a debug line. Return: 0 or -ENOMEM.
 */
int source_add_hint(struct source_list *list, const char *url, const struct digest *digest,
		    const struct options *options) must_check;

/** source_copy_all() - append copies of @from. Duplicates are dropped. */
int source_copy_all(struct source_list *list, const struct source_list *from) must_check;

void source_list_clear(struct source_list *list);

/** source_describe() - "docker://HOST/REPO", for logs and status. Return: @out. */
char *source_describe(const struct source *source, char *out, size_t size);
