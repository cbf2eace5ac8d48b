/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the lists. Names that an architecture or an older libseccomp does not know are left out. */
#include "fetchd/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "lib/log.h"

/* What the worker does, and what the C library, libcurl, OpenSSL and zstd do for it. */
static const char *const needed[] = {
	/* sockets that it was given, and pipes */
	"close",
	"dup",
	"getpeername",
	"getsockname",
	"getsockopt",
	"read",
	"readv",
	"recv",
	"recvfrom",
	"recvmsg",
	"shutdown",
	"write",
	"writev",
	/* waiting */
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"futex",
	"futex_time64",
	"nanosleep",
	"poll",
	"ppoll",
	"ppoll_time64",
	"restart_syscall",
	"sched_yield",
	/* memory */
	"brk",
	"madvise",
	"mremap",
	"munmap",
	/* what it is, and the time */
	"clock_getres",
	"clock_gettime",
	"clock_gettime64",
	"fstat",
	"fstat64",
	"getegid",
	"geteuid",
	"getgid",
	"getpid",
	"getppid",
	"getrandom",
	"getrusage",
	"gettid",
	"gettimeofday",
	"getuid",
	"sysinfo",
	"time",
	"times",
	"uname",
	/* signals, and the end */
	"exit",
	"exit_group",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigaltstack",
	"sigreturn",
};

/* Known, and not wanted: EPERM, which libraries take for an answer. */
static const char *const refused[] = {
	"accept",    "accept4",	 "access",     "bind",	    "chdir",	  "chmod",   "chown",
	"clone",     "clone3",	 "creat",      "faccessat", "faccessat2", "fchmod",  "fchmodat",
	"fchown",    "fork",	 "getdents64", "kill",	    "link",	  "linkat",  "listen",
	"mkdir",     "mkdirat",	 "newfstatat", "open",	    "openat",	  "openat2", "pipe",
	"pipe2",     "prctl",	 "prlimit64",  "readlink",  "readlinkat", "rename",  "renameat",
	"renameat2", "socket",	 "socketpair", "stat",	    "statx",	  "symlink", "symlinkat",
	"tkill",     "truncate", "unlink",     "unlinkat",  "vfork",
};

/* What nothing but an intruder tries. */
static const char *const deadly[] = {
	"acct",
	"add_key",
	"bpf",
	"chroot",
	"delete_module",
	"execve",
	"execveat",
	"finit_module",
	"fsconfig",
	"fsmount",
	"fsopen",
	"init_module",
	"io_uring_enter",
	"io_uring_register",
	"io_uring_setup",
	"ioperm",
	"iopl",
	"kcmp",
	"kexec_file_load",
	"kexec_load",
	"keyctl",
	"mount",
	"mount_setattr",
	"move_mount",
	"name_to_handle_at",
	"open_by_handle_at",
	"open_tree",
	"perf_event_open",
	"personality",
	"pidfd_getfd",
	"pidfd_open",
	"pivot_root",
	"process_madvise",
	"process_vm_readv",
	"process_vm_writev",
	"ptrace",
	"quotactl",
	"reboot",
	"request_key",
	"setgid",
	"setgroups",
	"setns",
	"setresgid",
	"setresuid",
	"setuid",
	"swapoff",
	"swapon",
	"umount2",
	"unshare",
	"userfaultfd",
	"vmsplice",
};

static int add_rules(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);
		int r = 0;

		if (number != __NR_SCMP_ERROR)
			r = seccomp_rule_add(filter, action, number, 0);
		/* -EACCES: it is the default action already. */
		if (r && r != -EACCES && r != -EDOM)
			return r;
	}
	return 0;
}

/* Nothing is sent to an address: a connected socket has one already. */
static int add_send_rules(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp no_fast_open[] = {
		SCMP_A2(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0),
		SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0),
	};
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 1, no_fast_open[0]);

	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 2, no_fast_open[1],
				     SCMP_A4(SCMP_CMP_EQ, 0));
	return r;
}

/* Not which process is told of what happens there, and by which signal. */
static int add_fcntl_rules(scmp_filter_ctx filter, int number)
{
	static const int plain[] = { F_GETFD, F_SETFD, F_GETFL, F_DUPFD, F_DUPFD_CLOEXEC };
	int r = 0;

	if (number < 0) /* no such call here */
		return 0;
	for (size_t i = 0; !r && i < ARRAY_SIZE(plain); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
				     SCMP_A1(SCMP_CMP_EQ, (uint64_t)plain[i]));
	return r ? r
		 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 2,
				    SCMP_A1(SCMP_CMP_EQ, F_SETFL),
				    SCMP_A2(SCMP_CMP_MASKED_EQ, O_ASYNC, 0));
}

/* What libcurl sets. SO_LINGER would make a close wait, in whoever has the socket last. */
static int add_socket_rules(scmp_filter_ctx filter)
{
	static const struct {
		int level, name;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE },  { SOL_SOCKET, SO_RCVBUF },
		{ SOL_SOCKET, SO_SNDBUF },     { IPPROTO_TCP, TCP_NODELAY },
		{ IPPROTO_TCP, TCP_KEEPIDLE }, { IPPROTO_TCP, TCP_KEEPINTVL },
		{ IPPROTO_TCP, TCP_KEEPCNT },
	};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(options); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
				     SCMP_A1(SCMP_CMP_EQ, (uint64_t)options[i].level),
				     SCMP_A2(SCMP_CMP_EQ, (uint64_t)options[i].name));
	return r;
}

/* abort() signals its own process. */
static int add_signal_rule(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid()));
}

/* Memory that is not to be run; the two requests that libcurl makes of a socket. */
static int add_narrow_rules(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_run = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const unsigned long requests[] = { FIONBIO, FIONREAD };
	int r = add_send_rules(filter);

	if (!r)
		r = add_socket_rules(filter);
	if (!r)
		r = add_signal_rule(filter);
	if (!r)
		r = add_fcntl_rules(filter, SCMP_SYS(fcntl));
	if (!r)
		r = add_fcntl_rules(filter, SCMP_SYS(fcntl64));
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_run);
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_run);
	for (size_t i = 0; !r && i < ARRAY_SIZE(requests); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, requests[i]));
	return r;
}

static int load(scmp_filter_ctx filter, int r)
{
	if (!r)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/*
 * Some versions of libcurl connect also what is connected. So that is a success, of which nothing
 * comes: a connection of the host's network cannot be led elsewhere.
 */
static int add_connect_rule(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), SCMP_SYS(connect), 0);
}

int syscalls_only_worker(bool log)
{
	scmp_filter_ctx filter = seccomp_init(log ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS));
	int r;

	if (!filter)
		return -ENOMEM;
	r = add_rules(filter, SCMP_ACT_ALLOW, needed, ARRAY_SIZE(needed));
	if (!r)
		r = add_narrow_rules(filter);
	if (!r && !log)
		r = add_connect_rule(filter);
	if (!r && !log)
		r = add_rules(filter, SCMP_ACT_ERRNO(EPERM), refused, ARRAY_SIZE(refused));
	if (!r && !log)
		r = add_rules(filter, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_SIZE(deadly));
	return load(filter, r);
}

int syscalls_no_intruder(bool log)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	uint32_t action = log ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS;

	if (!filter)
		return -ENOMEM;
	return load(filter, add_rules(filter, action, deadly, ARRAY_SIZE(deadly)));
}
