#!/usr/bin/env python3
"""Requests whose end two readers could see in different places, each with another one behind it.

smuggling.py HOST:PORT [front] - a line for each: "ok" or "not ok", its name, what came back.
front: there is a proxy in between, which may refuse what the server would take; whether something
got past it is in the server's log.
"""
import re
import socket
import sys

HIDDEN = "GET /v2/smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
POST = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"
GET = "GET /v2/ HTTP/1.1\r\nHost: h\r\n"
LENGTH = f"Content-Length: {len(HIDDEN)}\r\n\r\n"
REFUSED = "(400 ?){1,2}"  # libmicrohttpd 0.9.75 sends the head of its own refusals twice, and closes

CASES = [
    # name, bytes, what the server answers: a regular expression over its statuses
    ("a fold in a harmless header", GET + "X: a\r\n b\r\nConnection: close\r\n\r\n", REFUSED),
    ("a fold that hides a coding", POST + "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a name in two halves", POST + "Transfer-: chunked\r\n Encoding\r\n\r\n" + HIDDEN, REFUSED),
    ("a coding behind a fold", POST + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a length behind a fold", POST + "Content-Length:\r\n 5\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a fold before the first header", "GET /v2/ HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n" + HIDDEN, REFUSED),
    ("LF alone at each end", "GET /v2/ HTTP/1.1\nHost: h\nConnection: close\n\n", "200|400"),
    ("LF alone before a length", POST + "Connection: close\n" + LENGTH + HIDDEN, "202|400"),
    ("LF alone before a coding, and a length", POST + "X: y\nTransfer-Encoding: chunked\r\n" + LENGTH + HIDDEN, REFUSED),
    ("CR alone before a length", POST + "X: y\r" + LENGTH + HIDDEN, REFUSED),
    ("CR alone before a coding", POST + "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a control character", POST + "X: y\x01z\r\nContent-Length: 0\r\n\r\n" + HIDDEN, REFUSED),
    ("NUL in a coding", POST + "Transfer-Encoding: chunked\0x\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("NUL in a name", POST + "Content-Length\0: 5\r\n\r\n" + HIDDEN, REFUSED),
    # The library ends a value at its NUL, unseen; what proxies let through is none.
    ("NUL in a length", POST + "Content-Length: 0\0 9\r\n\r\n" + HIDDEN, "400|202 404"),
    ("a length of nothing", POST + "Content-Length:\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a coding of nothing", POST + "Transfer-Encoding:\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED),
    ("a length without a colon", POST + "Content-Length 38\r\n\r\n" + HIDDEN, REFUSED),
    ("a space before the colon", POST + "Content-Length : 38\r\n\r\n" + HIDDEN, REFUSED),
    ("an extension of a chunk", CHUNKED + "1;a=b\r\nx\r\n0\r\n\r\n" + HIDDEN, "202 404"),
    # RFC 9112, 2.2 lets a reader take LF for an end; it must be the same one for the proxy.
    ("LF alone behind an extension", CHUNKED + "1;a\nx\r\n0\r\n\r\n" + HIDDEN, "400|202 404"),
    ("LF alone between chunks", CHUNKED + "1\nx\n0\n\n" + HIDDEN, "400|202 404"),
    ("zeros before a size", CHUNKED + "0" * 30 + "1\r\nx\r\n0\r\n\r\n" + HIDDEN, "400|202 404"),
    ("a length in a trailer", CHUNKED + "1\r\nx\r\n0\r\nContent-Length: 50\r\n\r\n" + HIDDEN, "202 404"),
    ("a coding in a trailer", CHUNKED + "1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN, "202 404"),
    ("a body of a GET", GET + LENGTH + HIDDEN + HIDDEN, "200 404"),
    ("a coding in HTTP/1.0", CHUNKED.replace("1.1", "1.0") + "0\r\n\r\n" + HIDDEN, REFUSED),
    ("a coding in HTTP/1.0 that stays", CHUNKED.replace("1.1\r\n", "1.0\r\nConnection: keep-alive\r\n") + "0\r\n\r\n" + HIDDEN, REFUSED),
    ("another version", GET.replace("1.1", "2.0") + "\r\n" + HIDDEN, "505|400"),
]
for size in "0x1", "+1", "-1", " 1", "1 ", "", "g", "1,1":
    CASES.append((f"a chunk of size '{size}'", CHUNKED + size + "\r\nx\r\n0\r\n\r\n" + HIDDEN, REFUSED))
for size in "f" * 18, "10000000000000001":
    CASES.append((f"a chunk of size {size}", CHUNKED + size + "\r\nx\r\n0\r\n\r\n" + HIDDEN, "400|413"))
CASES.append(("a chunk longer than it says", CHUNKED + "1\r\nxy\r\n0\r\n\r\n" + HIDDEN, REFUSED))
for head in ("Content-Length: +5", "Content-Length: 5, 5", "Content-Length: 0x5", "Content-Length: 5 5", "Content-Length: -1",
             "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 0\r\nContent-Length: 40", "Transfer-Encoding: xchunked",
             "Transfer-Encoding: chunked, identity", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
             "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 5\r\nTransfer-Encoding: chunked",
             "Transfer-Encoding : chunked\r\nContent-Length: 5", "Transfer-Encoding:\x0bchunked\r\nContent-Length: 5"):
    CASES.append((repr(head), POST + head + "\r\n\r\n0\r\n\r\n" + HIDDEN, REFUSED))
CASES.append(("a length past all numbers", POST + "Content-Length: 99999999999999999999\r\n\r\n" + HIDDEN, "(4[01][03] ?){1,2}"))
# Of two, a proxy that checks who asks, or what, could have looked at the other one.
for name, value in (("Host", "h"), ("Authorization", "Basic Og=="), ("Content-Encoding", "identity"), ("Content-Range", "0-0"),
                    ("Content-Type", "a/b"), ("Range", "bytes=0-0"), ("Expect", "100-continue"), ("If-Match", '"a"'),
                    ("If-None-Match", '"a"'), ("If-Range", '"a"')):
    CASES.append((f"{name} twice", GET + f"{name}: {value}\r\n{name.lower()}: {value}\r\n\r\n" + HIDDEN, REFUSED))


def ask(host, port, text):
    answer, end = b"", ""
    with socket.create_connection((host, int(port)), 15) as s:
        try:
            s.sendall(text.encode("latin-1"))
            while part := s.recv(65536):
                answer += part
        except TimeoutError:
            end = "hung"
        except OSError:
            end = "" if answer else "reset"
    return " ".join(re.findall(r"HTTP/1\.[01] (\d+)", answer.decode("latin-1")) + [end]).strip()


host, port = sys.argv[1].split(":")
for name, text, wanted in CASES:
    got = ask(host, port, text)
    if len(sys.argv) > 2:
        fits = re.fullmatch(r"[2-5]\d\d( \d\d\d)?", got)
    else:
        fits = re.fullmatch(wanted, got)
    print("ok" if fits else "not ok", name, got, sep="\t")
