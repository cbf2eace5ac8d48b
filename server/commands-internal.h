/* SPDX-License-Identifier: Apache-2.0 */
/* Between the command lines and who does the work. */
#pragma once

#include "server/admin_request.h"
#include "server/options.h"

/**
 * commands_ask() - have it done by the server on that store, or do it.
 * @line: gets each line but the last (admin_run.h).
 * *@report: allocated.
 * Return: 0 or -errno with @problem.
 */
int commands_ask(const struct admin_request *request, const struct options *options,
		 int (*line)(void *context, const json_t *line), void *context, json_t **report,
		 struct problem *problem) must_check;
