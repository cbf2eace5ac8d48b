#!/usr/bin/env python3
"""Gives a network worker of intinode-fetchd transfers into pipes that nobody reads, until they are
full, and only then reads them.

usage: workerpipes.py FETCHD DIGEST SIZE FULL HOST...

For each HOST a hundred transfers of that blob, SIZE bytes. When FULL pipes are full, all are read.
Prints "N whole" when all of them ended well with the right bytes.
"""
import array
import fcntl
import hashlib
import json
import os
import selectors
import socket
import subprocess
import sys
import termios
import time

fetchd, digest, size, full, *hosts = sys.argv[1:]
EACH, PIPE_BYTES = 100, 65536
def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start(role, third, fourth):
    """One of the processes of fetchd, with these sockets as 3 and 4."""
    def place():
        ends = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 10) for s in (third, fourth)]
        for n, fd in enumerate(ends):
            os.dup2(fd, 3 + n)
            os.close(fd)
    return subprocess.Popen([fetchd, role], close_fds=False, preexec_fn=place)


(ours, theirs), (naming, named), (asking, asked) = pair(), pair(), pair()
dialer = start("--dialer", named, asked)
worker = start("--worker", theirs, asking)
for end in theirs, named, asking, asked:
    end.close()
for host in hosts:
    naming.send(host.encode())
ours.send(b'{"begin":true}')
assert json.loads(ours.recv(16384)) == {"ready": True}
pipes = []
for n in range(EACH * len(hosts)):
    host = hosts[n % len(hosts)]
    reader, writer = os.pipe()
    job = {"id": n + 1, "host": host, "repository": "ok/app", "digest": digest, "size": int(size),
           "offset": 0, "deadline_ms": int(time.monotonic() * 1000) + 60000}
    socket.send_fds(ours, [json.dumps(job).encode()], [writer])
    os.close(writer)
    pipes.append(reader)


def pending(fd):
    n = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, n)
    return n[0]


end = time.monotonic() + 30
while sum(pending(fd) > PIPE_BYTES - 4096 for fd in pipes) < int(full):
    assert worker.poll() is None, "the worker is gone"
    assert time.monotonic() < end, f"the pipes are not full: {sorted(map(pending, pipes))}"
    time.sleep(0.05)
# Room in one of them: the worker has a turn, in which it looks after all the others, too.
hashes = [hashlib.sha256() for _ in pipes]
left = selectors.DefaultSelector()
for n, fd in enumerate(pipes):
    left.register(fd, selectors.EVENT_READ, n)
while left.get_map():
    for key, _ in left.select():
        chunk = os.read(key.fd, 1 << 20)
        hashes[key.data].update(chunk)
        if not chunk:
            left.unregister(key.fd)
ours.settimeout(30)
errors = []
for _ in pipes:
    message = ours.recv(16384)
    assert message, "the worker is gone"
    errors.append(json.loads(message)["error"])
    if errors[-1]:
        print(message.decode(), file=sys.stderr)
whole = sum("sha256:" + h.hexdigest() == digest for h in hashes)
assert errors == [0] * len(pipes), errors
print(whole, "whole")
ours.close()
worker.wait(timeout=30)
dialer.wait(timeout=30)
