# servefaults.py PROGRAM DIRECTORY all|few CALL... - one call of the server to its file system fails
# (EIO, ENOSPC) or is its last (kill), by strace, for every n-th of a fixed list of requests.
# Whoever asked must hear of it: an error, never a success that is not one; the server goes on; what
# failed succeeds when asked again; a restart shows what was acknowledged. Prints what is wrong.
import glob
import http.client
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from serveload import (MANIFEST, Server, ask, check_store, digest_of, list_all, make_content,
                       make_manifest, path_of, with_digest)

SETTINGS = "[server]\nworkers = 1\nthreads = 1\n[log]\naccess = no\n"
FEW = 1  # points for each call and error when not all are wanted; twice as many of MUST_TELL
TIMEOUT_S = 5
# Without these nothing is on disk. What fails elsewhere may be made good in another way.
MUST_TELL = ("fsync", "fdatasync", "linkat", "renameat")
FAULTS = {call: ("EIO", "KILL") for call in ("pread64", "sendfile", "utimensat", "fchmod")}
RETRY_S = 10  # each thread may have its fault, and after some the store takes no changes for a second
problems = []


class Failed(Exception):
    """The request was refused, in good form."""


class Scenario:
    """The requests. Each step may be done again; self.known is what must be there."""

    def __init__(self, server, error):
        self.server, self.error = server, error
        rng = random.Random(7)
        self.small = b"text that can be packed, " * 100
        self.large = rng.randbytes(700000)
        self.chunks = make_content(rng, 300000)
        self.first = digest_of(make_manifest(digest_of(self.small), len(self.small), "one"))
        self.known = {}  # path: digest, None: gone. A path that is not in here may be either.
        self.answers = []
        self.refused = 0
        self.session = None

    def ask(self, method, path, body=None, headers=None, want=()):
        connection = self.server.connect(TIMEOUT_S)
        try:
            status, headers, answer = ask(connection, method, path, body, headers)
        finally:
            connection.close()
        self.answers.append(f"{method} {path[:60]} {status}")
        if status in want:
            return status, headers, answer
        try:
            code = json.loads(answer)["errors"][0]["code"]
        except (ValueError, KeyError, IndexError):
            code = None
        if status == 507 and self.error == "ENOSPC" and code or status in (500, 503) and code:
            if self.error == "ENOSPC" and status == 500:
                raise AssertionError(f"{self.answers[-1]}: a full disk is 507")
            self.refused += 1
            raise Failed
        raise AssertionError(f"{self.answers[-1]} {answer[:200]!r}")

    def blob(self, repository, content):
        digest = digest_of(content)
        self.known.pop(f"/v2/{repository}/blobs/{digest}", None)
        self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content, want=(201,))
        self.known[f"/v2/{repository}/blobs/{digest}"] = digest

    def push_small(self):
        self.blob("a/b", self.small)

    def push_large(self):
        self.blob("a/b", self.large)

    def push_chunks(self):
        digest = digest_of(self.chunks)
        if self.session:
            # What a failed chunk left is what the session says.
            status, headers, _ = self.ask("GET", self.session, want=(204, 404))
            if status == 404:
                self.session = None
            else:
                last = int(headers["Range"].split("-")[1])
                self.at = last + 1 if last else 0
        if not self.session:
            _, headers, _ = self.ask("POST", "/v2/a/b/blobs/uploads/", b"", want=(202,))
            self.session, self.at = path_of(headers["Location"]), 0
        while self.at < 200000:
            part = self.chunks[self.at : self.at + 100000]
            _, headers, _ = self.ask("PATCH", self.session, part, want=(202,))
            self.at += len(part)
            if headers["Range"] != f"0-{self.at - 1}":
                raise AssertionError(f"range {headers['Range']} after {self.at} bytes")
        self.ask("PUT", with_digest(self.session, digest), self.chunks[self.at :], want=(201,))
        self.known[f"/v2/a/b/blobs/{digest}"] = digest
        self.session = None

    def manifest(self, tag, text):
        manifest = make_manifest(digest_of(self.small), len(self.small), text)
        digest = digest_of(manifest)
        self.known.pop(f"/v2/a/b/manifests/{tag}", None)
        self.ask("PUT", f"/v2/a/b/manifests/{tag}", manifest, {"Content-Type": MANIFEST}, (201,))
        self.known[f"/v2/a/b/manifests/{tag}"] = self.known[f"/v2/a/b/manifests/{digest}"] = digest
        return digest

    def tag(self):
        self.manifest("v1", "one")

    def move_tag(self):
        self.manifest("v1", "two")

    def other_tag(self):
        self.manifest("v2", "three")

    def mount(self):
        digest = digest_of(self.large)
        self.ask("POST", f"/v2/c/blobs/uploads/?mount={digest}&from=a/b", b"", want=(201,))
        self.known[f"/v2/c/blobs/{digest}"] = digest

    def pull(self):
        """All of it, or an error, or a cut connection: never other bytes, never a clean short end."""
        for path, digest in self.known.items():
            if not digest:
                continue
            try:
                _, _, body = self.ask("GET", path, want=(200,))
            except http.client.IncompleteRead:
                self.refused += 1
                raise Failed from None
            if digest_of(body) != digest:
                raise AssertionError(f"GET {path}: {len(body)} bytes that are not its content")

    def delete(self, path):
        self.known.pop(path, None)
        self.ask("DELETE", path, want=(202, 404))
        self.known[path] = None

    def delete_tag(self):
        self.delete("/v2/a/b/manifests/v2")

    def delete_manifest(self):
        self.delete(f"/v2/a/b/manifests/{self.first}")

    def delete_blob(self):
        self.delete(f"/v2/a/b/blobs/{digest_of(self.chunks)}")

    def steps(self):
        return [
            self.push_small, self.push_large, self.push_chunks, self.tag, self.move_tag,
            self.other_tag, self.mount, self.pull, self.delete_tag, self.delete_manifest,
            self.delete_blob,
        ]

    @staticmethod
    def again(step):
        end = time.monotonic() + RETRY_S
        while time.monotonic() < end:
            try:
                step()
                return True
            except Failed:
                time.sleep(0.02)
        return False

    def run(self, steps):
        """Return: the steps that were refused; what a later one needs is asked for again first."""
        failed = []
        for step in steps:
            try:
                step()
            except Failed:
                if not self.again(step):
                    failed.append(step)
        return failed

    def check(self):
        for path, digest in self.known.items():
            status, _, body = self.server.request("GET", path)
            if digest is None and status != 404:
                yield f"GET {path}: {status}, was deleted"
            elif digest is not None and (status != 200 or digest_of(body) != digest):
                yield f"GET {path}: {status}, was acknowledged as {digest}"
        end = time.monotonic() + 10
        while True:
            connection = self.server.connect()
            status, tags = list_all(connection, "/v2/a/b/tags/list", "tags")
            connection.close()
            there = [t for t in ("v1", "v2")
                     if self.server.request("GET", f"/v2/a/b/manifests/{t}")[0] == 200]
            if (status == 200 and tags == there) or (status == 404 and not there):
                break
            if status not in (200, 503) or time.monotonic() > end:
                yield f"tags are listed as {status} {tags}, there are {there}"
                break
            time.sleep(0.05)


