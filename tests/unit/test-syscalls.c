/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls the filters allow, each tried in a child of its own. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fetchd/syscalls.h"

enum { ALLOWED = 0, FAILED_FILTER = 200 };

static int pair[2];

/* Exit status: 0, or the errno of @attempt; -signal where it was killed by one. */
static int in_child(int (*filter)(bool log), bool log, long (*attempt)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || filter(log))
			_exit(FAILED_FILTER);
		errno = 0;
		_exit(attempt() < 0 ? errno : ALLOWED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int in_worker(long (*attempt)(void))
{
	return in_child(syscalls_only_worker, false, attempt);
}

/* ---- attempts ---- */

static long move_bytes(void)
{
	char bytes[4] = "abc";
	struct pollfd poll_in = { .fd = pair[1], .events = POLLIN };

	if (send(pair[0], bytes, sizeof(bytes), MSG_NOSIGNAL) != 4 || poll(&poll_in, 1, 1000) != 1)
		return -1;
	return recv(pair[1], bytes, sizeof(bytes), 0) == 4 ? 0 : -1;
}

static long use_memory(void)
{
	size_t large = 10 * 1024 * 1024;
	char *bytes = malloc(large);

	if (!bytes)
		return -1;
	memset(bytes, 1, large);
	free(bytes);
	return 0;
}

static long map_code(void)
{
	const void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static long make_code(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? 0 : mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

static long open_file(void)
{
	return open("/dev/null", O_RDONLY);
}

static long make_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long connect_elsewhere(void)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	/* It says yes, and nothing happens. */
	return connect(pair[0], &nowhere, sizeof(nowhere)) || move_bytes() ? -1 : 0;
}

static long send_to_address(void)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX };

	return sendto(pair[0], "a", 1, 0, (const void *)&address, sizeof(address));
}

static long send_and_open(void)
{
	return send(pair[0], "a", 1, MSG_FASTOPEN);
}

static long signal_parent(void)
{
	return kill(getppid(), 0);
}

static long signal_thread(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long signal_itself(void)
{
	return syscall(SYS_tgkill, getpid(), getpid(), 0);
}

static long be_told(void)
{
	return fcntl(pair[0], F_SETOWN, getppid());
}

static long ask_for_signals(void)
{
	return fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK);
}

static long set_nonblocking(void)
{
	int on = 1;

	return fcntl(pair[0], F_SETFL, O_NONBLOCK) ||
			       setsockopt(pair[0], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on))
		       ? -1
		       : 0;
}

static long linger(void)
{
	const struct linger how = { 1, 1000 };

	return setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

static long make_process(void)
{
	return fork();
}

static long call_future(void)
{
	return syscall(4095); /* no kernel has so many yet */
}

static long execute(void)
{
	char *const argv[] = { NULL };

	return execve("/bin/true", argv, argv);
}

static long trace(void)
{
	return syscall(SYS_ptrace, 0, 0, 0, 0);
}

static long mount_something(void)
{
	return syscall(SYS_mount, NULL, "/", NULL, 0, NULL);
}

static long leave_namespace(void)
{
	return syscall(SYS_unshare, CLONE_NEWNET);
}

static long load_program(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long make_ring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long read_others(void)
{
	return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static long become_root(void)
{
	return syscall(SYS_setuid, 0);
}

/* ---- tests ---- */

static void the_work_is_allowed(void **state)
{
	(void)state;
	assert_int_equal(in_worker(move_bytes), ALLOWED);
	assert_int_equal(in_worker(use_memory), ALLOWED);
	assert_int_equal(in_worker(signal_itself), ALLOWED);
	assert_int_equal(in_worker(set_nonblocking), ALLOWED);
}

static void what_libraries_try_is_refused(void **state)
{
	(void)state;
	assert_int_equal(in_worker(open_file), EPERM);
	assert_int_equal(in_worker(make_socket), EPERM);
	assert_int_equal(in_worker(connect_elsewhere), ALLOWED);
	assert_int_equal(in_worker(signal_parent), EPERM);
	assert_int_equal(in_worker(make_process), EPERM);
}

static void the_rest_is_unknown(void **state)
{
	(void)state;
	assert_int_equal(in_worker(call_future), ENOSYS);
	assert_int_equal(in_worker(map_code), ENOSYS);
	assert_int_equal(in_worker(make_code), ENOSYS);
	assert_int_equal(in_worker(send_to_address), ENOSYS);
	assert_int_equal(in_worker(send_and_open), ENOSYS);
	assert_int_equal(in_worker(signal_thread), ENOSYS);
	assert_int_equal(in_worker(be_told), ENOSYS);
	assert_int_equal(in_worker(ask_for_signals), ENOSYS);
	assert_int_equal(in_worker(linger), ENOSYS);
}

static long (*const deadly[])(void) = { execute,      trace,	 mount_something, leave_namespace,
					load_program, make_ring, read_others,	  become_root };

static void what_only_an_intruder_tries_is_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++) {
		assert_int_equal(in_worker(deadly[i]), -SIGSYS);
		assert_int_equal(in_child(syscalls_no_intruder, false, deadly[i]), -SIGSYS);
	}
	assert_int_equal(in_child(syscalls_no_intruder, false, open_file), ALLOWED);
	assert_int_equal(in_child(syscalls_no_intruder, false, make_socket), ALLOWED);
}

static void logging_allows_all(void **state)
{
	(void)state;
	assert_int_equal(in_child(syscalls_only_worker, true, move_bytes), ALLOWED);
	assert_int_equal(in_child(syscalls_only_worker, true, open_file), ALLOWED);
	assert_int_equal(in_child(syscalls_only_worker, true, map_code), ALLOWED);
	assert_int_not_equal(in_child(syscalls_only_worker, true, trace), -SIGSYS);
	assert_int_not_equal(in_child(syscalls_no_intruder, true, mount_something), -SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_work_is_allowed),
		cmocka_unit_test(what_libraries_try_is_refused),
		cmocka_unit_test(the_rest_is_unknown),
		cmocka_unit_test(what_only_an_intruder_tries_is_the_end),
		cmocka_unit_test(logging_allows_all),
	};

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
