/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What intinode-serve gc|fsck|stat ask for, on a command line or over STORE/control
 * (admin.h). As JSON it is one object on one line:
 *
 *     {"op":"stat"}
 *     {"op":"fsck","repair":false,"quick":false,"rate":0}      bytes a second; 0: the default
 *     {"op":"gc","dry_run":false,"untagged_s":3600}            without untagged_s: keep untagged
 *
 * Members that are missing are false or absent; members that are not known are refused, so
 * that an old server never does half of what a new command meant.
 */
#pragma once

#include "lib/json.h"

enum { ADMIN_REQUEST_MAX = 4096 };

enum admin_op { ADMIN_STAT, ADMIN_FSCK, ADMIN_GC };

struct admin_request {
	enum admin_op op;
	bool repair, quick, dry_run;
	bool has_untagged;
	uint64_t rate;	     /* bytes a second; 0: the default */
	uint64_t untagged_s; /* with has_untagged */
};

/** admin_request_parse() - untrusted text. Return: 0; -EINVAL with @problem; -ENOMEM. */
int admin_request_parse(const char *text, size_t len, struct admin_request *out,
			struct problem *problem) must_check;

/** admin_request_json() - the other way; NULL = no memory. */
json_t *admin_request_json(const struct admin_request *request) must_check;
