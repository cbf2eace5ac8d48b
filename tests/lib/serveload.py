# What the durability tests of intinode-serve share: the server as a process, one request, blobs of
# every kind, and the look at a store's files while no server runs.
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
UPLOAD_FILE = re.compile(r"^[0-9a-f]{32}(\.repository)?$")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One intinode-serve on one port and store, started again and again."""

    def __init__(self, program, directory, settings="", prefix=(), store=None, environment=None):
        self.program, self.prefix = program, list(prefix)
        self.directory = directory
        self.store = store or os.path.join(directory, "store")
        self.port = free_port()
        self.config = os.path.join(directory, f"serve-{self.port}.conf")
        self.log = os.path.join(directory, f"serve-{self.port}.log")
        self.environment = environment
        self.process = None
        with open(self.config, "w") as f:
            f.write(settings)

    def start(self, timeout_s=20, prefix=None):
        """Until it answers. Return: seconds; raises RuntimeError when it ended instead."""
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                (self.prefix if prefix is None else list(prefix))
                + [self.program, "--config", self.config, "--log-level", "error"]
                + ["--listen", f"127.0.0.1:{self.port}", "--store", self.store],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
            )
        while True:
            try:
                if self.request("GET", "/v2/", timeout=2)[0] == 200:
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException):
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            if time.monotonic() - began > timeout_s:
                raise RuntimeError("the server does not answer")
            time.sleep(0.003)

    def stop(self, number=signal.SIGTERM, timeout_s=20):
        """Return: its exit status; negative: the signal it died of."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "it hung"

    def kill(self):
        return self.stop(signal.SIGKILL)

    def connect(self, timeout=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=20):
        connection = self.connect(timeout)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


def ask(connection, method, path, body=None, headers=None):
    """Return: status, headers, body."""
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def digest_of(content, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def make_content(rng, size):
    """Half of it compressible, half not; never the same twice."""
    unique = b"%016x" % rng.getrandbits(64)
    if rng.random() < 0.5:
        return (unique + rng.randbytes(max(size - 16, 0)))[:max(size, 16)]
    line = unique + b" is a line that is there many times, as in text\n"
    return (line * (size // len(line) + 1))[:max(size, 16)]


def make_manifest(config, size, extra=""):
    return (
        '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json",'
        '"digest":"%s","size":%d},"layers":[],"annotations":{"n":"%s"}}' % (MANIFEST, config, size, extra)
    ).encode()


def path_of(location):
    """Location as path and query, however it came."""
    return re.sub(r"^https?://[^/]+", "", location)


def with_digest(location, digest):
    path = path_of(location)
    return f"{path}{'&' if '?' in path else '?'}digest={digest}"


def list_all(connection, path, key):
    """Every page of a listing. Return: status of the last answer, names."""
    names = []
    while path:
        status, headers, body = ask(connection, "GET", path)
        if status != 200:
            return status, names
        names += json.loads(body)[key] or []
        link = headers.get("Link")
        path = path_of(link[1 : link.index(">")]) if link else None
    return 200, names


def check_store(store, complete=True):
    """What is wrong with the files of a store that no server has open: sentences."""
    wrong = []
    for directory, _, names in os.walk(os.path.join(store, "blobs")):
        algorithm = os.path.relpath(directory, os.path.join(store, "blobs")).split("/")[0]
        for name in names:
            path = os.path.join(directory, name)
            hexa = name.removesuffix(".zst")
            if not re.fullmatch("[0-9a-f]+", hexa) or hexa[:2] != os.path.basename(directory):
                wrong.append(f"strange name among the blobs: {path}")
                continue
            if name.endswith(".zst"):
                content = subprocess.run(["zstd", "-dcq", path], capture_output=True).stdout
            else:
                with open(path, "rb") as f:
                    content = f.read()
            if hashlib.new(algorithm, content).hexdigest() != hexa:
                wrong.append(f"not the content of its name: {path}")
            if os.stat(path).st_nlink != 1 and complete:
                wrong.append(f"has a second name: {path}")
    if not complete:
        return wrong
    # What a run was killed amid is removed when the next one starts and its index is in step.
    for directory, _, names in os.walk(os.path.join(store, "repositories")):
        wrong += [f"left behind: {directory}/{name}" for name in names if name.startswith(".new-")]
    uploads = os.listdir(os.path.join(store, "uploads"))
    for name in uploads:
        if not UPLOAD_FILE.match(name):
            wrong.append(f"left behind: uploads/{name}")
        elif name.endswith(".repository") and name[:32] not in uploads:
            wrong.append(f"left behind: uploads/{name}")
    return wrong


def tree_bytes(path):
    return sum(
        os.stat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(path)
        for name in names
    )
