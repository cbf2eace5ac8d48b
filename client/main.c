/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table of sub-commands and the options in front of them. */
#include "config.h"

#include <signal.h>
#include <string.h>

#include "client/commands.h"

static const struct command commands[] = {
	{ "mount", "IMAGE|DIR MNT", "show an image whose files are fetched when they are opened",
	  mount_details, command_mount },
	{ "umount", "MNT...", "unmount it again", umount_details, command_umount },
	{ "status", "", "what is mounted and fetched, and who waits for what", status_details,
	  command_status },
	{ "why", "DIGEST|PATH", "what was done lately to get a file, and what went wrong",
	  why_details, command_why },
	{ "convert", "SRC DST", "make a thin image: files become stubs", convert_details,
	  command_convert },
	{ "thicken", "SRC DST", "make the full image again", thicken_details, command_thicken },
	{ "verify", "REF", "check that every file of a thin image can be fetched", verify_details,
	  command_verify },
	{ "prefetch", "WHAT", "fetch ahead what an image's stubs name", prefetch_details,
	  command_prefetch },
	{ "cache", "ACTION [WHAT...]",
	  "what the cache holds, and keeps: ls, pins, pin, unpin, gc, verify", cache_details,
	  command_cache },
	{ "stub", "FILE...", "say whether files are stubs, and whether they are cached",
	  stub_details, command_stub },
};

static void print_usage(FILE *out)
{
	fputs("usage: intinode [--log-level LEVEL] COMMAND ...\n\n"
	      "Container images whose files are fetched when they are opened.\n\n"
	      "Commands:\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n'intinode COMMAND --help' explains one, with examples.\n\n"
	      "Images are named as in skopeo:\n"
	      "  docker://HOST[:PORT]/REPO[:TAG]   in a registry\n"
	      "  oci:DIR[:TAG]                     in an OCI layout directory\n"
	      "  oci-archive:FILE[:TAG]            in a tar of one\n"
	      "  dir:PATH                          a plain root directory, to convert from\n\n"
	      "Options:\n"
	      "  --log-level LEVEL  error, warning, info (default) or debug\n"
	      "  --version          print the version\n"
	      "  --help             this text\n",
	      out);
}

/* Options before the command. Return: index of the command, or -1 with *@status. */
static int parse_global(int argc, char **argv, int *status)
{
	static const char level_option[] = "--log-level";
	size_t len = strlen(level_option);
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		enum log_level level;
		const char *value;

		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_usage(stdout);
			*status = EXIT_OK;
			return -1;
		}
		if (!strcmp(argv[i], "--version")) {
			puts("intinode " PACKAGE_VERSION);
			*status = EXIT_OK;
			return -1;
		}
		*status = EXIT_USAGE;
		if (strncmp(argv[i], level_option, len) || (argv[i][len] && argv[i][len] != '=')) {
			log_error("unknown option '%s'; try 'intinode --help'", argv[i]);
			return -1;
		}
		value = argv[i][len] ? argv[i] + len + 1 : argv[++i];
		if (!value || log_level_parse(value, &level)) {
			log_error("--log-level is one of error, warning, info, debug");
			return -1;
		}
		log_set_level(level);
	}
	if (i < argc)
		return i;
	print_usage(stderr);
	*status = EXIT_USAGE;
	return -1;
}

int main(int argc, char **argv)
{
	int status = EXIT_USAGE, at;
	char shown[64];

	log_init("intinode", LOG_LEVEL_INFO);
	/* A reader that went away is an error of write(), not the end of us. */
	signal(SIGPIPE, SIG_IGN);
	at = parse_global(argc, argv, &status);
	if (at < 0)
		return status;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[at], commands[i].name))
			continue;
		status = commands[i].run(&commands[i], argc - at, argv + at);
		if (fflush(stdout) || ferror(stdout)) {
			log_error("standard output: %s", strerror(errno));
			return EXIT_FAILED;
		}
		return status;
	}
	log_escape(shown, sizeof(shown), argv[at], strlen(argv[at]));
	log_error("there is no command '%s'; try 'intinode --help'", shown);
	return EXIT_USAGE;
}
