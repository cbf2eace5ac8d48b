#!/usr/bin/env python3
"""Asks the dialer of intinode-fetchd for connections, as the worker does, and as an intruder in the
worker would.

usage: unshare -mn dialerasks.py FETCHD

Needs namespaces of its own: it gives the loopback interface addresses, and the system a name server
that tells what each question wants (see answer()). Prints "WHAT: RESULT" lines.
"""
import errno
import ipaddress
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

NEVER, LOOPBACK, LINK_LOCAL, PRIVATE, PUBLIC = range(5)
OUTSIDE = "203.0.113.5"
INSIDE = ["127.0.0.1", "169.254.169.254", "10.99.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
          "198.18.0.1", "192.0.0.1", "::1", "fd00::99", "fe80::99"]
PORT, OTHER_PORT = 5000, 5001
fetchd = sys.argv[1]


def sh(*command):
    subprocess.run(command, check=True)


sh("ip", "link", "set", "lo", "up")
for address in [OUTSIDE] + INSIDE:
    if address not in ("127.0.0.1", "::1"):
        sh("ip", "addr", "add", address + ("/128" if ":" in address else "/32"), "dev", "lo")

# ---- who listens: outside, and everywhere inside, where nobody may come ----

came, own, lock = [], [], threading.Lock()


def listen():
    left = selectors.DefaultSelector()
    for family, any_address in (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"):
        for port in PORT, OTHER_PORT:
            s = socket.socket(family)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind((any_address, port))
            s.listen(512)
            left.register(s, selectors.EVENT_READ)
    while True:
        for key, _ in left.select():
            connection, peer = key.fileobj.accept()
            with lock:
                came.append((connection.getsockname()[0], peer[1]))
            connection.close()


def came_inside():
    """Addresses inside that somebody came to. Who waits at a socket is accepted in order: so when
    one of ours was, all before it were."""
    for address in "127.0.0.1", "::1":
        for port in PORT, OTHER_PORT:
            s = socket.create_connection((address, port))
            own.append((address, s.getsockname()[1]))
            s.recv(1)
            s.close()
    with lock:
        return [row[0] for row in came if row[0] != OUTSIDE and row not in own]


# ---- the name server ----

questions = {}


def addresses_of(name, n):
    """What a name leads to, asked for the n-th time; None: no answer at all; []: no such name."""
    first = name.split(".")[0]
    if first == "rebind":
        return [OUTSIDE] if n == 0 else ["127.0.0.1"]
    if first == "inner":
        return ["10.99.0.1"]
    if first == "both":
        return ["127.0.0.1", "10.99.0.1", OUTSIDE]
    if first == "slow":
        return [OUTSIDE] if n == 0 else None
    if first == "gone":
        return [OUTSIDE] if n == 0 else []
    if first == "outside":
        return [OUTSIDE]
    if first.startswith("in-"):
        return [INSIDE[int(first[3:])]]
    return []


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1:at + 3])[0]
    name = ".".join(labels).lower()
    with lock:
        n = questions.get((name, kind), 0)
        questions[name, kind] = n + 1
    found = addresses_of(name, n)
    if found is None:
        return None
    wanted = [ipaddress.ip_address(a).packed for a in found]
    wanted = [a for a in wanted if len(a) == {1: 4, 28: 16}.get(kind)]
    flags = 0x8180 if found else 0x8183
    out = query[:2] + struct.pack(">HHHHH", flags, 1, len(wanted), 0, 0) + query[12:at + 5]
    for a in wanted:
        out += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(a)) + a
    return out


