# What a disk may hold when the power goes, at each moment of a server's life.
#
# strace's log of a server is read as a list of changes: bytes of files, entries of directories. A
# change is durable from the end of the first fsync, fdatasync (of its file or directory) or syncfs
# that began behind it; a write through O_DSYNC is from its own end. Nothing else is promised: at a
# crash each other change that had begun may be there, may not, or in part. In particular neither
# the order of changes counts, nor does an fsync of a file keep its name. The one thing taken for
# granted is that a rename is whole or not at all.
import codecs
import hashlib
import os
import posixpath
import re

NEVER = float("inf")
SECTOR = 512
TRACED = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,"
    "sync,link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,"
    "lseek,ftruncate,fallocate,sendto,sendmsg,sendfile,copy_file_range,newfstatat"
)
ATTACHED = "strace -f -q -yy -s 8000000 -e signal=none -e".split() + ["trace=" + TRACED]
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(.*)$", re.S)
STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\.\.\.)?', re.S)
FD = re.compile(r"(AT_FDCWD|-?\d+)<((?:[A-Z0-9]+:\[.*?\]|[^>])*)>")
NAME = re.compile(rf"(?:{FD.pattern}(?:\(deleted\))?, )?{STRING.pattern}".replace("(AT_FDCWD", "(?:AT_FDCWD"), re.S)
PROC_FD = re.compile(r"/proc/self/fd/(\d+)(?:/(.*))?$")


def unescape(text):
    return codecs.escape_decode(text.encode("latin-1"))[0]


class Node:
    """A file or directory, with or without a name: what it was at first, and its changes."""

    def __init__(self, is_dir, base, mtime=None):
        self.is_dir, self.base, self.mtime = is_dir, base, mtime
        self.changes = []
        self.names = dict(base) if is_dir else None  # as the server sees it
        self.hashes = {}


class Change:
    """Of a file: at, bytes (None: cut or made longer to at). Of a directory: {name: node or None}."""

    def __init__(self, began, done, what):
        self.began, self.done, self.what, self.durable = began, done, what, NEVER


