/* SPDX-License-Identifier: Apache-2.0 */
/* Owns nothing: what it takes away is gone for the life of the process. */
#include "config.h"

#include "fetchd/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fetchd/syscalls.h"
#include "lib/log.h"

enum { NOBODY = 65534, FIRST_SPARE_FD = 10 };

/* Newer than the headers of some systems that this is built on; see landlock(7). */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

static const char *const mode_names[] = {
	[SANDBOX_ON] = "on",
	[SANDBOX_LOG] = "log",
	[SANDBOX_OFF] = "off",
};

int sandbox_mode_parse(const char *text, enum sandbox_mode *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (!strcmp(text, mode_names[i])) {
			*out = (enum sandbox_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *sandbox_mode_name(enum sandbox_mode mode)
{
	return mode_names[mode];
}

static enum sandbox_mode current_mode(void)
{
	const char *text = getenv(SANDBOX_VARIABLE);
	enum sandbox_mode mode = SANDBOX_ON;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* Their run-time reads /proc, and makes a thread that looks for leaks. */
	return SANDBOX_OFF;
#endif
	if (text && sandbox_mode_parse(text, &mode))
		return SANDBOX_ON;
	return mode;
}

/* ---- Users, capabilities, namespaces ---- */

static void drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* Also of one that is no root, in a user namespace of its own. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &header, none) ? -errno : 0;
}

static int become_nobody(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (geteuid() == 0) {
		drop_bounding_set();
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			return -errno;
	}
	if (drop_capabilities())
		return -errno;
	/* Leaving root clears the death signal. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 0) ? -errno : 0;
}

/* The root directory is an empty one, in a mount namespace of its own. */
static int leave_files(void)
{
	static const char place[] = "/tmp"; /* the new root is mounted over it, for us alone */

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("intinode", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=1,mode=0555") ||
	    chdir(place))
		return -errno;
	/* In a chroot there is nothing that could be pivoted. */
	if (!syscall(SYS_pivot_root, ".", "."))
		return umount2(".", MNT_DETACH) || chdir("/") ? -errno : 0;
	return chroot(".") || chdir("/") ? -errno : 0;
}

static void leave_namespaces(void)
{
	const int inner = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	bool is_root = geteuid() == 0;

	if (unshare(inner | (is_root ? CLONE_NEWNS : CLONE_NEWUSER))) {
		log_warning("network worker: no namespaces of its own (%s); system calls are "
			    "filtered all the same",
			    strerror(errno));
		return;
	}
	if (is_root && leave_files())
		log_warning("network worker: no root directory of its own: %s", strerror(errno));
}

int sandbox_supervisor(enum sandbox_mode mode, int *out)
{
	const char *manager = getenv("NOTIFY_SOCKET");
	cleanup_close int network = -1;

	*out = -1;
	/* Abstract sockets are of one network. */
	if (mode == SANDBOX_OFF || geteuid() != 0 || (manager && *manager == '@'))
		return 0;
	network = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (network < 0)
		return -errno;
	if (unshare(CLONE_NEWNET)) {
		log_warning("no network namespace of its own: %s", strerror(errno));
		return 0;
	}
	/* Not where the child is to have it, or something else. */
	*out = fcntl(network, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
	return *out < 0 ? -errno : 0;
}

/* ---- Landlock ---- */

static int landlock_access(bool for_reading, uint64_t *out)
{
	const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	uint64_t all = LANDLOCK_ACCESS_FS_REFER - 1;

	if (abi < 0)
		return -errno;
	if (abi >= 2)
		all |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		all |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		all |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	*out = for_reading ? reading : all;
	return 0;
}

static int allow_reading(int ruleset, const char *path)
{
	cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	uint64_t access = 0;
	int r = landlock_access(true, &access);

	if (fd < 0 || r)
		return r ? r : -errno;
	rule.allowed_access = access;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0)
		       ? -errno
		       : 0;
}

/* @readable: a directory, with all below; NULL: nothing at all. */
static int forbid_files(const char *readable)
{
	struct landlock_ruleset_attr attr = { 0 };
	cleanup_close int ruleset = -1;
	uint64_t access = 0;
	int r = landlock_access(false, &access);

	if (r)
		return r;
	attr.handled_access_fs = access;
	ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset < 0)
		return -errno;
	if (readable)
		r = allow_reading(ruleset, readable);
	if (r)
		return r;
	return syscall(SYS_landlock_restrict_self, ruleset, 0) ? -errno : 0;
}

static void forbid_files_or_say(const char *who, const char *readable)
{
	int r = forbid_files(readable);

	if (r)
		log_warning("%s: no Landlock: %s", who, strerror(-r));
}

/* ---- All of it ---- */

/* What it knows are secrets of users. */
static void leave_no_core(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
}

int sandbox_worker(void)
{
	enum sandbox_mode mode = current_mode();
	int r;

	if (mode != SANDBOX_OFF)
		leave_namespaces();
	r = become_nobody();
	if (r || mode == SANDBOX_OFF)
		return r;
	leave_no_core();
	forbid_files_or_say("network worker", NULL);
	return syscalls_only_worker(mode == SANDBOX_LOG);
}

int sandbox_dialer(int network_fd)
{
	enum sandbox_mode mode = current_mode();
	int r;

	if (network_fd >= 0 && setns(network_fd, CLONE_NEWNET))
		return -errno;
	if (network_fd >= 0)
		close(network_fd);
	r = become_nobody();
	if (r || mode == SANDBOX_OFF)
		return r;
	leave_no_core();
	forbid_files_or_say("dialer", "/");
	return syscalls_no_intruder(mode == SANDBOX_LOG);
}
