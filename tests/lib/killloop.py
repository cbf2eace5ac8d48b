# killloop.py PROGRAM DIRECTORY ROUNDS [SEED] - clients push, move, mount, resume and delete while
# the server is killed again and again; what it acknowledged must be there, whatever happened.
# Prints one sentence for each thing that is wrong, and statistics behind "#".
#
# Each client has a repository of its own, in which it alone changes things, so that it knows what
# must be there; what it asked for and got no answer to may have happened or not. All together move
# the tags of one more repository; there a GET may show any PUT that no acknowledged one has surely
# replaced.
import collections
import http.client
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from serveload import (MANIFEST, Server, ask, check_store, digest_of, list_all, make_content,
                       make_manifest, path_of, tree_bytes, with_digest)

N_CLIENTS = 6
START_MAX_S = 1.0
EITHER = object()  # asked for, and not answered
SHARED = "together/tags"
problems = []
acknowledged = collections.Counter()
log_lock = threading.Lock()


def wrong(sentence):
    with log_lock:
        problems.append(sentence)


class Tags:
    """PUTs of the shared tags: (start, end, digest); end None: not answered yet."""

    def __init__(self):
        self.lock = threading.Lock()
        self.puts = collections.defaultdict(list)

    def begin(self, tag, digest):
        put = [time.monotonic(), None, digest, False]
        with self.lock:
            self.puts[tag].append(put)
        return put

    @staticmethod
    def acknowledge(put):
        put[1], put[3] = time.monotonic(), True

    def server_died(self):
        now = time.monotonic()
        with self.lock:
            for puts in self.puts.values():
                for put in puts:
                    put[1] = put[1] or now

    def allowed(self, tag, before):
        """Digests a GET that starts at @before may show; None among them: no such tag."""
        with self.lock:
            puts = [list(put) for put in self.puts[tag]]
        sure = [put for put in puts if put[3] and put[1] < before]
        newest = max((put[0] for put in sure), default=None)
        digests = {p[2] for p in puts if newest is None or p[1] is None or p[1] >= newest}
        return digests | ({None} if newest is None else set())

    def forget_old(self):
        now = time.monotonic()
        with self.lock:
            names = list(self.puts)
        for tag in names:
            allowed = self.allowed(tag, now)
            with self.lock:
                self.puts[tag] = [p for p in self.puts[tag] if p[2] in allowed]


tags = Tags()


