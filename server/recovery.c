/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the thread that makes things whole again. It looks once a second, which costs nothing,
 * and waits longer after each attempt that failed.
 */
#include "server/recovery.h"

#include <string.h>

#include "lib/background.h"
#include "lib/log.h"
#include "server/index_rebuild.h"

enum { LOOK_S = 1, WAIT_MAX_S = 30 };

struct recovery {
	struct store *store; /* borrowed */
	struct index *index; /* borrowed */
	struct background background;
	bool rebuild; /* this thread only: files and index must be compared */
	atomic_bool in_step;
};

/* Return: 0, also when there was nothing to do. */
static int mend_index(struct recovery *recovery)
{
	int r;

	if (!recovery->rebuild && !index_needs_repair(recovery->index))
		return 0;
	recovery->rebuild = true;
	recovery->in_step = false;
	r = index_repair(recovery->index);
	if (!r)
		r = index_rebuild(recovery->index, recovery->store, &recovery->background.stop);
	if (r == -ECANCELED)
		return 0;
	if (r) {
		log_error("index: it cannot be rebuilt: %s; this is tried again", strerror(-r));
		return r;
	}
	recovery->rebuild = false;
	recovery->in_step = true;
	return 0;
}

static int mend_store(struct recovery *recovery)
{
	return store_is_read_only(recovery->store) ? store_probe(recovery->store) : 0;
}

static void *recovery_main(void *argument)
{
	struct recovery *recovery = argument;
	unsigned int wait_s = LOOK_S;

	while (!recovery->background.stop) {
		int r = mend_store(recovery);

		if (!r)
			r = mend_index(recovery);
		wait_s = !r ? LOOK_S : wait_s < WAIT_MAX_S / 2 ? wait_s * 2 : WAIT_MAX_S;
		background_sleep(&recovery->background, wait_s * INT64_C(1000));
	}
	return NULL;
}

int recovery_new(struct store *store, struct index *index, enum index_state state,
		 struct recovery **out)
{
	struct recovery *recovery = calloc(1, sizeof(*recovery));
	int r;

	if (!recovery)
		return -ENOMEM;
	recovery->store = store;
	recovery->index = index;
	recovery->rebuild = state != INDEX_CLEAN;
	recovery->in_step = state == INDEX_CLEAN;
	if (state != INDEX_EMPTY)
		index_set_ready(index, index_failures(index));
	r = background_start(&recovery->background, recovery_main, recovery);
	if (r) {
		free(recovery);
		return r;
	}
	*out = recovery;
	return 0;
}

bool recovery_free(struct recovery *recovery)
{
	bool in_step;

	if (!recovery)
		return false;
	background_stop(&recovery->background);
	in_step = recovery->in_step;
	free(recovery);
	return in_step;
}
