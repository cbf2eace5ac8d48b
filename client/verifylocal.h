/* SPDX-License-Identifier: Apache-2.0 */
/* "intinode verify --local": would an image run without the network? */
#pragma once

#include "client/options.h"

struct verify_local_options {
	const char *socket, *platform;
	bool json, quiet;
};

/**
 * verify_local() - is every content that @what names (client/contents.h) in the cache of this host?
 * Prints what is missing. Return: 0 all is there; 1 not; -errno with @problem.
 */
int verify_local(const char *what, const struct verify_local_options *options,
		 struct problem *problem) must_check;