class Client(threading.Thread):
    def __init__(self, number, server, seed):
        super().__init__(daemon=True)
        self.server, self.rng = server, random.Random(f"{seed} {number}")
        self.repository = f"client/n{number}"
        self.number, self.n = number, 0
        self.blobs = {}  # digest: True, False (deleted) or EITHER
        self.manifests = {}  # digest: the same
        self.tags = {}  # tag: set of digests it may have; None: not there
        self.used = set()  # digests that manifests name: not deleted
        self.sessions = []  # path, content, digest, acknowledged bytes, was a PUT tried?
        self.up, self.idle, self.end = threading.Event(), threading.Event(), False

    def run(self):
        while True:
            self.up.wait()
            if self.end:
                return
            self.idle.clear()
            try:
                self.connection = self.server.connect()
                self.resume_sessions()
                while self.up.is_set():
                    self.step()
            except (OSError, http.client.HTTPException):
                pass  # killed
            except Exception as error:  # our own mistake: to be seen
                wrong(f"client {self.number}: {error!r}")
            self.connection.close()
            self.idle.set()
            while self.up.is_set() and not self.end:
                time.sleep(0.002)

    def ask(self, method, path, body=None, headers=None, want=()):
        status, headers, answer = ask(self.connection, method, path, body, headers)
        if status not in want:
            wrong(f"{method} {path}: {status} {answer[:200]!r}")
            raise http.client.HTTPException
        return status, headers

    def done(self, what):
        acknowledged[what] += 1

    # ---- steps ----

    def step(self):
        self.n += 1
        steps = (
            (self.push_whole, 30), (self.push_in_two, 10), (self.push_chunks, 12),
            (self.push_again, 4), (self.mount, 8), (self.move_tag, 20), (self.move_shared, 14),
            (self.delete_blob, 4), (self.delete_tag, 4), (self.delete_manifest, 3), (self.look, 14),
        )
        self.rng.choices([s for s, _ in steps], [w for _, w in steps])[0]()

    def content(self):
        kind = self.rng.random()
        size = 1024 if kind < 0.4 else 65536 if kind < 0.8 else 400000 if kind < 0.97 else 3000000
        content = make_content(self.rng, self.rng.randrange(size // 4, size))
        return content, digest_of(content, "sha512" if self.rng.random() < 0.1 else "sha256")

    def stored(self, digest):
        self.blobs[digest] = True
        self.done("blobs")

    def push_whole(self):
        content, digest = self.content()
        self.blobs[digest] = EITHER
        self.ask("POST", f"/v2/{self.repository}/blobs/uploads/?digest={digest}", content, want=(201,))
        self.stored(digest)

    def push_again(self):
        content, digest = self.content()
        self.blobs[digest] = EITHER
        for _ in range(2):
            self.ask("POST", f"/v2/{self.repository}/blobs/uploads/?digest={digest}", content, want=(201,))
            self.stored(digest)

    def push_in_two(self):
        content, digest = self.content()
        _, headers = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"", want=(202,))
        self.blobs[digest] = EITHER
        self.ask("PUT", with_digest(headers["Location"], digest), content, want=(201,))
        self.stored(digest)

    def push_chunks(self):
        content, digest = self.content()
        _, headers = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"", want=(202,))
        session = [path_of(headers["Location"]), content, digest, 0, False]
        self.sessions.append(session)
        self.go_on(session)

    def go_on(self, session):
        path, content, digest, at, _ = session
        while at < len(content) and self.rng.random() < 0.8:
            # Not one byte at first: the Range of that is the one of none.
            part = content[at : at + self.rng.randrange(1 if at else 2, len(content) - at + 1)]
            _, headers = self.ask("PATCH", path, part,
                                  {"Content-Range": f"{at}-{at + len(part) - 1}"}, want=(202,))
            at = session[3] = at + len(part)
            path = session[0] = path_of(headers["Location"])
            self.done("chunks")
        session[4] = True
        self.blobs[digest] = EITHER
        self.ask("PUT", with_digest(path, digest), content[at:], want=(201,))
        self.stored(digest)
        self.sessions.remove(session)

    def resume_sessions(self):
        for session in list(self.sessions):
            path, content, digest, at, tried = session
            status, headers = self.ask("GET", path, want=(204, 404))
            if status == 404:
                if at and not tried:
                    wrong(f"upload {path} had {at} acknowledged bytes and is gone")
                self.sessions.remove(session)
                continue
            size = int(headers["Range"].split("-")[1])
            size = size + 1 if size else 0
            if size < at:
                wrong(f"upload {path} had {at} acknowledged bytes and has {size}")
            if tried and self.rng.random() < 0.5:
                # Perhaps published already: what comes now must not get into the blob.
                self.sessions.remove(session)
                self.ask("PATCH", path, b"not of this blob", want=(202, 416))
                self.ask("DELETE", path, want=(204,))
                continue
            session[3] = size
            self.done("sessions resumed")
            self.go_on(session)

    def some(self, table, state=True):
        names = [name for name, value in table.items() if value is state]
        return self.rng.choice(names) if names else None

    def mount(self):
        other = self.rng.choice(clients)
        digest = other.some(dict(other.blobs))
        if not digest or other is self or self.blobs.get(digest) is True:
            return
        self.blobs[digest] = EITHER
        path = f"/v2/{self.repository}/blobs/uploads/?mount={digest}&from={other.repository}"
        status, _ = self.ask("POST", path, b"", want=(201, 202))
        if status == 201:
            self.blobs[digest] = True
            self.done("mounts")
        elif other.blobs.get(digest) is True:
            wrong(f"mount of {digest}, which {other.repository} has: 202")

    def put_manifest(self, repository, reference, config):
        manifest = make_manifest(config, 2, f"{self.number} {self.n}")
        digest = digest_of(manifest)
        return manifest, digest, (f"/v2/{repository}/manifests/{reference or digest}", {"Content-Type": MANIFEST})

    def move_tag(self):
        config = self.some(self.blobs)
        if not config:
            return
        self.used.add(config)
        tag = f"t{self.rng.randrange(40)}" if self.rng.random() < 0.9 else None
        manifest, digest, (path, headers) = self.put_manifest(self.repository, tag, config)
        before = self.tags.get(tag, {None})
        self.manifests[digest] = EITHER
        if tag:
            self.tags[tag] = before | {digest}
        self.ask("PUT", path, manifest, headers, want=(201,))
        self.manifests[digest] = True
        if tag:
            self.tags[tag] = {digest}
        self.done("manifests")

    def move_shared(self):
        config = shared_config[0]
        tag = f"s{self.rng.randrange(5)}"
        manifest, digest, (path, headers) = self.put_manifest(SHARED, tag, config)
        put = tags.begin(tag, digest)
        self.ask("PUT", path, manifest, headers, want=(201,))
        tags.acknowledge(put)
        self.done("shared tags moved")

    def delete(self, table, kind, name):
        table[name] = EITHER
        status, _ = self.ask("DELETE", f"/v2/{self.repository}/{kind}/{name}", want=(202, 404))
        if status == 404:
            wrong(f"{self.repository}: {kind} {name} was acknowledged and cannot be deleted: 404")
        table[name] = False
        self.done("deletes")

    def delete_blob(self):
        digest = self.some({d: s for d, s in self.blobs.items() if d not in self.used})
        if digest:
            self.delete(self.blobs, "blobs", digest)

    def delete_manifest(self):
        digest = self.some(self.manifests)
        if not digest:
            return
        for tag, digests in self.tags.items():  # they go with it
            if digest in digests:
                self.tags[tag] = digests | {None}
        self.delete(self.manifests, "manifests", digest)
        for tag, digests in self.tags.items():
            self.tags[tag] = digests - {digest} or {None}

    def delete_tag(self):
        sure = [tag for tag, digests in self.tags.items() if len(digests) == 1 and None not in digests]
        if not sure:
            return
        tag = self.rng.choice(sure)
        self.tags[tag] = self.tags[tag] | {None}
        self.ask("DELETE", f"/v2/{self.repository}/manifests/{tag}", want=(202,))
        self.tags[tag] = {None}
        self.done("deletes")

    # ---- what must be there ----

    def look(self):
        check_blob(self.connection, self, self.rng.choice(list(self.blobs) or [None]))
        check_tag(self.connection, self, self.rng.choice(list(self.tags) or [None]))
        check_shared(self.connection, f"s{self.rng.randrange(5)}")


