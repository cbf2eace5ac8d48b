#!/usr/bin/env python3
"""Push, re-push, mount and delete against a registry whose garbage is collected all the time.

usage: gcload.py HOST SECONDS LEASE

A push that the registry refuses although its blobs' leases last is an error, and so is an
image that was acknowledged and cannot be pulled. Prints "errors N images N refused-late N",
then each image that must be there: REPOSITORY TAG.
"""
import hashlib, http.client, json, os, random, sys, threading, time

host, seconds, lease = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
end = time.monotonic() + seconds
lock = threading.Lock()
errors, images, late = [], {}, 0


def compressible(size):
    """What is packed behind the answer to its push."""
    line = os.urandom(16).hex() + "\n"
    return (line * (size // len(line) + 1)).encode()


shared = [os.urandom(3000 + 50000 * i) for i in range(3)]  # blobs that many images have
shared += [compressible(140000 + 50000 * i) for i in range(3)]


def digest_of(body):
    return "sha256:" + hashlib.sha256(body).hexdigest()


def error(text):
    with lock:
        errors.append(text)


class Client(threading.Thread):
    def __init__(self, number):
        super().__init__()
        self.number, self.random = number, random.Random(number)
        self.dropped, self.location = [], None
        self.connection = http.client.HTTPConnection(host, timeout=60)

    def ask(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.connection.getresponse()
        self.location = answer.getheader("Location")
        return answer.status, answer.read()

    def upload(self, repository, body):
        """Small ones by one request, large ones in pieces."""
        digest = digest_of(body)
        if len(body) <= 128 * 1024:
            return self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", body)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
        for piece in (body[:70000], body[70000:]):
            if answer[0] == 202:
                answer = self.ask("PATCH", self.location, piece, Content_Type="application/octet-stream")
        if answer[0] == 202:
            answer = self.ask("PUT", self.location + ("&" if "?" in self.location else "?") + "digest=" + digest, b"")
        return answer

    def have(self, repository, body, other):
        """Bring a blob there in one of the ways of real clients; when its lease began, and for how long."""
        digest = digest_of(body)
        way = self.random.random()
        if way < 0.5:
            begun = time.monotonic()
            if self.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
                return begun + lease / 2
        if way < 0.3:
            begun = time.monotonic()
            if self.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={other}")[0] == 201:
                return begun + lease
        begun = time.monotonic()
        status, text = self.upload(repository, body)
        if status != 201:
            error(f"push of a blob: {status} {text[:200]}")
        return begun + lease

    def layer(self):
        """Of one image alone: new, or one that was just deleted."""
        if self.dropped and self.random.random() < 0.5:
            return self.dropped.pop()
        return os.urandom(2000) if self.random.random() < 0.5 else compressible(150000)

    def put(self, repository, reference, document, until):
        """A manifest. Return: its digest, or None."""
        body = json.dumps(document).encode()
        status, text = self.ask("PUT", f"/v2/{repository}/manifests/{reference or digest_of(body)}", body,
                                Content_Type=document["mediaType"])
        if status == 201:
            return digest_of(body)
        if time.monotonic() < until:
            error(f"push of a manifest: {status} {text[:300]}")
        else:  # this machine stood still for longer than the lease
            global late
            late += 1
        return None

    def put_list(self, repository, reference, manifest):
        begun = time.monotonic()
        entry = {"mediaType": TYPE, "digest": manifest, "size": 1}
        return self.put(repository, reference, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]},
                        begun + lease / 2)

    def push(self):
        repository, other = self.random.sample(["gc/a", "gc/b", "gc/c"], 2)
        tag = f"t{self.number}-{self.random.randrange(8)}"
        own = self.layer()
        layers = [self.random.choice(shared) for _ in range(2)] + [own]
        config = json.dumps({"n": self.random.random()}).encode()
        until = min(self.have(repository, body, other) for body in layers + [config])
        image = {
            "schemaVersion": 2, "mediaType": TYPE,
            "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": "x/y", "digest": digest_of(b), "size": len(b)} for b in layers]}
        time.sleep(self.random.random() * min(1, lease / 4))
        nested = self.random.random() < 0.3
        top = digest = self.put(repository, None if nested else tag, image, until)
        manifests = [digest]
        if digest and nested:  # a list of a list, and something that refers to the image
            inner = self.put_list(repository, None, digest)
            top = inner and self.put_list(repository, tag, inner)
            refers = {**image, "layers": [], "subject": {"mediaType": TYPE, "digest": digest, "size": 1}}
            manifests += [inner, top, self.put(repository, None, refers, until)]
        if top and all(manifests):
            with lock:
                images[repository, tag] = (top, manifests, [digest_of(b) for b in layers + [config]], own)

    def delete(self):
        with lock:
            mine = [key for key in images if key[1].startswith(f"t{self.number}-")]
            if not mine:
                return
            key = self.random.choice(mine)
            top, manifests, _, own = images.pop(key)
        status, text = self.ask("DELETE", f"/v2/{key[0]}/manifests/{top}")
        if status not in (202, 404):
            error(f"delete: {status} {text[:200]}")
        if len(manifests) == 1:  # else the others still name it
            status, text = self.ask("DELETE", f"/v2/{key[0]}/blobs/{digest_of(own)}")
            if status not in (202, 404):
                error(f"delete of a blob: {status} {text[:200]}")
            self.dropped = self.dropped[-3:] + [own]

    def run(self):
        try:
            while time.monotonic() < end:
                if self.random.random() < 0.25:
                    self.delete()
                else:
                    self.push()
                if self.random.random() < 0.3:  # a blob that no manifest will ever name
                    body = os.urandom(5000)
                    self.ask("POST", f"/v2/gc/a/blobs/uploads/?digest={digest_of(body)}", body)
        except (OSError, http.client.HTTPException) as problem:
            error(f"client {self.number}: {problem!r}")


clients = [Client(number) for number in range(6)]
for client in clients:
    client.start()
for client in clients:
    client.join()
checker = Client(99)
for (repository, tag), (top, manifests, blobs, _) in images.items():
    status, body = checker.ask("GET", f"/v2/{repository}/manifests/{tag}")
    if status != 200 or digest_of(body) != top:
        error(f"{repository}:{tag}: {status}")
    for kind, digest in [("manifests", d) for d in manifests] + [("blobs", d) for d in blobs]:
        status, body = checker.ask("GET", f"/v2/{repository}/{kind}/{digest}")
        if status != 200 or digest_of(body) != digest:
            error(f"{repository}:{tag}: {kind} {digest}: {status}")
print("errors", len(errors), "images", len(images), "refused-late", late)
for text in errors[:10]:
    print(text, file=sys.stderr)
for repository, tag in images:
    print(repository, tag)
