#!/usr/bin/env python3
# A registry that misbehaves on request, for tests of whoever talks to one.
#
#	badserver.py [--blobs DIR] [--log FILE] [--mode MODE] [--cert PEM]
#
# Prints "PORT OTHER [TLS]" and serves on these ports of 127.0.0.1 until its standard input is
# closed: plain HTTP on the first two, https with --cert (certificate and key) on the third. OTHER
# is the same server, to play "another origin". The first component of a repository names the
# mode, where it is one (docker://127.0.0.1:PORT/reset/app); else it is --mode. Blobs are files of
# DIR, named by their SHA-256, and what was uploaded. Each request is one JSON line in FILE: port,
# peer (the client's port), method, path, headers (names in lower case), body_bytes.
#
# Modes, see the methods and tables below: ok, basic, bearer, ... Credentials that are right:
# bob:secret.
import argparse
import base64
import gzip
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CREDENTIALS = "Basic " + base64.b64encode(b"bob:secret").decode()

# Modes that only answer with a status.
STATUS_MODES = {
    "missing": (404, {}, "NAME_UNKNOWN", "repository name not known to registry"),
    "forbidden": (403, {}, "DENIED", "requested access is denied"),
    "broken": (500, {}, "UNKNOWN", "it is broken"),
    "busy-long": (429, {"Retry-After": "3600"}, "TOOMANYREQUESTS", "come back tomorrow"),
    "full": (507, {}, "UNKNOWN", "no space left"),
    "rude": (400, {}, "UNKNOWN", "\x1b[31mred\n" + "x" * 5000),
}
# Modes that challenge, and how: see challenge().
AUTH_MODES = {"basic", "bearer", "bearer-auth", "bearer-once", "unauthorized", "realm-elsewhere",
              "realm-port", "realm-bad", "realm-anonymous", "bearer-broken", "bearer-flapping",
              "bearer-inject", "challenge-bad", "bearer-refused", "basic-redirect",
              "basic-upload-elsewhere", "bearer-once-403", "bearer-silence"}
REDIRECT_MODES = {"redirect", "redirect-other", "redirect-loop", "redirect-inner", "redirect-file",
                  "redirect-user", "redirect-3", "redirect-none", "redirect-refused",
                  "redirect-plain", "basic-redirect"}
BODY_MODES = {"short", "long", "long-chunked", "close-early", "reset", "reset-no-range",
              "reset-wrong-range", "reset-always", "silence", "drip", "gzip", "zstd",
              "gzip-unasked", "bomb", "wrong", "reset-gzip", "flapping", "busy", "headers",
              "label", "late", "wrong-half"}
UPLOAD_MODES = {"no-single-post", "upload-elsewhere", "upload-absolute", "session-lost",
                "upload-nowhere", "upload-flapping", "basic-upload-elsewhere"}
MODES = {"ok"} | STATUS_MODES.keys() | AUTH_MODES | REDIRECT_MODES | BODY_MODES | UPLOAD_MODES