def check_blob(connection, client, digest):
    if digest is None or client.blobs[digest] is EITHER:
        return
    path = f"/v2/{client.repository}/blobs/{digest}"
    status, _, body = ask(connection, "GET", path)
    if status == 200 and digest_of(body, digest.split(":")[0]) != digest:
        wrong(f"{path}: wrong bytes")
    if (status == 200) != client.blobs[digest] or status not in (200, 404):
        wrong(f"{path}: {status}, {'acknowledged' if client.blobs[digest] else 'deleted'}")


def check_manifest(connection, client, digest):
    if client.manifests[digest] is EITHER:
        return
    path = f"/v2/{client.repository}/manifests/{digest}"
    status, _, body = ask(connection, "GET", path)
    if status == 200 and digest_of(body) != digest:
        wrong(f"{path}: wrong bytes")
    if (status == 200) != client.manifests[digest] or status not in (200, 404):
        wrong(f"{path}: {status}, {'acknowledged' if client.manifests[digest] else 'deleted'}")


def check_tag(connection, client, tag):
    if tag is None:
        return
    path = f"/v2/{client.repository}/manifests/{tag}"
    status, _, body = ask(connection, "GET", path)
    digest = digest_of(body) if status == 200 else None
    if status not in (200, 404) or digest not in client.tags[tag]:
        wrong(f"{path}: {status} {digest}, may be {client.tags[tag]}")
    return digest


