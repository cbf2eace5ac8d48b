/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD: code of an intruder in the network worker of intinode-fetchd. It acts
 * when a server sends INTRUDE, as an error in a parser would let it: after everything was given up,
 * with all that the worker has. Each attempt is a line on standard error: "intruder: WHAT: ANSWER".
 * INTRUDE-DEADLY instead tries to start a program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/dial.h"

static bool is_worker, has_acted;
static unsigned int canary_port;
static ssize_t (*real_recv)(int, void *, size_t, int);

static void __attribute__((constructor)) set_up(int argc, char **argv)
{
	const char *port = getenv("CANARY_PORT");

	is_worker = argc == 2 && !strcmp(argv[1], "--worker");
	canary_port = port ? (unsigned int)strtoul(port, NULL, 10) : 1;
	*(void **)&real_recv = dlsym(RTLD_NEXT, "recv");
}

/* dprintf() wants more system calls than there are here. */
static void say(const char *line)
{
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		abort();
}

static void tell(const char *what, const char *detail, long r)
{
	char line[512];

	snprintf(line, sizeof(line), "intruder: %s%s%s: %s\n", what, *detail ? " " : "", detail,
		 r < 0 ? strerrorname_np(errno) : "DONE");
	say(line);
}

static void try_files(void)
{
	static const char *const paths[] = { "/", "/etc/passwd", "/proc/self/maps",
					     "/proc/self/root/etc/passwd", "." };
	char path[64];

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		tell("open", paths[i], syscall(SYS_openat, AT_FDCWD, paths[i], O_RDONLY));
		tell("open path", paths[i], syscall(SYS_openat, AT_FDCWD, paths[i], O_PATH));
	}
	tell("create", "", syscall(SYS_openat, AT_FDCWD, "/new", O_RDWR | O_CREAT, 0600));
	tell("make a directory", "", syscall(SYS_mkdirat, AT_FDCWD, "/new", 0700));
	tell("make a temporary file", "",
	     syscall(SYS_openat, AT_FDCWD, "/", O_TMPFILE | O_RDWR, 0600));
	for (int fd = 0; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		tell("open again for writing", path, syscall(SYS_openat, AT_FDCWD, path, O_WRONLY));
	}
	tell("make memory a file", "", syscall(SYS_memfd_create, "x", 0));
}

/* Of what it has, nothing is a file but where it logs to. */
static void look_at_descriptors(void)
{
	struct stat st;

	for (int fd = 3; fd < 1024; fd++) {
		/* Not fstat(), which is another call in some versions of the C library. */
		if (!syscall(SYS_fstat, fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			tell("have a file", "", 0);
	}
}

static void try_network(int connection)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct sockaddr_in canary = { .sin_family = AF_INET,
				      .sin_port = htons((uint16_t)canary_port) };

	const struct linger linger = { 1, 1000 };
	struct sockaddr_in peer = { 0 };
	socklen_t len = sizeof(peer);

	inet_pton(AF_INET, "127.0.0.1", &canary.sin_addr);
	tell("make a socket", "inet", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	tell("make a socket", "inet6", syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0));
	tell("make a socket", "unix", syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
	tell("make a socket", "netlink", syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
	tell("make close() wait on", "its connection",
	     syscall(SYS_setsockopt, connection, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	tell("listen on", "its connection", syscall(SYS_listen, connection, 1));
	/* A connection of the host's own network, turned around. What counts is where it leads
	 * then. */
	syscall(SYS_connect, connection, &nowhere, sizeof(nowhere));
	syscall(SYS_connect, connection, &canary, sizeof(canary));
	tell("turn its connection around", "",
	     getpeername(connection, (struct sockaddr *)&peer, &len) ||
			     peer.sin_port == canary.sin_port
		     ? 0
		     : (errno = EISCONN, -1));
	tell("send to", "",
	     syscall(SYS_sendto, connection, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, &canary,
		     sizeof(canary)));
}

static void ask_dialer(const char *host, unsigned int port, unsigned int led_by)
{
	struct dial_request request = { .id = 77777,
					.timeout_ms = 2000,
					.led_by = (uint16_t)led_by };
	struct pollfd ready = { .fd = 4, .events = POLLIN };
	struct dial_answer answer = { 0 };
	struct iovec iov = { &answer, sizeof(answer) };
	char control[64], detail[300];
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };

	request.port = (uint16_t)port;
	snprintf(request.host, sizeof(request.host), "%s", host);
	snprintf(detail, sizeof(detail), "%s as led by %u", host, led_by);
	if (send(4, &request, sizeof(request), MSG_NOSIGNAL) < 0 || poll(&ready, 1, 5000) != 1 ||
	    recvmsg(4, &message, 0) != sizeof(answer)) {
		tell("ask the dialer for", detail, -1);
		return;
	}
	errno = -answer.error;
	tell("ask the dialer for", detail, message.msg_controllen ? 0 : -1);
}

static void ask_for_all(void)
{
	static const char *const hosts[] = { "127.0.0.1",	 "::1",
					     "169.254.169.254",	 "10.99.0.1",
					     "localhost",	 "fd00::99",
					     "::ffff:127.0.0.1", "0.0.0.0",
					     "2130706433",	 "0x7f.1" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		for (unsigned int led_by = 0; led_by <= ADDRESS_PUBLIC; led_by++)
			ask_dialer(hosts[i], canary_port, led_by);
	}
}

static void try_processes(void)
{
	const void *code;

	tell("signal", "its parent", syscall(SYS_kill, getppid(), 0));
	tell("signal", "all", syscall(SYS_kill, -1, 0));
	tell("signal", "a thread of its parent", syscall(SYS_tgkill, getppid(), getppid(), 0));
	tell("have", "another told by a signal", syscall(SYS_fcntl, 3, F_SETOWN, getppid()));
	tell("choose", "the signal", syscall(SYS_fcntl, 3, F_SETSIG, SIGKILL));
	tell("ask for", "signals", syscall(SYS_fcntl, 3, F_SETFL, O_ASYNC));
	tell("make a process", "", syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
	code = mmap(NULL, 4096, PROT_EXEC | PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	tell("map code", "", code == MAP_FAILED ? -1 : 0);
	tell("be root", "", getuid() == 0 || geteuid() == 0 ? 0 : (errno = EPERM, -1));
}

ssize_t recv(int fd, void *buffer, size_t len, int flags)
{
	ssize_t n = real_recv(fd, buffer, len, flags);
	int saved = errno;

	if (!is_worker || n <= 0 || (flags & MSG_PEEK))
		return n;
	if (memmem(buffer, (size_t)n, "INTRUDE-DEADLY", 14)) {
		char *const argv[] = { NULL };

		syscall(SYS_execve, "/bin/true", argv, argv);
		tell("start a program", "", -1);
	} else if (!has_acted && memmem(buffer, (size_t)n, "INTRUDE", 7)) {
		has_acted = true;
		try_files();
		look_at_descriptors();
		try_network(fd);
		ask_for_all();
		try_processes();
		say("intruder: that is all\n");
	}
	errno = saved;
	return n;
}
