/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that says which libfuse interface the fuse front end is written for. */
#pragma once

#define FUSE_USE_VERSION 314
