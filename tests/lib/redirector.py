#!/usr/bin/env python3
"""A registry that sends everybody elsewhere: redirector.py ADDRESS PORT URL. A GET of a blob is
answered with 307 and URL with the path behind it."""
import http.server
import sys

address, port, url = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(307 if "/blobs/" in self.path else 200)
        self.send_header("Location", url + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
