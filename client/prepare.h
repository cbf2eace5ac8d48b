/* SPDX-License-Identifier: Apache-2.0 */
/* Making everything local that a mount needs: from a reference or a directory to a record. */
#pragma once

#include "client/host.h"
#include "lib/registry.h"

struct frontend;

struct prepare_options {
	const char *what;	  /* reference or path, as typed */
	const char *mountpoint;	  /* absolute */
	const char *source;	  /* reference to fetch from; NULL: what @what names */
	const char *upper, *work; /* absolute, or both NULL */
	const char *platform;	  /* NULL: this machine's */
	bool quiet;
	const struct frontend *frontend;
	const struct registry_options *registry;
};

/**
 * prepare() - fetch and unpack the thin layers that are not here yet, or make the twin of
 * a directory; *@record is then ready for bringup().
 */
int prepare(struct host *host, const struct prepare_options *options, json_t **record,
	    struct problem *problem) must_check;

/** mount_id() - the id that a mount at @mountpoint has. Return: @out. */
char *mount_id(const char *mountpoint, char out[static 40]);
