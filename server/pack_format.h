/* SPDX-License-Identifier: Apache-2.0 */
/* The seek table behind the frames of a packed file, as its writer and its reader know it. */
#pragma once

enum {
	SEEK_TABLE_MAGIC = 0x184D2A5E,
	SEEK_HEADER_BYTES = 8, /* magic, length of what follows */
	SEEK_ENTRY_BYTES = 8,  /* of each frame: its length, its content's length */
	SEEK_FOOTER_BYTES = 9, /* number of frames, descriptor, magic */
};

#define SEEK_FOOTER_MAGIC 0x8F92EAB1u

/* A frame that does not shrink, and its checksum. Needs zstd.h. */
#define FRAME_BOUND (ZSTD_COMPRESSBOUND(PACK_FRAME) + 4)