def serve_names(s):
    while True:
        query, peer = s.recvfrom(1500)
        reply = answer(query)
        if reply:
            s.sendto(reply, peer)


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
threading.Thread(target=listen, daemon=True).start()
threading.Thread(target=serve_names, args=[names], daemon=True).start()
for target, text in (("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
                     ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.99.0.1 intranet\n")):
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    sh("mount", "--bind", file.name, target)
    os.unlink(file.name)

# ---- the dialer ----


class Dialer:
    def __init__(self, *named):
        self.naming, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def place():
            ends = [os.dup(s.fileno()) + 0 for s in (theirs, asked)]
            ends = [os.dup2(fd, 20 + n) for n, fd in enumerate(ends)]
            for n, fd in enumerate(ends):
                os.dup2(fd, 3 + n)
            os.closerange(5, 64)
        self.process = subprocess.Popen([fetchd, "--dialer"], close_fds=False, preexec_fn=place)
        theirs.close()
        asked.close()
        self.asking.settimeout(20)
        self.id = 0
        for host in named:
            self.naming.send(host.encode())

    def ask(self, host, led_by, port=PORT, timeout_ms=5000):
        self.id += 1
        self.asking.send(struct.pack("=IIHH256s", self.id, timeout_ms, port, led_by, host.encode()))
        data, fds, _, _ = socket.recv_fds(self.asking, 4096, 1)
        number, error, _, problem = struct.unpack("=IiI200s", data)
        assert number == self.id, (number, self.id)
        if not fds:
            return errno.errorcode[-error]
        s = socket.socket(fileno=fds[0])
        peer = s.getpeername()[0]
        s.close()
        assert error == 0, problem
        return peer

    def end(self):
        self.asking.close()
        self.process.wait(timeout=10)


def spellings(address):
    a = ipaddress.ip_address(address)
    if a.version == 6:
        yield from (a.compressed, a.exploded, a.compressed.upper(), a.compressed + "%lo")
        return
    n, b = int(a), a.packed
    yield from (address, str(n), hex(n), "0" + oct(n)[2:], hex(n).upper().replace("X", "x"),
                ".".join(hex(x) for x in b), ".".join("0" + oct(x)[2:] for x in b),
                f"{b[0]}.{n & 0xffffff}", f"{b[0]}.{b[1]}.{n & 0xffff}", f"0x{b[0]:x}.{n & 0xffffff}",
                f"{b[0]}.{b[1]}.{b[2]}.0{b[3]:o}", address + ".",
                f"::ffff:{address}", f"::FFFF:{n >> 16:x}:{n & 0xffff:x}", f"::{address}",
                f"0:0:0:0:0:ffff:{address}", f"64:ff9b::{address}", f"64:ff9b:1::{address}",
                f"2002:{n >> 16:x}:{n & 0xffff:x}::1")


def main():
    dialer = Dialer(f"{OUTSIDE}:{PORT}", "rebind.example:5000", "both.example", "slow.example:5000", "gone.example:5000",
                    "inner.example:5000")
    print("a named host:", dialer.ask(OUTSIDE, NEVER))
    print("another one outside:", dialer.ask("outside.example", PUBLIC))
    print("one that nobody knows:", dialer.ask("unknown.example", PUBLIC))
    print("nobody listens:", dialer.ask(OUTSIDE, NEVER, port=9))
    hosts = [s for address in INSIDE + ["127.8.9.10", "0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "::", "ff02::1"]
             for s in spellings(address)]
    hosts += ["localhost", "LOCALHOST", "localhost.", "ip6-localhost", "intranet", "foo.localhost"]
    hosts += [f"in-{n}.example" for n in range(len(INSIDE))]
    reached = [(h, led_by, r) for h in hosts for led_by in range(5) for r in [dialer.ask(h, led_by)] if not r.startswith("E")]
    print(f"{len(hosts)} inner hosts, five ways each:", reached, came_inside())
    print("at least 200:", len(hosts) >= 200)
    print("both, of which one is inside, not named with this port:", dialer.ask("both.example", PUBLIC))
    print("rebinding, a named host:", dialer.ask("rebind.example", NEVER), dialer.ask("rebind.example", NEVER))
    print("so far inside:", came_inside())
    print("a named host of the network:", dialer.ask("inner.example", NEVER))

    print("slow, the first time:", dialer.ask("slow.example", NEVER))
    begin = time.monotonic()
    peer = dialer.ask("slow.example", NEVER)
    print("slow, with an address from before:", peer, 1.5 < time.monotonic() - begin < 3)
    print("gone, the first time:", dialer.ask("gone.example", NEVER))
    print("gone, with an address from before:", dialer.ask("gone.example", NEVER))
    dialer.end()

    # A registry of this host may lead to others of this host, and so may one of the network.
    dialer = Dialer(f"127.0.0.1:{PORT}", f"10.99.0.1:{PORT}")
    print("from a named private one, before it was connected to:", dialer.ask("10.99.0.1", PRIVATE, port=OTHER_PORT))
    print("the named private one:", dialer.ask("10.99.0.1", NEVER))
    print("from there:", dialer.ask("192.168.0.1", PRIVATE), dialer.ask("127.0.0.1", LOOPBACK, port=OTHER_PORT))
    print("to a cloud's credentials:", dialer.ask("169.254.169.254", PRIVATE), dialer.ask("169.254.169.254", LOOPBACK))
    print("the named loopback one:", dialer.ask("127.0.0.1", NEVER))
    print("from there:", dialer.ask("127.0.0.1", LOOPBACK, port=OTHER_PORT))
    print("to a cloud's credentials, from this host:",
          [dialer.ask("169.254.169.254", led_by) for led_by in range(5)])
    print("a named one, led there from outside:", dialer.ask("10.99.0.1", PUBLIC))
    dialer.naming.settimeout(5)
    print("it says where they led first:", sorted(dialer.naming.recv(100).decode() for _ in range(2)))
    dialer.end()

    # What another dialer learned.
    dialer = Dialer(f"rebind.example:5000 {PUBLIC}", f"inner.example:5000 {PRIVATE}")
    print("rebinding, with a new dialer:", dialer.ask("rebind.example", NEVER), dialer.ask("inner.example", NEVER))
    dialer.end()

    for what, message in (("nothing", b""), ("too short", b"x" * 10), ("too long", b"x" * 1000),
                          ("no end", struct.pack("=IIHH256s", 1, 1, 1, 1, b"a" * 256)),
                          ("a space", struct.pack("=IIHH256s", 1, 1, 1, 1, b"a b")),
                          ("no port", struct.pack("=IIHH256s", 1, 1, 0, 1, b"a"))):
        dialer = Dialer()
        dialer.asking.send(message)
        try:
            reply = dialer.asking.recv(100)
        except ConnectionError:
            reply = b""
        print(f"a question that is none ({what}):", reply)
        dialer.end()


main()
