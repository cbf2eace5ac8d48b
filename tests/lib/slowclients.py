#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slow clients and good ones.

slowclients.py slow HOST:PORT N PATH...
    N connections: a third send a head, a third send a body, a third take an answer (of each
    PATH in turn), all a byte now and then. Prints "ready" when all are there, and at the end of
    its standard input how many the server closed.
slowclients.py good HOST:PORT N PATH SECONDS RATE
    N connections that stay, RATE requests a second over all; prints the 50th and the 99th
    percentile of the time to an answer in microseconds, and how many failed.
"""
import resource
import select
import socket
import sys
import time

what, server, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
host, port = server.split(":")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(i, small=False):
    s = socket.socket()
    if small:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.bind((f"127.0.{1 + i % 7}.{2 + i // 7 % 200}", 0))
    s.settimeout(30)
    s.connect((host, int(port)))
    return s


def slow():
    paths = sys.argv[4:]
    head = b"POST /v2/slow/blobs/uploads/?digest=sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: h\r\n"
    sockets = []
    for i in range(n):
        s = connect(i, i % 3 == 2)
        if i % 3 == 0:
            s.sendall(head)
        elif i % 3 == 1:
            s.sendall(head + b"Content-Length: 100000000\r\n\r\n")
        else:
            path = paths[i // 3 % len(paths)]
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        sockets.append(s)
    print("ready", flush=True)
    i = 0
    gone = set()
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        for _ in range(20):  # 2,000 bytes a second from all together
            i = (i + 1) % n
            if i in gone:
                continue
            try:
                if i % 3 == 2:
                    if not sockets[i].recv(1):
                        gone.add(i)
                else:
                    sockets[i].sendall(b"X: y\r\n" if i % 3 == 0 else b"x")
            except OSError:
                gone.add(i)
    print(len(gone), flush=True)


def answer_size(s, request):
    """Of the whole answer, head and body."""
    s.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += s.recv(65536)
    head = answer.split(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 200"), head
    size = len(head) + 4
    for line in head.decode().split("\r\n"):
        if line.lower().startswith("content-length:"):
            size += int(line.split(":")[1])
    while len(answer) < size:
        answer += s.recv(65536)
    return size


def good():
    path, seconds, rate = sys.argv[4], float(sys.argv[5]), float(sys.argv[6])
    request = f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    sockets = [connect(i) for i in range(n)]
    size = answer_size(sockets[0], request)
    poll = select.epoll()
    by_fd, started, left, times, failed = {}, {}, {}, [], 0
    for s in sockets:
        s.setblocking(False)
        by_fd[s.fileno()] = s
        poll.register(s.fileno(), select.EPOLLIN)
    begin = time.monotonic()
    next_at, i = begin, 0
    while time.monotonic() < begin + seconds or (started and time.monotonic() < begin + seconds + 5):
        now = time.monotonic()
        if begin + seconds > now >= next_at:
            next_at = max(next_at + 1 / rate, now - 0.1)
            i = (i + 1) % n
            fd = sockets[i].fileno()
            if fd >= 0 and fd not in started:
                started[fd], left[fd] = time.monotonic(), size
                sockets[i].send(request)
        for fd, _ in poll.poll(max(0.001, min(next_at - time.monotonic(), 0.1))):
            try:
                answer = by_fd[fd].recv(65536)
            except OSError:
                answer = b""
            if not answer or fd not in started:
                failed += fd in started or not answer
                started.pop(fd, None)
                poll.unregister(fd)
                by_fd.pop(fd).close()
                continue
            left[fd] -= len(answer)
            if left[fd] <= 0:
                times.append(time.monotonic() - started.pop(fd))
    times.sort()
    print(int(times[len(times) // 2] * 1e6), int(times[len(times) * 99 // 100] * 1e6),
          failed + len(started), len(times))


slow() if what == "slow" else good()