class State:
    def __init__(self, args):
        self.lock = threading.Lock()
        self.args = args
        self.blobs, self.manifests, self.sessions, self.tokens, self.counts = {}, {}, {}, {}, {}
        self.log = open(args.log, "a", encoding="utf-8") if args.log else None
        self.ports = []

    def count(self, key):
        """How often this was called with this key before."""
        with self.lock:
            n = self.counts.get(key, 0)
            self.counts[key] = n + 1
            return n

    def blob(self, digest):
        if digest in self.blobs:
            return self.blobs[digest]
        if self.args.blobs and re.fullmatch("sha256:[0-9a-f]{64}", digest):
            try:
                with open(os.path.join(self.args.blobs, digest[7:]), "rb") as f:
                    return f.read()
            except FileNotFoundError:
                pass
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---- answers ----

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, message, headers=None):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.answer(status, body, {"Content-Type": "application/json", **(headers or {})})

    def cut(self, reset=True):
        """End the connection, with an RST."""
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    # ---- requests ----

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, OSError, ValueError):
            self.close_connection = True

    def do_any(self):
        port = self.server.server_address[1]
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if self.state.log:
            row = {"port": port, "peer": self.client_address[1], "method": self.command, "path": self.path,
                   "headers": {k.lower(): v for k, v in self.headers.items()},
                   "body_bytes": len(self.body)}
            with self.state.lock:
                self.state.log.write(json.dumps(row) + "\n")
                self.state.log.flush()
        url = urllib.parse.urlsplit(self.path)
        self.query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        if url.path.startswith("/token/"):
            return self.token(url.path[7:])
        if url.path == "/v2/":
            return self.answer(200, b"{}", {"Content-Type": "application/json"})
        match = re.fullmatch(r"/(v2|moved)/(.+)/(blobs|manifests)/(.+)", url.path)
        if not match:
            return self.error(404, "NOT_FOUND", "no such path")
        moved, repository, kind, rest = match.groups()
        first = repository.split("/")[0]
        mode = first if first in MODES else self.state.args.mode
        if moved == "moved":
            return self.moved(mode, repository, kind, rest)
        if mode in STATUS_MODES:
            status, headers, code, message = STATUS_MODES[mode]
            return self.error(status, code, message, headers)
        is_other = port == self.state.ports[1]
        if mode in AUTH_MODES and not is_other and not self.is_authorized(mode, repository):
            return self.challenge(mode, repository)
        if kind == "manifests":
            return self.manifest(mode, repository, rest)
        if rest.startswith("uploads/"):
            return self.upload(mode, repository, rest[8:])
        return self.get_blob(mode, repository, rest)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    # ---- who is there ----

    def is_authorized(self, mode, repository):
        value = self.headers.get("Authorization", "")
        if mode.startswith("basic"):
            return value == CREDENTIALS
        if mode in ("unauthorized", "challenge-bad", "bearer-refused") or not value.startswith("Bearer "):
            return False
        with self.state.lock:
            uses = self.state.tokens.get((value[7:], repository))
            if uses is None:
                return False
            self.state.tokens[(value[7:], repository)] = uses + 1
        return not mode.startswith("bearer-once") or uses < 1

    def challenge(self, mode, repository):
        actions = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        own, other = self.state.ports[:2]
        base = {
            "realm-elsewhere": f"http://localhost:{other}",
            "realm-port": f"http://127.0.0.1:{other}",
            "realm-bad": "gopher://127.0.0.1",
            "realm-anonymous": "https://auth.invalid.example",
        }.get(mode, f"http://127.0.0.1:{own}")
        value = (f'Bearer realm="{base}/token/{mode}",service="bad server",'
                 f'scope="repository:{repository}:{actions}"')
        if mode.startswith("basic"):
            value = 'Basic realm="here"'
        if mode == "bearer-once-403" and "Authorization" in self.headers:
            return self.error(403, "DENIED", "token expired")
        if mode == "challenge-bad":
            value = 'Bearer realm="never ends'
        self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": value})

    def token(self, mode):
        if mode == "bearer-auth" and self.headers.get("Authorization") != CREDENTIALS:
            return self.error(401, "UNAUTHORIZED", "who are you")
        if mode == "bearer-silence":
            return self.wait_for_hangup()
        if mode == "bearer-broken":
            return self.answer(200, b"this is not JSON")
        if mode == "bearer-flapping" and self.state.count(("token", mode)) == 0:
            return self.error(503, "UNAVAILABLE", "wait")
        token = f"t{self.state.count('token')}-" + "x" * 300
        for scope in self.query.get("scope", []):
            with self.state.lock:
                self.state.tokens[(token, scope.split(":")[1])] = 0
        if mode == "bearer-inject":
            token = "x\r\nX-Injected: yes"
        self.answer(200, json.dumps({"token": token, "expires_in": 300}).encode(),
                    {"Content-Type": "application/json"})

    # ---- manifests ----

    def manifest(self, mode, repository, version):
        if self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(self.body).hexdigest()
            entry = (self.headers.get("Content-Type", ""), self.body)
            with self.state.lock:
                self.state.manifests[(repository, version)] = entry
                self.state.manifests[(repository, digest)] = entry
            return self.answer(201, b"", {"Location": f"/v2/{repository}/manifests/{digest}",
                                          "Docker-Content-Digest": digest})
        if mode == "flapping" and self.state.count((mode, repository)) % 2 == 0:
            return self.error(503, "UNAVAILABLE", "flapping")
        entry = self.state.manifests.get((repository, version))
        if not entry:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, body = entry
        if mode == "wrong":
            body = body[:-1] + b" "
        if mode == "long":
            body += b" " * (5 * 1024 * 1024)
        return self.answer(200, body, {"Content-Type": media_type})

    # ---- blobs ----

    def moved(self, mode, repository, kind, rest):
        """Where redirects lead to."""
        if mode == "redirect-loop":
            return self.answer(302, b"", {"Location": self.path + "/x"})
        if mode == "redirect-refused":
            return self.error(403, "DENIED", "the signature does not fit")
        if mode == "redirect-3" and rest.count("+") < 2:
            return self.answer(302, b"", {"Location": self.path + "+"})
        return self.serve(self.state.blob(rest.rstrip("+")))

    def redirect(self, mode):
        own, other = self.state.ports[:2]
        path = self.path.replace("/v2/", "/moved/", 1)
        location = {
            "redirect-plain": f"http://127.0.0.1:{own}{path}",
            "basic-redirect": f"http://127.0.0.1:{other}{path}",
            "redirect-other": f"http://127.0.0.1:{other}{path}",
            "redirect-refused": f"http://127.0.0.1:{other}{path}",
            "redirect-inner": "http://169.254.169.254/latest/meta-data",
            "redirect-file": "file:///etc/passwd",
            "redirect-user": f"http://bob:secret@127.0.0.1:{own}{path}",
        }.get(mode, path)
        return self.answer(307, b"moved", {} if mode == "redirect-none" else {"Location": location})

    def get_blob(self, mode, repository, digest):
        body = self.state.blob(digest)
        if body is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.command == "HEAD":
            return self.answer(200, body, {"Docker-Content-Digest": digest})
        if mode in REDIRECT_MODES:
            return self.redirect(mode)
        if mode in BODY_MODES:
            return self.serve_badly(mode, body, self.state.count((mode, repository, digest)))
        return self.serve(body)

    def serve(self, body, total=None):
        """As it should be."""
        if body is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match:
            return self.answer(200, body)
        first = int(match[1])
        if first >= len(body):
            return self.error(416, "RANGE_INVALID", "no such part")
        return self.answer(206, body[first:],
                           {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"})

    def serve_part(self, body, n, reset=True):
        """Promise all, send n bytes, hang up."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:n])
        self.wfile.flush()
        time.sleep(0.05)  # an RST would overtake what is not read yet
        self.cut(reset)

    def serve_chunked(self, body):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")

    def serve_encoded(self, body, encoding):
        if encoding == "zstd":
            body = subprocess.run(["zstd", "-q", "-c"], input=body, stdout=subprocess.PIPE,
                                  check=True).stdout
        else:
            body = gzip.compress(body)
        self.answer(200, body, {"Content-Encoding": encoding, "Vary": "Accept-Encoding"})

    def serve_badly(self, mode, body, n_before):
        half = len(body) // 2
        accepted = self.headers.get("Accept-Encoding", "")
        if mode == "headers":
            for i in range(60):
                self.headers_buffer_add(i)
        if mode == "flapping" and n_before % 2 == 0:
            return self.error(503, "UNAVAILABLE", "flapping")
        if mode == "busy" and n_before == 0:
            return self.error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": "1"})
        if mode == "short":
            return self.answer(200, body[:half])
        if mode == "long":
            return self.answer(200, body + b"0123456789")
        if mode == "long-chunked":
            return self.serve_chunked(body + b"0123456789")
        if mode == "wrong":
            return self.answer(200, bytes(reversed(body)))
        if mode == "wrong-half":  # lies, and goes away before anybody can know
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if "Range" not in self.headers:
                self.wfile.write(bytes(reversed(body[half:])))
            return self.cut()
        if mode == "close-early" and n_before == 0:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[:half])
            return self.cut(False)
        if mode == "reset-always" or (mode.startswith("reset") and n_before == 0):
            if mode == "reset-gzip" and "gzip" in accepted:
                encoded = gzip.compress(body, 0)
                self.send_response(200)
                self.send_header("Content-Length", str(len(encoded)))
                self.send_header("Content-Encoding", "gzip")
                self.end_headers()
                self.wfile.write(encoded[: len(encoded) // 2])
                self.wfile.flush()
                time.sleep(0.05)
                return self.cut()
            return self.serve_part(body, half if n_before == 0 else 0)
        if mode == "reset-no-range":
            return self.answer(200, body)
        if mode == "reset-wrong-range":
            return self.answer(206, body[half:],
                               {"Content-Range": f"bytes {half + 1}-{len(body)}/{len(body) + 1}"})
        if mode == "silence":
            return self.wait_for_hangup()
        if mode == "drip":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for i in range(len(body)):
                self.wfile.write(body[i : i + 1])
                time.sleep(0.2)
            return None
        if mode == "late":  # but right
            time.sleep(2.7)
            return self.answer(200, body)
        if mode == "label":
            return self.answer(200, body, {"Content-Encoding": "gzip"})
        if mode == "bomb":
            return self.answer(200, gzip.compress(bytes(100_000_000)), {"Content-Encoding": "gzip"})
        if mode == "gzip-unasked":
            return self.serve_encoded(body, "gzip")
        if mode in ("gzip", "zstd") and mode in accepted and "Range" not in self.headers:
            return self.serve_encoded(body, mode)
        return self.serve(body)

    def headers_buffer_add(self, i):
        if i == 0:
            self.send_response(200)
        self.send_header(f"X-Filler-{i}", "f" * 2000)

    def wait_for_hangup(self):
        try:
            self.connection.settimeout(60)
            self.connection.recv(1)
        except OSError:
            pass
        self.close_connection = True

    # ---- uploads ----

    def store(self, digest):
        if digest != "sha256:" + hashlib.sha256(self.body).hexdigest():
            return self.error(400, "DIGEST_INVALID", "provided digest did not match")
        with self.state.lock:
            self.state.blobs[digest] = self.body
        return self.answer(201, b"", {"Location": f"/v2/stored/{digest}",
                                      "Docker-Content-Digest": digest})

    def upload(self, mode, repository, session):
        digest = self.query.get("digest", [None])[0]
        own, other = self.state.ports[:2]
        if self.command == "DELETE":
            with self.state.lock:
                known = self.state.sessions.pop(session, None)
            return self.answer(204 if known else 404)
        if self.command == "PUT":
            if mode == "upload-flapping" and self.state.count((mode, "PUT")) == 0:
                return self.error(503, "UNAVAILABLE", "flapping")
            if mode == "session-lost" and self.state.count((mode, repository)) == 0:
                return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
            with self.state.lock:
                known = self.state.sessions.pop(session, None)
            if not known:
                return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
            return self.store(digest)
        if self.command != "POST":
            return self.error(405, "UNSUPPORTED", "not here")
        mount = self.query.get("mount", [None])[0]
        if mount and self.state.blob(mount) is not None:
            return self.answer(201, b"", {"Location": f"/v2/{repository}/blobs/{mount}"})
        if digest and mode != "no-single-post":
            return self.store(digest)
        name = f"s{self.state.count('session')}"
        with self.state.lock:
            self.state.sessions[name] = repository
        location = f"/v2/{repository}/blobs/uploads/{name}?state=a%2Fb"
        if mode in ("upload-elsewhere", "basic-upload-elsewhere"):
            location = f"http://127.0.0.1:{other}{location}"
        if mode == "upload-absolute":
            location = f"http://127.0.0.1:{own}{location}"
        return self.answer(202, b"", {} if mode == "upload-nowhere" else {"Location": location})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--blobs")
    parser.add_argument("--log")
    parser.add_argument("--mode", default="ok", choices=sorted(MODES))
    parser.add_argument("--cert")
    args = parser.parse_args()
    Handler.state = State(args)
    servers = [Server(("127.0.0.1", 0), Handler) for _ in range(3 if args.cert else 2)]
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert)
        servers[2].socket = context.wrap_socket(servers[2].socket, server_side=True,
                                                do_handshake_on_connect=False)
    Handler.state.ports = [server.server_address[1] for server in servers]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(*Handler.state.ports, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
