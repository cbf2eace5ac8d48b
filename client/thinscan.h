/* SPDX-License-Identifier: Apache-2.0 */
/* Every stub of a thin image, read from its layers. */
#pragma once

#include "lib/image.h"
#include "lib/stub.h"

typedef int (*thin_scan_found)(void *context, const struct stub *stub, const char *path);

/**
 * thin_scan() - call @found for each stub in the layers of @image, in order.
 * Return: 0; -errno with @problem that names the layer; what @found returned.
 */
int thin_scan(struct image_store *store, const struct oci_document *image, thin_scan_found found,
	      void *context, struct problem *problem) must_check;
