/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a mount record to a mounted directory, and back. The record (lib/control.h,
 * "register") says everything: bringing it up needs local data only, which is why
 * "mount --restore" works with the network down.
 */
#pragma once

#include "client/host.h"

enum bringup_kind { BRINGUP_NEW, BRINGUP_AGAIN };

/**
 * bringup() - register @record, mount its image at RUN/images/IMAGE unless another mount
 * has done so, and show it at its mount point, read-only or with a writable layer.
 * A mounted image whose daemon or miss layer is gone is mounted anew.
 *
 * BRINGUP_NEW: -EBUSY when something is mounted at the mount point. On an error everything is
 * as it was, and @record is not registered.
 * BRINGUP_AGAIN: what is mounted there is right, unless it is ours and shows an image that is
 * gone: then it is replaced. @record stays registered on an error, for the next attempt.
 *
 * Return: 0, 1 when there was nothing to do, or negative errno with @problem.
 */
int bringup(struct host *host, json_t *record, enum bringup_kind kind,
	    struct problem *problem) must_check;

/**
 * bringdown() - unmount, forget, and unmount the image after its last mount. What somebody
 * else has mounted at the mount point stays.
 * @lazy: detach now, even when in use. -EBUSY otherwise, with everything as it was.
 */
int bringdown(struct host *host, const json_t *record, bool lazy,
	      struct problem *problem) must_check;