def check_shared(connection, tag):
    before = time.monotonic()
    status, _, body = ask(connection, "GET", f"/v2/{SHARED}/manifests/{tag}")
    digest = digest_of(body) if status == 200 else None
    if status not in (200, 404) or digest not in tags.allowed(tag, before) | {
        p[2] for p in list(tags.puts[tag]) if p[0] >= before
    }:
        wrong(f"shared tag {tag}: {status} {digest} is older than an acknowledged one")


def check_sample(server, rng, n):
    connection = server.connect()
    for client in clients:
        for digest in rng.sample(list(client.blobs), min(n, len(client.blobs))):
            check_blob(connection, client, digest)
        for tag in rng.sample(list(client.tags), min(n, len(client.tags))):
            check_tag(connection, client, tag)
    for tag in list(tags.puts):
        check_shared(connection, tag)
    connection.close()


def check_all(server):
    connection = server.connect()
    end = time.monotonic() + 20
    while server.request("GET", "/v2/_catalog")[0] != 200 and time.monotonic() < end:
        time.sleep(0.05)
    for client in clients:
        for digest in client.blobs:
            check_blob(connection, client, digest)
        for digest in client.manifests:
            check_manifest(connection, client, digest)
        there = {tag for tag in client.tags if check_tag(connection, client, tag)}
        # The index gets in step behind the first answer after a start.
        while True:
            status, listed = list_all(connection, f"/v2/{client.repository}/tags/list?n=7", "tags")
            if (status == 200 and set(listed) == there) or time.monotonic() > end:
                break
            time.sleep(0.05)
        if status == 404 and not there:
            continue
        if status != 200 or set(listed) != there or listed != sorted(listed):
            wrong(f"{client.repository}: tags listed {status} {listed}, there are {sorted(there)}")
    for tag in list(tags.puts):
        check_shared(connection, tag)
    connection.close()


def one_round(server, rng, pause_s):
    took = server.start()
    slowest[0] = max(slowest[0], took)
    if took > START_MAX_S:
        slow.append(took)
    for client in clients:
        client.up.set()
    time.sleep(pause_s)
    server.kill()
    for client in clients:
        client.up.clear()
    for client in clients:
        if not client.idle.wait(30):
            wrong(f"client {client.number} hangs")
    tags.server_died()


program, directory, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
seed = sys.argv[4] if len(sys.argv) > 4 else str(random.getrandbits(32))
print(f"# seed {seed}")
rng = random.Random(seed)
server = Server(program, directory, "[log]\naccess = no\n")
clients = [Client(n, server, seed) for n in range(N_CLIENTS)]
slowest, slow, shared_config = [0.0], [], [digest_of(b"{}")]
server.start()
server.request("POST", f"/v2/{SHARED}/blobs/uploads/?digest={shared_config[0]}", b"{}")
server.kill()
for client in clients:
    client.start()
began = time.monotonic()
index_sizes = []
for number in range(rounds):
    one_round(server, rng, rng.uniform(0.001, 0.3))
    if number % 10 == 9:
        server.start()
        check_sample(server, rng, 3)
        server.kill()
        tags.server_died()
        tags.forget_old()
        index_sizes.append(tree_bytes(os.path.join(server.store, "index")))
    if len(problems) > 20:
        break
for client in clients:
    client.end = True
    client.up.set()
server.start()
check_all(server)
status = server.stop()
if status:
    wrong(f"the server ends with status {status}")
for sentence in check_store(server.store):
    wrong(sentence)
# Rows of a repository are replaced at each start: what they held must be used again.
if index_sizes and index_sizes[-1] > 16 << 20:
    wrong(f"the index has grown to {index_sizes[-1]} bytes")
if len(slow) > max(1, rounds // 20):
    wrong(f"{len(slow)} of {rounds} starts took more than {START_MAX_S} s: up to {slowest[0]:.2f} s")
print("# acknowledged: " + ", ".join(f"{n} {what}" for what, n in sorted(acknowledged.items())))
print(f"# slowest start {slowest[0]:.3f} s; index {index_sizes[-1:]} bytes; {time.monotonic() - began:.0f} s")
for sentence in problems[:40]:
    print(sentence)
if problems:
    print("# the server's log:", *server.log_text().splitlines()[-20:], sep="\n# ")
sys.exit(bool(problems))
