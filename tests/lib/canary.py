#!/usr/bin/env python3
"""Listens where nobody may come: canary.py PORT ADDRESS... Prints "ready", and a line for each
connection: the address that it came to."""
import selectors
import socket
import sys

port, *addresses = sys.argv[1:]
left = selectors.DefaultSelector()
for address in addresses:
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, int(port)))
    s.listen(64)
    left.register(s, selectors.EVENT_READ, address)
print("ready", flush=True)
while True:
    for key, _ in left.select():
        key.fileobj.accept()[0].close()
        print(key.data, flush=True)
