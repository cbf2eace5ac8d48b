# powerloss.py PROGRAM DIRECTORY STARTS [SEED] - clients push to a server under strace; for each
# moment of its life the states that a power cut could leave on disk (powermodel.py) are looked at:
# what was acknowledged before is there, and nothing has wrong bytes. From STARTS of those states the
# real server is started and asked. Prints one sentence for each thing that is wrong, and statistics
# behind "#".
import http.client
import os
import random
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from powermodel import ATTACHED, Model
from serveload import (MANIFEST, Server, ask, digest_of, free_port, list_all, make_manifest, path_of,
                       with_digest)

N_CLIENTS = 3
SETTINGS = "[log]\naccess = no\n"
SUBSETS = 2  # random ones, for each moment
FEW_MOMENTS, FEW_STARTS = 600, 100  # with more starts all moments are looked at
problems = []


def wrong(sentence):
    if sentence not in problems:
        problems.append(sentence)


class Traced(Server):
    """A server below strace from its first call on."""

    def trace(self, log, inject=()):
        self.start(prefix=ATTACHED + list(inject) + ["-o", log])

    def stop(self, number=15, timeout_s=20):
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                for pid in f.read().split():
                    os.kill(int(pid), number)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it is dead already
        return self.process.wait(timeout_s)


