/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts a stub tree by the fuse front end, for tests that need nothing else of intinode. */
#include <getopt.h>
#include <string.h>

#include "client/fuse.h"

static const struct option long_options[] = {
	{ "cache", required_argument, NULL, 'c' },
	{ "socket", required_argument, NULL, 's' },
	{ "mount-id", required_argument, NULL, 'i' },
	{ "log", required_argument, NULL, 'l' },
	{ "timeout-ms", required_argument, NULL, 't' },
	{ "max-waiters", required_argument, NULL, 'w' },
	{ "foreground", no_argument, NULL, 'f' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct fuse_frontend_options options = { .cache = "/var/cache/intinode",
						 .allow_other = geteuid() == 0 };
	struct problem problem = { "" };
	bool foreground = false;
	pid_t pid = 0;
	int c, r;

	log_init("fuse-driver", LOG_LEVEL_INFO);
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			options.cache = optarg;
			break;
		case 's':
			options.socket = optarg;
			break;
		case 'i':
			options.mount_id = optarg;
			break;
		case 'l':
			options.log = optarg;
			break;
		case 't':
			options.timeout_ms = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			options.max_waiters = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			foreground = true;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: fuse-driver [--cache DIR] [--socket PATH] [--mount-id ID] "
				"[--log FILE] [--timeout-ms N] [--max-waiters N] [--foreground] "
				"STUB-TREE MOUNT-POINT\n");
		return 2;
	}
	options.lower = argv[optind];
	options.mountpoint = argv[optind + 1];
	r = foreground ? fuse_frontend_run(&options, -1, &problem)
		       : fuse_frontend_spawn(&options, &pid, &problem);
	if (r) {
		log_error("%s", problem_text(&problem, r));
		return 1;
	}
	if (!foreground)
		printf("%d\n", (int)pid);
	return 0;
}