class Model:
    """@forgotten(call, node): syncs that are left out, to see that it would be noticed."""

    def __init__(self, store, forgotten=lambda call, node: False):
        self.store, self.forgotten = store, forgotten
        self.root = self.load(store)
        self.fds, self.pending = {}, {}
        self.at = 0  # lines of the log
        self.answers = {}  # port of the client: [(line, status)]
        self.moments = set()  # lines at which something changes

    def load(self, path):
        if not os.path.isdir(path):
            with open(path, "rb") as f:
                return Node(False, f.read(), os.stat(path).st_mtime_ns)
        return Node(True, {name: self.load(f"{path}/{name}") for name in os.listdir(path)})

    # ---- reading the log ----

    def feed(self, log):
        with open(log, encoding="latin-1", newline="\n") as f:
            for line in f:
                pid, text = line.rstrip("\n").split(None, 1)
                self.at += 1
                if text.startswith("<... "):
                    if text.endswith(" = ?"):
                        continue  # its thread was killed amid it
                    name, began, first = self.pending.pop(pid)
                    self.end(began, first + text[text.index("resumed>") + 8 :])
                elif text.endswith(("<unfinished ...>", ") = ?")):
                    text = re.sub(r"(<unfinished ...>|\) += \?)$", "", text).rstrip()
                    self.pending[pid] = (text.split("(")[0], self.at, text)
                    self.begin(text)
                elif text[0] not in "+-":
                    self.begin(text)
                    self.end(self.at, text)

    def begin(self, text):
        """An answer counts as heard when it begins to be sent."""
        if text.startswith(("sendto(", "sendmsg(", "write(", "writev(")) and "<TCP" in text[:40]:
            heard = re.search(r'"HTTP/1.1 (\d+)', text[:400])
            if heard:
                port = int(re.match(r"\w+\(\d+<TCP\S*?->[^\]]*:(\d+)\]>", text).group(1))
                self.answers.setdefault(port, []).append((self.at, int(heard.group(1))))
                self.moments.add(self.at)

    def end(self, began, text):
        call = CALL.match(text)
        if not call:
            return
        name, args, result, rest = call.groups()
        handler = getattr(self, "do_" + self.SAME.get(name, name), None)
        if handler:
            handler(name, began, args, int(result), rest)

    SAME = {
        "openat": "open", "openat2": "open", "pwrite64": "write", "writev": "write",
        "pwritev": "write", "fsync": "sync", "fdatasync": "sync", "syncfs": "sync", "link": "link",
        "linkat": "link", "renameat": "rename", "renameat2": "rename", "unlinkat": "unlink",
        "mkdirat": "mkdir", "newfstatat": "stat", "ftruncate": "truncate",
    }

    def node_of_fd(self, args):
        fd = FD.match(args)
        if not fd or not (fd.group(2) + "/").startswith(self.store + "/"):
            return None  # the number may have been a file once
        return self.fds.get(int(fd.group(1)))

    def paths(self, args):
        """What the arguments name: paths, or nodes where it is by descriptor."""
        out = []
        for pair in NAME.finditer(args):
            directory, string = pair.group(1) or "", unescape(pair.group(2)).decode()
            proc = PROC_FD.match(string)
            if not proc:
                out.append(posixpath.normpath(posixpath.join(directory, string)))
                continue
            node, below = self.fds.get(int(proc.group(1))), proc.group(2)
            if node and below and node[0] is self.root:
                out.append(posixpath.join(self.store, below))
            else:
                out.append(node[0] if node and not below else None)
        return out

    def parent(self, path):
        """Return: the directory's node and the last name; None outside the store."""
        if not isinstance(path, str) or not (path + "/").startswith(self.store + "/"):
            return None
        node, parts = self.root, path[len(self.store) + 1 :].split("/")
        for part in parts[:-1]:
            node = node.names.get(part)
            if node is None or not node.is_dir:
                return None
        return node, parts[-1]

    def lookup(self, path):
        if isinstance(path, Node) or path == self.store:
            return path if isinstance(path, Node) else self.root
        where = self.parent(path)
        return where[0].names.get(where[1]) if where else None

    def change(self, node, began, what, durable=NEVER):
        change = Change(began, self.at, what)
        change.durable = durable
        node.changes.append(change)
        if node.is_dir:
            for name, target in what.items():
                if target is None:
                    node.names.pop(name, None)
                else:
                    node.names[name] = target
        self.moments.add(self.at)

    def see(self, path):
        """A name was seen that comes by a call of another thread whose end is not logged yet."""
        if self.lookup(path) or not self.parent(path):
            return
        for name, began, text in list(self.pending.values()):
            if self.SAME.get(name, name) in ("link", "rename", "mkdir") and path in self.paths(text)[-1:]:
                self.end(began, text + ") = 0")

    def do_open(self, name, began, args, result, rest):
        path = (self.paths(args) or [None])[0]
        if result < 0:
            if "EEXIST" in rest:
                self.see(path)
            return
        node, where = None, self.parent(path)
        if "O_TMPFILE" in args and self.lookup(path):
            node = Node(False, b"")
        elif path == self.store:
            node = self.root
        elif where:
            if "O_CREAT" not in args:
                self.see(path)
            node = self.lookup(path)
            if not node and "O_CREAT" in args:
                node = Node(False, b"")
                self.change(where[0], began, {where[1]: node})
            elif node and "O_TRUNC" in args:
                self.change(node, began, (0, None))
        # Its node, whether each write is synced, where the next one goes.
        self.fds[result] = [node, "O_DSYNC" in args or "O_SYNC" in args, 0] if node else None

    def do_lseek(self, name, began, args, result, rest):
        found = self.node_of_fd(args)
        if found and result >= 0:
            found[2] = result

    def do_write(self, name, began, args, result, rest):
        found = self.node_of_fd(args)
        if not found or result <= 0:
            return
        node, synchronous, where = found
        strings = list(STRING.finditer(args))
        if any(m.group(2) for m in strings):
            raise RuntimeError("the log does not have all bytes")
        data = b"".join(unescape(m.group(1)) for m in strings)[:result]
        tail = re.search(r", (\d+)$", args)
        if name in ("pwrite64", "pwritev"):
            at = int(tail.group(1))
        else:
            at = where
            found[2] += len(data)
        self.change(node, began, (at, data), self.at if synchronous else NEVER)

    def do_truncate(self, name, began, args, result, rest):
        found = self.node_of_fd(args)
        if found and not result:
            self.change(found[0], began, (int(re.search(r", (\d+)$", args).group(1)), None))

    def do_fallocate(self, name, began, args, result, rest):
        found = self.node_of_fd(args)
        if found and not result:
            self.change(found[0], began, (int(re.search(r", (\d+)$", args).group(1)), b""))

    def do_link(self, name, began, args, result, rest):
        old, new = (self.paths(args) + [None, None])[:2]
        where, node = self.parent(new), self.lookup(old)
        if result and "EEXIST" in rest:
            self.see(new)
        elif not result and where and where[0].names.get(where[1]) is not node:
            self.change(where[0], began, {where[1]: node})

    def do_rename(self, name, began, args, result, rest):
        old, new = (self.paths(args) + [None, None])[:2]
        source, where, node = self.parent(old), self.parent(new), self.lookup(old)
        if result or not where or node is None:
            return
        if source[0] is where[0]:
            self.change(where[0], began, {source[1]: None, where[1]: node})
        else:
            self.change(where[0], began, {where[1]: node})
            self.change(source[0], began, {source[1]: None})

    def do_unlink(self, name, began, args, result, rest):
        where = self.parent((self.paths(args) or [None])[0])
        if where and not result:
            self.change(where[0], began, {where[1]: None})

    do_rmdir = do_unlink

    def do_mkdir(self, name, began, args, result, rest):
        path = (self.paths(args) or [None])[0]
        where = self.parent(path)
        if where and not result and where[1] not in where[0].names:
            self.change(where[0], began, {where[1]: Node(True, {})})
        elif result:
            self.see(path)

    def do_stat(self, name, began, args, result, rest):
        if not result and 'AT_EMPTY_PATH' not in args:
            self.see((self.paths(args) or [None])[0])

    def do_sync(self, name, began, args, result, rest):
        found = self.node_of_fd(args)
        if not found or result or self.forgotten(name, found[0]):
            return
        for node in self.all_nodes() if name == "syncfs" else [found[0]]:
            for change in node.changes:
                if change.done < began:
                    change.durable = min(change.durable, self.at)
        self.moments.add(self.at)

    def all_nodes(self):
        nodes, todo = [], [self.root] + [found[0] for found in self.fds.values() if found]
        seen = set()
        while todo:
            node = todo.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            nodes.append(node)
            if node.is_dir:
                todo += [n for c in node.changes for n in c.what.values() if n] + list(node.base.values())
        return nodes

    def killed(self):
        """Of the calls amid which the server was killed, those count that show in its store."""
        for name, began, text in sorted(self.pending.values(), key=lambda call: call[1]):
            kind = self.SAME.get(name, name)
            path = None
            if kind in ("open", "link", "rename", "unlink", "mkdir"):
                path = self.paths(text)[0 if kind == "rename" else -1]
            if isinstance(path, str):
                if os.path.lexists(path) != bool(self.lookup(path)):
                    self.end(began, text + ") = 0")
            elif kind == "write" and self.node_of_fd(text.split("(", 1)[1]):
                self.end(began, f"{text}) = {1 << 40}")
                node = self.node_of_fd(text.split("(", 1)[1])[0]
                if not self.shows(FD.search(text).group(2), *node.changes[-1].what):
                    node.changes.pop()
        self.pending.clear()
        self.fds.clear()

    @staticmethod
    def shows(path, at, data):
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as f:
            f.seek(at)
            return f.read(len(data)) == data

    # ---- the disk after a crash ----

    @staticmethod
    def content(node, changes):
        data = bytearray(node.base)
        for change, keep in changes:
            at, part = change.what
            if part is None:
                del data[at:]
                part = b""
            elif keep is not None:
                part = part[:keep]
            if len(data) < at:
                data += bytes(at - len(data))
            data[at : at + len(part)] = part
        return bytes(data)

    def crash(self, moment, rng=None, survival=0.5):
        return Disk(self, moment, rng, survival)

    def differences(self):
        """Between the model and the store that the server left: what the log did not tell."""
        disk = self.crash(self.at, survival=1.0)
        have = {p: hashlib.sha256(d).digest() if d is not None else None for p, d in disk.walk()}
        real = {}
        for directory, names, files in os.walk(self.store):
            for name in names:
                real[os.path.relpath(os.path.join(directory, name), self.store)] = None
            for name in files:
                path = os.path.join(directory, name)
                if os.path.isfile(path):
                    with open(path, "rb") as f:
                        real[os.path.relpath(path, self.store)] = hashlib.sha256(f.read()).digest()
        mapped = {"index/lock.mdb"}  # written through memory
        return sorted(p for p in (have.keys() | real.keys()) - mapped
                      if have.get(p, "absent") != real.get(p, "absent"))