class Client:
    """Has two repositories of its own, and contents that the others push, too."""

    def __init__(self, number, server, seed):
        self.server, self.number = server, number
        self.repository, self.other = f"power/n{number}", f"power{number}"
        rng = random.Random(f"{seed} {number}")
        shared = random.Random(seed)
        self.shared = [b"{}", shared.randbytes(3000), b"text of all of them\n" * 200, shared.randbytes(150000)]
        self.own = [rng.randbytes(2000), b"own text %d\n" % number * 20000, rng.randbytes(200000)]
        self.chunks = rng.randbytes(90000)
        self.open = rng.randbytes(60000)
        self.connection = None
        self.requests = []  # (port, {key: value}): what it changes

    def run_script(self, script):
        try:
            for step in script:
                step()
        except (OSError, http.client.HTTPException):
            pass  # killed
        except Exception as error:
            wrong(f"client {self.number}: {error!r}")
        self.connection = None

    def ask(self, method, path, body=None, headers=None, want=(), effect=None):
        """@effect: {key: value} that it has when it is acknowledged."""
        if not self.connection or not self.connection.sock:
            self.connection = self.server.connect()
            self.connection.connect()
        self.requests.append((self.connection.sock.getsockname()[1], effect or {}))
        status, headers, answer = ask(self.connection, method, path, body, headers)
        if status not in want:
            raise RuntimeError(f"{method} {path}: {status} {answer[:200]!r}")
        return headers

    # ---- steps ----

    def blob(self, content, repository=None):
        repository, digest = repository or self.repository, digest_of(content)
        self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content, want=(201,),
                 effect={("blob", repository, digest): True})

    def push_shared(self):
        for content in self.shared:
            self.blob(content)

    def push_own(self):
        for content in self.own:
            self.blob(content)

    def push_in_two(self):
        digest = digest_of(self.own[2] + b"2")
        headers = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"", want=(202,))
        self.ask("PUT", with_digest(headers["Location"], digest), self.own[2] + b"2", want=(201,),
                 effect={("blob", self.repository, digest): True})

    def session(self, parts):
        headers = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"", want=(202,))
        path, done = path_of(headers["Location"]), b""
        key = ("session", self.repository, path.split("/")[-1].split("?")[0])
        for part in parts:
            done += part
            self.ask("PATCH", path, part, want=(202,), effect={key: done})
        return path, key

    def push_chunks(self):
        path, key = self.session([self.chunks[:30000], self.chunks[30000:60000]])
        digest = digest_of(self.chunks)
        self.ask("PUT", with_digest(path, digest), self.chunks[60000:], want=(201,),
                 effect={key: None, ("blob", self.repository, digest): True})

    def leave_open(self):
        self.session([self.open[:20000], self.open[20000:]])

    def cancel(self):
        path, key = self.session([self.open[:5000]])
        self.ask("DELETE", path, want=(204,), effect={key: None})

    def mount(self):
        for content in (self.own[1], self.shared[3]):
            digest = digest_of(content)
            self.ask("POST", f"/v2/{self.other}/blobs/uploads/?mount={digest}&from={self.repository}", b"",
                     want=(201,), effect={("blob", self.other, digest): True})

    def put_manifest(self, text, tag=None, tags=()):
        manifest = make_manifest(digest_of(b"{}"), 2, text)
        digest = digest_of(manifest)
        effect = {("tag", self.repository, t): digest for t in (*tags, *([tag] if tag else []))}
        effect[("manifest", self.repository, digest)] = True
        query = "".join(f"{'&' if i else '?'}tag={t}" for i, t in enumerate(tags))
        self.ask("PUT", f"/v2/{self.repository}/manifests/{tag or digest}{query}", manifest,
                 {"Content-Type": MANIFEST}, (201,), effect)
        return digest

    def manifests(self):
        self.put_manifest("first", "v1")
        self.put_manifest("second", None, ("a", "b", "c"))
        self.put_manifest(f"third {self.number}", "v1")
        self.put_manifest(f"fourth {self.number}", "gone")

    def delete(self, kind, name, effect):
        self.ask("DELETE", f"/v2/{self.repository}/{kind}/{name}", want=(202,), effect=effect)

    def deletes(self):
        self.delete("manifests", "a", {("tag", self.repository, "a"): None})
        fourth = digest_of(make_manifest(digest_of(b"{}"), 2, f"fourth {self.number}"))
        self.delete("manifests", fourth, {("tag", self.repository, "gone"): None,
                                          ("manifest", self.repository, fourth): None})
        for content in (self.own[0], self.shared[1]):
            self.delete("blobs", digest_of(content), {("blob", self.repository, digest_of(content)): None})
        self.blob(self.own[0])

    def many(self):
        """Until the server dies."""
        for i in range(100):
            self.blob(b"%d of many" % i)
            self.put_manifest(f"many {i}", "m")

    def look(self):
        """After a crash: what a new server shows is on disk, also if it was never synced."""
        for i in range(60):
            digest = digest_of(b"%d of many" % i)
            path = f"/v2/{self.repository}/blobs/{digest}"
            if self.ask("HEAD", path, want=(200, 404)).get("Docker-Content-Digest"):
                self.requests[-1][1][("blob", self.repository, digest)] = True
        tag = self.ask("HEAD", f"/v2/{self.repository}/manifests/m", want=(200, 404))
        self.requests[-1][1][("tag", self.repository, "m")] = tag.get("Docker-Content-Digest")

    def again(self):
        for i in range(40):
            self.blob(b"%d of many" % i)
        self.put_manifest("many 3", "m", ("again",))

    # ---- what must be there ----

    def known(self, model, moment):
        """{key: values that it may have} after a crash at @moment."""
        heard = {port: list(lines) for port, lines in model.answers.items()}
        known = {}
        for port, effect in self.requests:
            lines = heard.get(port)
            at = lines.pop(0)[0] if lines else None
            for key, value in effect.items():
                before = known.get(key, {None})
                known[key] = {value} if at is not None and at <= moment else before | {value}
            if at is not None and at > moment:
                break
        return known


# ---- what is on a disk ----


def link_of(digest):
    return digest.replace(":", "-", 1)


def blob_is_whole(disk, digest):
    algorithm, hexa = digest.split(":")
    path = f"blobs/{algorithm}/{hexa[:2]}/{hexa}"
    return disk.find(path) is not None or disk.find(path + ".zst") is not None


def value_of(disk, key):
    """As Client.known() has it; a string when it is something else."""
    kind, repository, name = key
    top = f"repositories/{repository.replace('/', '+')}"
    if kind == "blob":
        if disk.find(f"{top}/_layers/{link_of(name)}") is None:
            return None
        return True if blob_is_whole(disk, name) else "a link to nothing"
    if kind == "manifest":
        link = disk.data(f"{top}/_manifests/{link_of(name)}")
        if link is None:
            return None
        if not link.startswith(MANIFEST.encode() + b"\n"):
            return f"a link that says {link[:60]!r}"
        return True if blob_is_whole(disk, name) else "a link to nothing"
    if kind == "tag":
        tag = disk.data(f"{top}/_tags/{name}")
        return tag if tag is None else tag.decode().strip()
    return disk.data(f"uploads/{name}")


