/* SPDX-License-Identifier: Apache-2.0 */
/* The fetchd of this host, as the mount commands see it: its directories and its answers. */
#pragma once

#include "lib/control.h"

struct host {
	unsigned int deadline_ms;  /* of fetchd; 0: it did not say */
	struct control *control;   /* owned */
	char *cache, *state, *run; /* owned */
	int layers_fd;		   /* owned: STATE/layers */
	const char *socket;	   /* borrowed, NULL: the default */
};

/** host_open() - connect to fetchd. @socket NULL: the default. Close with host_close(). */
int host_open(const char *socket, struct host *out, struct problem *problem) must_check;
void host_close(struct host *host);

/**
 * host_register() - *@miss is owned by the caller, NULL where the front end needs none.
 * *@fresh: it was made just now, so an image that is mounted has another, which is gone.
 */
int host_register(struct host *host, json_t *record, char **miss, bool *fresh,
		  struct problem *problem) must_check;
int host_unregister(struct host *host, const char *id, struct problem *problem) must_check;

/** host_mounts() - the registered mounts; an array that the caller owns. */
int host_mounts(struct host *host, json_t **out, struct problem *problem) must_check;
