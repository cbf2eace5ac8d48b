/* SPDX-License-Identifier: Apache-2.0 */
/* The sub-commands, one file each; client/main.c has their table. */
#pragma once

#include "client/options.h"

int command_cache(const struct command *command, int argc, char **argv);
int command_convert(const struct command *command, int argc, char **argv);
int command_mount(const struct command *command, int argc, char **argv);
int command_prefetch(const struct command *command, int argc, char **argv);
int command_status(const struct command *command, int argc, char **argv);
int command_stub(const struct command *command, int argc, char **argv);
int command_thicken(const struct command *command, int argc, char **argv);
int command_umount(const struct command *command, int argc, char **argv);
int command_verify(const struct command *command, int argc, char **argv);
int command_why(const struct command *command, int argc, char **argv);

extern const char cache_details[];
extern const char convert_details[];
extern const char mount_details[];
extern const char prefetch_details[];
extern const char status_details[];
extern const char stub_details[];
extern const char thicken_details[];
extern const char umount_details[];
extern const char verify_details[];
extern const char why_details[];