class Disk:
    """One of the states that a crash at @moment may leave."""

    def __init__(self, model, moment, rng, survival):
        self.model, self.moment, self.rng, self.survival = model, moment, rng, survival
        self.chosen, self.named = {}, {}  # by node

    def survivors(self, node):
        """[(change, bytes that are there; None: all)]"""
        kept = self.chosen.get(id(node))
        if kept is not None:
            return kept
        kept = []
        for change in node.changes:
            if change.durable <= self.moment:
                kept.append((change, None))
            elif change.began <= self.moment and self.is_lucky():
                kept.append((change, self.torn(node, change)))
        self.chosen[id(node)] = kept
        return kept

    def is_lucky(self):
        return self.survival >= 1.0 or (self.rng is not None and self.rng.random() < self.survival)

    def torn(self, node, change):
        if node.is_dir or not change.what[1] or not self.rng or self.rng.random() < 0.7:
            return None
        return self.rng.randrange(0, len(change.what[1]) + SECTOR, SECTOR)

    def entries(self, node):
        names = self.named.get(id(node))
        if names is None:
            names = dict(node.base)
            for change, _ in self.survivors(node):
                names.update(change.what)
            names = self.named[id(node)] = {n: target for n, target in names.items() if target}
        return names

    def find(self, path):
        node = self.model.root
        for part in path.split("/"):
            if node is None or not node.is_dir:
                return None
            node = self.entries(node).get(part)
        return node

    def data(self, path):
        """Return: the file's bytes; None: there is none."""
        node = self.find(path)
        return None if node is None or node.is_dir else self.bytes_of(node)

    def bytes_of(self, node):
        return self.model.content(node, self.survivors(node))

    def hash_of(self, node, algorithm="sha256"):
        key = (algorithm, tuple((change.began, keep) for change, keep in self.survivors(node)))
        if key not in node.hashes:
            node.hashes[key] = hashlib.new(algorithm, self.bytes_of(node)).hexdigest()
        return node.hashes[key]

    def files(self, node=None, prefix=""):
        """Each path with its node, directories first."""
        for name, target in self.entries(node or self.model.root).items():
            yield prefix + name, target
            if target.is_dir:
                yield from self.files(target, f"{prefix}{name}/")

    def walk(self):
        for path, node in self.files():
            yield path, None if node.is_dir else self.bytes_of(node)

    def write(self, directory):
        """The state as a real directory. What has two names keeps them."""
        made = {}
        os.mkdir(directory)
        for path, node in self.files():
            where = os.path.join(directory, path)
            if node.is_dir:
                os.mkdir(where)
            elif id(node) in made:
                os.link(made[id(node)], where)
            else:
                made[id(node)] = where
                with open(where, "wb") as f:
                    f.write(self.bytes_of(node))
                if node.mtime:  # fdatasync does not keep it
                    os.utime(where, ns=(node.mtime, node.mtime))
