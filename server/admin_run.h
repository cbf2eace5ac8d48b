/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what an admin_request asks for, in the running server or in a command that has the
 * store's lock, and puts what comes of it into JSON:
 *
 *     {"progress":"blobs","done":N}                             now and then
 *     {"found":{"kind","repository","name","text","repaired"}}  fsck: one for each problem
 *
 * and at the end the report, whose members are those of struct store_stat, fsck_report and
 * gc_report.
 */
#pragma once

#include "server/admin_request.h"
#include "server/request.h"

struct admin_output {
	/* @line: borrowed. Return: 0, or -errno, which ends the work early. */
	int (*line)(void *context, const json_t *line);
	void *context;
	bool live;		 /* in a running server: bound what it takes from the requests */
	bool index_lost;	 /* there was none that could be opened */
	const atomic_bool *stop; /* may be NULL */
};

/**
 * admin_run() - @services: its store is open; without an index the store is not being served.
 * *@report: allocated.
 * Context: a thread of its own; takes long.
 * Return: 0 (also when problems were found), or -errno with @problem.
 */
int admin_run(const struct admin_request *request, struct services *services,
	      const struct admin_output *output, json_t **report,
	      struct problem *problem) must_check;
