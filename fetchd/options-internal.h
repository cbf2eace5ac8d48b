/* SPDX-License-Identifier: Apache-2.0 */
/* The sections about sources, for the table of options. */
#pragma once

#include "fetchd/options.h"

/* As struct config_option wants them: [registry HOST] and [s3 BUCKET]. */
int options_set_registry(void *target, const char *host, const char *key, const char *value,
			 struct problem *problem) must_check;
int options_set_bucket(void *target, const char *name, const char *key, const char *value,
		       struct problem *problem) must_check;

/** options_check_sources() - is everything there that they need? Return: 0 or -EINVAL. */
int options_check_sources(const struct options *options, struct problem *problem) must_check;

void options_free_sources(struct options *options);