class Tracer:
    """strace on a running server, on all its threads."""

    def __init__(self, server, call, inject, directory):
        self.log = os.path.join(directory, "strace")
        self.process = subprocess.Popen(
            ["strace", "-f", "-q", "-y", "-e", f"trace={call}", "-o", self.log]
            + (["-e", f"inject={call}:{inject}"] if inject else [])
            + ["-p", str(server.process.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        end = time.monotonic() + 10
        while not self.is_attached(server.process.pid):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"strace: {self.process.stderr.read()!r}")
            time.sleep(0.002)

    @staticmethod
    def is_attached(pid):
        for path in glob.glob(f"/proc/{pid}/task/*/status"):
            with open(path) as f:
                if "TracerPid:\t0\n" in f.read():
                    return False
        return True

    def detach(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # its tracee is dead
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()

    def lines(self):
        with open(self.log, errors="replace") as f:
            return f.read().splitlines()


def prepare(program, directory):
    """A store with what a registry has had from the start; copied for each point."""
    server = Server(program, directory, SETTINGS)
    server.start()
    server.request("POST", f"/v2/old/blobs/uploads/?digest={digest_of(b'old')}", b"old")
    server.stop()
    return server


def reset(server, directory):
    shutil.rmtree(server.store)
    shutil.copytree(os.path.join(directory, "pristine"), server.store)
    open(server.log, "w").close()


def is_of_store(server, line):
    return server.store in line


def count(server, directory, call):
    """Which n-th calls of any thread are about the store."""
    reset(server, directory)
    server.start()
    tracer = Tracer(server, call, None, directory)
    scenario = Scenario(server, None)
    failed = scenario.run(scenario.steps())
    tracer.detach()
    server.kill()
    if failed:
        raise RuntimeError(f"without a fault: {scenario.answers}")
    seen, wanted = {}, set()
    for line in tracer.lines():
        thread = line.split()[0]
        if f" {call}(" not in line:
            continue
        seen[thread] = seen.get(thread, 0) + 1
        if is_of_store(server, line) or call in ("renameat", "fallocate"):
            wanted.add(seen[thread])
    return sorted(wanted)


def was_silent(server, scenario, call, injected):
    """Did a call fail that a request needs, and nobody heard of it? The index has its own ways."""
    needed = [line for line in injected
              if is_of_store(server, line) and "/index" not in line and '"index' not in line]
    return call in MUST_TELL and needed and not scenario.refused


def point(server, directory, call, fault, n):
    """One fault. Return: what is wrong."""
    kill = fault == "KILL"
    reset(server, directory)
    server.start()
    tracer = Tracer(server, call, f"signal=KILL:when={n}" if kill else f"error={fault}:when={n}", directory)
    scenario = Scenario(server, fault)
    wrong, failed = [], []
    todo = scenario.steps()
    try:
        failed = scenario.run(todo)
    except AssertionError as error:
        wrong.append(str(error))
    except (OSError, http.client.HTTPException) as error:
        if not kill:
            wrong.append(f"no answer ({error!r}) behind {scenario.answers[-1:]}")
    died = server.process.poll()
    if kill:
        server.kill()  # what a thread was killed by has reached all by now, or n is past the last
    tracer.detach()
    injected = [line for line in tracer.lines() if "INJECTED" in line or "killed by" in line]
    if any("INJECTED" in line and not is_of_store(server, line) and "eventfd" in line for line in injected):
        server.kill()
        return []  # not a fault of the disk
    if died is not None and not kill:
        return wrong + [f"the server ended with {died}"] + server.log_text().splitlines()[-5:]
    if not kill and was_silent(server, scenario, call, injected):
        wrong.append("no request was refused")
    if not kill:
        # A store that gave up writing tries again by itself.
        end = time.monotonic() + 10
        while failed and time.monotonic() < end:
            failed = scenario.run(failed)
        wrong += [f"fails again without a fault: {step.__name__}" for step in failed]
        wrong += scenario.check()
    server.kill()
    scenario.server.start()
    wrong += [f"after a restart: {sentence}" for sentence in scenario.check()]
    if server.stop() != 0:
        wrong.append("does not end in good order")
    wrong += check_store(server.store)
    return wrong + (injected[-3:] if wrong else [])


def main():
    program, directory, which, *calls = sys.argv[1:]
    server = prepare(program, directory)
    os.rename(server.store, os.path.join(directory, "pristine"))
    os.mkdir(server.store)
    points, began = 0, time.monotonic()
    rng = random.Random()
    for call in calls:
        numbers = count(server, directory, call)
        for fault in FAULTS.get(call, ("EIO", "ENOSPC", "KILL")):
            few = min(2 * FEW if call in MUST_TELL else FEW, len(numbers))
            chosen = numbers if which == "all" else rng.sample(numbers, few)
            for n in sorted(chosen):
                for sentence in point(server, directory, call, fault, n):
                    print(f"{fault} of {call} {n}: {sentence}", flush=True)
                    problems.append(sentence)
                points += 1
        print(f"# {call}: {len(numbers)} calls of a thread are about the store", flush=True)
    print(f"# {points} faults in {time.monotonic() - began:.0f} s")
    sys.exit(bool(problems))


main()
