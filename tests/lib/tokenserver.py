#!/usr/bin/env python3
"""A token service for tests: hands out what it is asked for to who has the right password.

usage: tokenserver.py PORT KEY.pem SERVICE ISSUER USER:PASSWORD...

Who sends no password gets a token that allows nothing. Each request is a line on standard output.
"""
import base64, http.server, json, os, subprocess, sys, time, urllib.parse

port, key, service, issuer, *users = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        sent = self.headers.get("Authorization", "")
        user = base64.b64decode(sent[6:]).decode() if sent.startswith("Basic ") else None
        print(user and user.split(":")[0], query.get("service"), query.get("scope"), flush=True)
        if user is not None and user not in users:
            self.send_error(401)
            return
        access = []
        for scope in query.get("scope", []) if user else []:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {"iss": issuer, "aud": service, "sub": "x", "exp": int(time.time()) + 60, "access": access}
        token = subprocess.run([os.path.join(os.path.dirname(__file__), "maketoken"), key, "RS256", json.dumps(claims)],
                               stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        body = json.dumps({"token": token, "expires_in": 60}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
