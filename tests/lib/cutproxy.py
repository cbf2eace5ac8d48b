#!/usr/bin/env python3
"""A TCP relay that cuts one connection in the middle: cutproxy.py PORT TARGET up|down BYTES.

It listens on 127.0.0.1:PORT and relays to TARGET (HOST:PORT). The first connection on which
BYTES bytes went in one direction (up: to TARGET) is reset on both sides; then it prints "cut".
Everything after that passes.
"""
import socket
import struct
import sys
import threading

port, target, direction, limit = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
host, target_port = target.rsplit(":", 1)
lock = threading.Lock()
has_cut = False


def reset(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
    except OSError:
        pass
    sock.close()


def relay(source, sink, counts, other_ended):
    global has_cut
    n = 0
    try:
        while data := source.recv(65536):
            n += len(data)
            with lock:
                cut_now = counts and n > limit and not has_cut
                has_cut = has_cut or cut_now
            if cut_now:
                reset(source)
                reset(sink)
                print("cut", flush=True)
                return
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        reset(source)
        reset(sink)
    if other_ended.is_set():
        source.close()
        sink.close()
    other_ended.set()


with socket.create_server(("127.0.0.1", port), backlog=64) as server:
    while True:
        client, _ = server.accept()
        try:
            upstream = socket.create_connection((host, int(target_port)))
        except OSError:
            reset(client)
            continue
        ended = threading.Event()
        for a, b, way in ((client, upstream, "up"), (upstream, client, "down")):
            threading.Thread(target=relay, args=(a, b, way == direction, ended), daemon=True).start()
