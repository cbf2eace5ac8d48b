#!/usr/bin/env python3
"""Stands in for intinode-fetchd: answers "fetch" from a directory of blobs.

usage: fakefetchd.py SOCKET BLOBS CACHE MODE-FILE LOG

What it does with a fetch is the first line of MODE-FILE, read anew for each:
    ok              link BLOBS/<hex> into CACHE/sha256
    delay MS        the same, later
    error NAME      answer {"ok":false,"error":NAME}
    hang            never answer
    drop            close the connection
    garbage, half   answer what is not JSON; half a line, and nothing more
    lie             say it is there when it is not
    die             exit
LOG gets a line for each event: "fetch <hex>", "cancel <hex>".
"""
import json
import os
import select
import socket
import sys
import threading
import time

path, blobs, cache, mode_file, log_file = sys.argv[1:]
log_fd = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def log(*words):
    os.write(log_fd, (" ".join(words) + "\n").encode())


def publish(digest):
    try:
        os.link(os.path.join(blobs, digest), os.path.join(cache, "sha256", digest))
    except FileExistsError:
        pass


def gone(connection, seconds):
    """Waits; true when the other side has hung up meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([connection], [], [], left)[0]:
            return True
    return False


def fetch(connection, request):
    with open(mode_file) as f:
        mode, *words = f.readline().split()
    digest = request["digest"].removeprefix("sha256:")
    log("fetch", digest)
    if mode == "die":
        os._exit(1)
    if mode == "drop":
        return None
    if mode in ("hang", "half"):
        if mode == "half":
            connection.sendall(b'{"ok":')
        if gone(connection, 3600):
            log("cancel", digest)
        return None
    if mode == "garbage":
        return b"\xff}{\n"
    if mode == "error":
        return {"ok": False, "error": words[0], "problem": "as the test wants it"}
    if mode == "delay" and gone(connection, int(words[0]) / 1000):
        log("cancel", digest)
        return None
    if mode != "lie":
        publish(digest)
    return {"ok": True}


def serve(connection):
    for line in connection.makefile("rb"):
        request = json.loads(line)
        answer = {"ok": True}
        if request["op"] == "fetch":
            answer = fetch(connection, request)
        if answer is None:
            break
        if isinstance(answer, dict):
            answer = json.dumps(answer).encode() + b"\n"
        try:
            connection.sendall(answer)
        except BrokenPipeError:
            break
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def quietly(connection):
    try:
        serve(connection)
    except OSError:
        pass


if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(128)
while True:
    threading.Thread(target=quietly, args=(listener.accept()[0],), daemon=True).start()