def check_value(key, allowed, value):
    if key[0] == "session":
        # What was not acknowledged may follow, but never take the place of what was.
        return any((value or b"").startswith(known) if known else True for known in allowed)
    return value in allowed


def check_disk(disk, known, packed):
    for key, allowed in known.items():
        value = value_of(disk, key)
        if not check_value(key, allowed, value):
            shown = value if key[0] != "session" else f"{len(value or b'')} bytes"
            yield f"{key[0]} {key[2]} of {key[1]}: {shown}, acknowledged otherwise"
    for path, node in disk.files(disk.find("blobs")):
        if node.is_dir:
            continue
        algorithm, _, name = path.split("/")
        hexa = name.removesuffix(".zst")
        if hexa != name:
            # Which bytes zstd makes of it is known from the whole run.
            if disk.hash_of(node) != packed.get(path):
                yield f"not the content of its name: {path}"
        elif disk.hash_of(node, algorithm) != hexa:
            yield f"not the content of its name: {path}"


def packed_hashes(model):
    """Of each packed blob, the hash of its file when nothing is lost."""
    whole = model.crash(model.at, survival=1.0)
    return {path: whole.hash_of(node) for path, node in whole.files(whole.find("blobs"))
            if path.endswith(".zst")}


def all_known(clients, model, moment):
    known = {}
    for client in clients:
        known.update(client.known(model, moment))
    return known


def check_moments(model, clients, moments, rng, subsets):
    """The states of a crash at each of @moments. Return: their number, sentences."""
    states, found = 0, []
    packed = packed_hashes(model)
    for moment in moments:
        known = all_known(clients, model, moment)
        for i in range(1 + subsets):
            disk = model.crash(moment, rng if i else None)
            states += 1
            for sentence in check_disk(disk, known, packed):
                found.append(f"line {moment}, {'in part' if i else 'nothing unsynced'}: {sentence}")
    return states, found


# ---- the real server on such a disk ----


def check_server(server, known):
    connection = server.connect()
    for key, allowed in known.items():
        kind, repository, name = key
        if kind == "session":
            status, headers, _ = ask(connection, "GET", f"/v2/{repository}/blobs/uploads/{name}")
            size = int(headers["Range"].split("-")[1]) + 1 if status == 204 else 0
            if None not in allowed and size < min(map(len, allowed)):
                yield f"upload {name}: {status}, {size} bytes"
            continue
        path = f"/v2/{repository}/{'blobs' if kind == 'blob' else 'manifests'}/{name}"
        status, _, body = ask(connection, "GET", path)
        got = digest_of(body) if status == 200 else None if status == 404 else status
        wanted = {name if value is True else value for value in allowed}
        if got not in wanted:
            yield f"GET {path}: {status} {got}, acknowledged otherwise"
    yield from check_listings(connection, known)
    connection.close()


def check_listings(connection, known):
    names = {}
    for kind, repository, name in known:
        if kind == "tag":
            names.setdefault(repository, set()).add(name)
    end = time.monotonic() + 10
    for repository, tags in names.items():
        there = {t for t in tags if ask(connection, "GET", f"/v2/{repository}/manifests/{t}")[0] == 200}
        while True:
            status, listed = list_all(connection, f"/v2/{repository}/tags/list", "tags")
            if set(listed) == there and (status == 200 or status == 404 and not there):
                break
            if time.monotonic() > end:
                yield f"tags of {repository}: {status} {listed}, there are {sorted(there)}"
                break
            time.sleep(0.02)


def start_from(disk, program, directory, known):
    # In memory: a start syncs the whole file system, and would wait for what others write.
    memory = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else directory)
    store = os.path.join(memory, "after")
    disk.write(store)
    server = Server(program, directory, SETTINGS, store=store)
    try:
        server.start()
        yield from check_server(server, known)
        status = server.stop()
        if status != 0:
            yield f"the server does not end in good order: {status}, {server.log_text()[-300:]}"
    except RuntimeError as error:
        yield f"{error}: {server.log_text()[-300:]}"
    finally:
        server.kill()
        os.unlink(server.log)
        os.unlink(server.config)
        shutil.rmtree(memory)


