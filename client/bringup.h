/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a mount record to a mounted directory, and back. The record (lib/control.h,
 * "register") says everything: bringing it up needs local data only, which is why
 * "mount --restore" works with the network down.
 */
#pragma once

#include "client/host.h"

/**
 * bringup() - register @record, mount its image at RUN/images/IMAGE unless another mount
 * has done so, and show it at its mount point, read-only or with a writable layer.
 * On an error everything is as it was.
 */
int bringup(struct host *host, json_t *record, struct problem *problem) must_check;

/**
 * bringdown() - unmount, forget, and unmount the image after its last mount.
 * @lazy: detach now, even when in use. -EBUSY otherwise, with everything as it was.
 */
int bringdown(struct host *host, const json_t *record, bool lazy,
	      struct problem *problem) must_check;