# ---- the run ----


def run_all(clients, script):
    threads = [threading.Thread(target=c.run_script, args=(script(c),), daemon=True) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def record(program, directory, seed):
    """Return: the clients, and what the disk saw: (copy of the store at first, logs)."""
    server = Traced(program, directory, SETTINGS)
    server.start(prefix=())
    Server.stop(server)
    shutil.copytree(server.store, os.path.join(directory, "first"))
    model, logs = Model(server.store), []
    clients = [Client(i, server, seed) for i in range(N_CLIENTS)]
    # Killed where a name is there, or content, that is not yet synced.
    kill = f"inject=fsync:signal=KILL:when={random.Random(seed).randrange(10, 40)}"
    scripts = (
        ((), lambda c: (c.push_shared, c.push_own, c.push_in_two, c.push_chunks, c.leave_open,
                        c.cancel, c.manifests, c.mount, c.deletes)),
        (("-e", kill), lambda c: (c.many,)),
        ((), lambda c: (c.look, c.again, c.manifests)),
    )
    for inject, script in scripts:
        logs.append(os.path.join(directory, f"strace{len(logs)}"))
        server.trace(logs[-1], inject)
        run_all(clients, script)
        server.kill()
        feed(model, logs[-1])
    return server, clients, model, logs


def feed(model, log):
    model.feed(log)
    model.killed()
    for path in model.differences():
        wrong(f"the log of the server does not explain {path}")


def answer_moments(model):
    return sorted(at for lines in model.answers.values() for at, _ in lines)


def check_forgetting(first, server, clients, logs):
    """Syncs that were left out must be noticed; else this test shows nothing."""
    kinds = {
        "files": lambda call, node: not node.is_dir,
        "directories": lambda call, node: node.is_dir and call != "syncfs",
        "shards": lambda call, node: node.is_dir and call != "syncfs" and any(
            len(name) >= 64 and "-" not in name for name in node.names),
        "tags": lambda call, node: node.is_dir and call != "syncfs" and "v1" in node.names,
    }
    for what, forgotten in kinds.items():
        model = Model(first, forgotten)
        model.store = server.store
        for log in logs:
            model.feed(log)
            model.pending.clear()
            model.fds.clear()
        _, found = check_moments(model, clients, answer_moments(model), None, 0)
        print(f"# without syncs of {what}: {len(found)} losses")
        if not found:
            wrong(f"nobody notices when {what} are not synced")


def main():
    program, directory, starts = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seed = sys.argv[4] if len(sys.argv) > 4 else str(random.getrandbits(32))
    began = time.monotonic()
    server, clients, model, logs = record(program, directory, seed)
    rng = random.Random(seed)
    answers = answer_moments(model)
    print(f"# seed {seed}; {model.at} calls, {len(answers)} answers, {len(model.moments)} moments, "
          f"{time.monotonic() - began:.1f} s")
    moments = sorted(model.moments)
    few = moments if starts > FEW_STARTS else sorted(rng.sample(moments, min(FEW_MOMENTS, len(moments))))
    for some, subsets in ((answers, 0), (few, SUBSETS)):
        states, found = check_moments(model, clients, some, rng, subsets)
        print(f"# {states} states looked at, {time.monotonic() - began:.1f} s")
        for sentence in found[:20]:
            wrong(sentence)
    check_forgetting(os.path.join(directory, "first"), server, clients, logs)
    print(f"# {time.monotonic() - began:.1f} s")
    for i in range(starts):
        moment = rng.choice(answers if i % 2 else moments)
        disk = model.crash(moment, rng if i % 4 > 1 else None)
        for sentence in start_from(disk, program, directory, all_known(clients, model, moment)):
            wrong(f"a server started from line {moment}: {sentence}")
    print(f"# the server started from {starts} of the states, {time.monotonic() - began:.1f} s")
    for sentence in problems:
        print(sentence)
    sys.exit(bool(problems))


main()
