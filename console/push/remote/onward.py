"""From server to server: what one receiver gets from another, and what it passes on.

The console speaks with every receiver itself; only the chunks' bytes go from server to server. For each hop the console
makes a key for this one use. Its public half stands in this account's ``authorized_keys`` from the frame ``F`` until the
hop's connection has come, with a command that does nothing but hand the connection to this process; its private half lies
in a folder of its own on the server before, from the frame ``N`` until the frame ``U``. Names, sizes, digests and places
come from the console alone: a hop can bring bytes, and each chunk of them counts only after it was hashed here.

Bytes are passed on from the file they were written to, block by block and as soon as they are there, whether or not the
chunk is whole yet; the server after hashes them for itself. A next server that is slow delays nobody but itself.

Frames of the console, each with a JSON object: ``T`` try to reach servers, ``F`` expect a feed, ``K`` let go of it, ``N``
connect to the next server, ``U`` it is connected (and whether to pack), ``X`` let go of it, ``A`` send it a chunk again, ``W`` wait with passing on, or go on, ``Q`` end.
"""

import array
import bisect
import collections
import errno
import fcntl
import json
import os
import select
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time

from console.push.remote import planes
from console.push.remote.disk import NOFOLLOW, remove_tree, sync_folder
from console.push.remote.wire import BLOCK, Failed, Wire

KINDS = (b"T", b"F", b"K", b"N", b"U", b"X", b"A", b"W", b"Q")
MARK = "sealift-relay-"
KEY_LIFE_S = 600
REACH_S = 3
QUIET_S = 30
AUTHORITY = "@cert-authority "
PEOPLE = os.path.join("~", ".ssh", "authorized_keys")

# Started by sshd in place of whatever the other server asks for: hands its standard input over and waits to be let go.
DOOR = """import array, os, socket
link = socket.socket(socket.AF_UNIX)
link.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "feed"))
link.sendmsg([b"F"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
os.close(0)
link.recv(1)
"""


def bases():
    """Folders in memory first; a key is not to lie on a disk."""
    for base in ("/run/user/%d" % os.getuid(), "/dev/shm", "/run", "/tmp"):
        if os.path.isdir(base) and os.access(base, os.W_OK | os.X_OK):
            yield base


def new_folder(name):
    """A folder that only we can read, whose lock we hold: (path, handle of the lock)."""
    base = next(bases())
    fresh, path = os.path.join(base, "." + MARK + name), os.path.join(base, MARK + name)
    for old in (fresh, path):
        remove_tree(old)
    os.mkdir(fresh, 0o700)
    lock = os.open(os.path.join(fresh, "lock"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(fresh, path)
    return path, lock


def held(path):
    """Whether the process that made a folder still lives."""
    try:
        lock = os.open(os.path.join(path, "lock"), os.O_RDWR | NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def sweep():
    """Take away what pushes that were ended without a word have left: keys, folders, and lines that let keys in. Gives how many
    folders and lines that was, and how many folders are of pushes that live."""
    alive, removed = set(), 0
    for base in bases():
        for name in os.listdir(base):
            path = os.path.join(base, name)
            if not name.lstrip(".").startswith(MARK) or os.lstat(path).st_uid != os.getuid():
                continue
            if held(path):
                alive.add(name)
            else:
                remove_tree(path)
                removed += 1
    try:
        removed += rewrite_people(lambda line: line.split()[-1] in alive)
    except OSError:
        pass  # this account has no such list, or may not change it: then nothing of ours is in it
    return {"removed": removed, "held": len(alive)}


def rewrite_people(keeps, added=""):
    """Change the account's list of keys whole or not at all; what else stands in it stays as it is, byte for byte. Gives how many
    lines went."""
    path = os.path.realpath(os.path.expanduser(PEOPLE))
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as source:
            old, state = source.read(), os.fstat(source.fileno())
        lines = old.splitlines(True)
        kept = [line for line in lines if MARK not in line or keeps(line)]
        new = "".join(kept)
        if added:
            new += ("" if not new or new.endswith("\n") else "\n") + added + "\n"
        if new == old:
            return 0
        beside = "%s.%s%d" % (path, MARK, os.getpid())
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as target:
                target.write(new)
                target.flush()
                os.fchmod(handle, state.st_mode & 0o7777)
                if (state.st_uid, state.st_gid) != (os.getuid(), os.getgid()):
                    os.fchown(handle, state.st_uid, state.st_gid)
                os.fsync(handle)
            os.rename(beside, path)
        except OSError:
            os.unlink(beside)
            raise
        sync_folder(os.path.dirname(path))
        return len(lines) - len(kept)
    finally:
        os.close(folder)


def reach(places):
    """For each (host, port) the milliseconds to connect and our address on that way; None where nothing answers in time."""
    found, waiting, began = [None] * len(places), {}, time.monotonic()
    for number, (host, port) in enumerate(places):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
            link = socket.socket(family, kind)
            link.setblocking(False)
            waiting[link] = (number, time.monotonic())
            link.connect_ex(address)
        except (OSError, UnicodeError):
            pass  # no such name: it does not answer
    while waiting and time.monotonic() - began < REACH_S:
        for link in select.select([], list(waiting), [], 0.1)[1]:
            number, since = waiting.pop(link)
            if link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found[number] = [round(1000 * (time.monotonic() - since), 3), link.getsockname()[0]]
            link.close()
    for link in waiting:
        link.close()
    return found


class Next:
    """The server after this one, and what it is still to get."""

    def __init__(self, process, folder, lock, complaints, lacks, pack):
        self.process, self.folder, self.lock, self.complaints = process, folder, lock, complaints
        self.lacks, self.pack, self.queue = lacks, pack, collections.deque()
        self.pipe = process.stdin.fileno()
        os.set_blocking(self.pipe, False)
        try:
            fcntl.fcntl(self.pipe, 1031, BLOCK)
        except OSError:
            pass
        self.left, self.now, self.at, self.handle, self.chosen = memoryview(b""), None, 0, -1, None

    def reason(self):
        """What ssh said last."""
        self.complaints.seek(0)
        lines = self.complaints.read(65536).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


class Onward:
    """Beside a leading receiver: its feed from the server before, and its link to the one after."""

    kinds = KINDS

    def __init__(self, receiver):
        self.receiver, self.wire, self.plan = receiver, receiver.wire, receiver.plan
        self.name = MARK + receiver.push
        self.feed = self.listener = self.guest = self.next = None
        self.folder, self.lock, self.holds, self.admitted = "", -1, False, False
        self.coming, self.written, self.held = None, 0, False
        self.wire.waiter = self.wait

    # Waiting ---------------------------------------------------------------------------------------------------------

    def turn(self, reads, timeout):
        """Wait for one of the handles; pass on what can go meanwhile. Gives those that can be read."""
        self.wire.flush()
        if self.listener is not None:
            reads = reads + [self.listener]
        writes = [self.next.pipe] if self.next is not None and self.wants() else []
        readable, writable, _ = select.select(reads, writes, [], timeout)
        if writable:
            self.pump()
        if self.next is not None and self.next.process.poll() is not None:
            self.lose_next()
        if self.listener is not None and self.listener in readable:
            self.accept()
        self.wire.live()
        return readable

    def ready(self):
        """The wire on which the next frame comes."""
        began = time.monotonic()
        while True:
            self.holds = False
            if self.wire.low < self.wire.high:
                return self.wire
            waiting = self.feed is not None and self.feed.low < self.feed.high
            reads = [self.wire.source] + ([self.feed.source] if self.feed is not None else [])
            readable = self.turn(reads, 0 if waiting else 1.0)
            if self.wire.source in readable:
                return self.wire
            if self.feed is not None and (waiting or self.feed.source in readable):
                return self.feed
            if time.monotonic() - began > self.wire.idle_s:
                raise Failed("link-lost")

    def wait(self, wire):
        """Wait in the middle of a frame until more of it has come; the console is heard meanwhile when it is the feed's."""
        began = time.monotonic()
        while True:
            hears = wire is not self.wire and not self.holds
            pending = hears and self.wire.low < self.wire.high
            readable = self.turn([wire.source] + ([self.wire.source] if hears else []), 0 if pending else 1.0)
            if pending or (hears and self.wire.source in readable):
                self.hear()
                if wire is not self.feed:
                    raise Failed("feed-lost")
                began = time.monotonic()
            if wire.source in readable:
                return
            if time.monotonic() - began > (QUIET_S if self.holds else self.wire.idle_s):
                raise Failed("feed-lost" if self.holds else "link-lost")

    def hear(self):
        """A frame of the console in the middle of a chunk of the feed; one that changes files waits until the chunk is in."""
        self.wire.fill(1)
        kind = bytes(self.wire.box[self.wire.low : self.wire.low + 1])
        if kind == b"P":
            self.wire.take(1)
        elif kind in KINDS and kind != b"Q":
            self.wire.take(1)
            self.told(kind)
        else:
            self.holds = True

    def told(self, kind):
        """One frame of the console; whether it was the last."""
        (size,) = struct.unpack(">I", self.wire.take(4))
        told = json.loads(self.wire.all(size).decode("utf-8"))
        if kind == b"T":
            self.wire.say(reach=reach(told["to"]), ssh=bool(shutil.which("ssh")))
        elif kind == b"F":
            self.expect(told)
        elif kind == b"K":
            self.drop_feed()
        elif kind == b"N":
            self.connect(told)
        elif kind == b"U" and self.next is not None:
            self.forget_key()
            self.next.pack = told["pack"]
        elif kind == b"X":
            self.drop_next()
        elif kind == b"W":
            self.held = told["on"]
        elif kind == b"A" and self.next is not None:
            self.next.lacks[told["chunk"]] = 1
            self.offer(told["chunk"])
        return kind == b"Q"

    # The feed --------------------------------------------------------------------------------------------------------

    def expect(self, told):
        """Let one connection in, with the key that the console gave the server before."""
        self.drop_feed()
        self.hop = told["hop"]
        try:
            self.folder, self.lock = new_folder(self.receiver.push)
            door = os.path.join(self.folder, "door.py")
            with open(door, "w") as file:
                file.write(DOOR)
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(os.path.join(self.folder, "feed"))
            self.listener.listen(1)
            until = time.strftime("%Y%m%d%H%M%S", time.localtime(time.time() + KEY_LIFE_S))
            command = "exec %s -S -E %s" % (shlex.quote(sys.executable), shlex.quote(door))
            options = 'restrict,from="%s",expiry-time="%s",command="%s"' % (told["from"], until, command)
            self.admitted = True
            rewrite_people(lambda line: self.name not in line, "%s %s %s" % (options, told["key"], self.name))
            self.wire.say(listening=told["hop"])
        except OSError as problem:
            self.drop_feed()
            reason = "authorized_keys: " + os.strerror(problem.errno or 0) if problem.errno == errno.ENOENT else str(problem)
            self.wire.say(feed="failed", reason=reason[:300], hop=told["hop"])

    def accept(self):
        """The server before has come: its key is let in no more."""
        self.guest = self.listener.accept()[0]
        self.guest.settimeout(5)
        handles = array.array("i")
        try:
            _, extra, _, _ = self.guest.recvmsg(1, socket.CMSG_SPACE(handles.itemsize))
        except OSError:
            extra = []
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                handles.frombytes(data[: handles.itemsize])
        if not handles:
            self.guest.close()
            return
        self.feed = Wire(handles[0], -1)
        self.feed.gone, self.feed.waiter = "feed-lost", self.wait
        self.close_door()
        self.wire.say(fed=self.hop)

    def close_door(self):
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        if self.admitted:
            self.admitted = False
            try:
                rewrite_people(lambda line: self.name not in line)
            except OSError:
                self.admitted = True  # the next push tries again
        if self.folder:
            remove_tree(self.folder)
            os.close(self.lock)
            self.folder, self.lock = "", -1

    def drop_feed(self):
        self.close_door()
        if self.feed is not None:
            os.close(self.feed.source)
            self.feed = None
        if self.guest is not None:
            self.guest.close()
            self.guest = None

    def frame(self):
        """One frame of the feed. What is wrong with it is the feed's end and not ours."""
        feed, reason = self.feed, ""
        try:
            kind = feed.take(1)
            if kind not in (b"C", b"Z"):
                raise Failed("bad-frame")
            self.receiver.chunk(feed, kind == b"Z", *struct.unpack(">III", feed.take(12)))
        except Failed as problem:
            reason = problem.answer["error"]
            if reason not in ("feed-lost", "bad-frame"):
                raise
        self.coming = None
        if reason and feed is self.feed:
            self.drop_feed()
            self.wire.say(feed="lost", reason=reason, hop=self.hop)

    # The next server -------------------------------------------------------------------------------------------------

    def connect(self, told):
        """Start ssh to the next server."""
        self.drop_next()
        folder, lock = new_folder(self.receiver.push + "-out")
        key, known = os.path.join(folder, "key"), os.path.join(folder, "known_hosts")
        handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(told["private"])
        # The mark of an authority stands before the names that it vouches for.
        with open(known, "w") as file:
            file.write("".join("%s* %s\n" % (AUTHORITY if line.startswith(AUTHORITY) else "", line.replace(AUTHORITY, "")) for line in told["host_keys"]))
        options = {
            "UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes",
            "IdentityFile": key, "IdentitiesOnly": "yes", "PreferredAuthentications": "publickey", "BatchMode": "yes", "CheckHostIP": "no",
            "Compression": "no", "ConnectTimeout": 10, "ServerAliveInterval": 5, "ServerAliveCountMax": 4, "ControlPath": "none",
            "Ciphers": "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr", "LogLevel": "ERROR",
        }  # fmt: skip
        words = ["ssh", "-F", "/dev/null", "-T", "-a", "-x", "-p", str(told["port"]), "-l", told["user"]]
        for name in sorted(options):
            words += ["-o", "%s=%s" % (name, options[name])]
        complaints = open(os.path.join(folder, "said"), "w+b")
        lacks = bytearray(len(self.plan.lengths))
        for low, high in told["lacks"]:
            lacks[low : high + 1] = b"\1" * (high + 1 - low)
        try:
            process = subprocess.Popen(words + [told["host"], "feed"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        except OSError as problem:
            remove_tree(folder)
            os.close(lock)
            self.wire.say(next="lost", reason=str(problem)[:300], hop=told["hop"])
            return
        self.next, self.next_hop = Next(process, folder, lock, complaints, lacks, told["pack"]), told["hop"]
        for every in range(len(lacks)):
            if lacks[every] and (self.receiver.have[every] or every == self.coming):
                self.offer(every)

    def forget_key(self):
        if self.next.folder:
            remove_tree(self.next.folder)
            os.close(self.next.lock)
            self.next.folder = ""

    def drop_next(self):
        if self.next is None:
            return
        after, self.next = self.next, None
        after.process.kill()
        after.process.wait()
        after.process.stdin.close()
        after.complaints.close()
        if after.folder:
            remove_tree(after.folder)
            os.close(after.lock)
        if after.handle >= 0:
            os.close(after.handle)

    def lose_next(self):
        after = self.next
        after.process.kill()
        after.process.wait()
        reason = after.reason()
        self.drop_next()
        self.wire.say(next="lost", reason=reason, hop=self.next_hop)

    def offer(self, every):
        """A chunk that is here or is arriving: queue it if the next server lacks it, once."""
        if self.next is not None and self.next.lacks[every]:
            self.next.lacks[every] = 0
            self.next.queue.append(every)

    def begin(self, every):
        """A chunk begins to arrive."""
        self.coming, self.written = every, 0
        self.offer(every)

    def wrote(self, count):
        """That many more bytes of it are in the file."""
        self.written += count
        if self.next is not None:
            self.pump()

    def there(self, every):
        """How many of a chunk's bytes can be read here."""
        if self.receiver.have[every]:
            return self.plan.lengths[every]
        return self.written if every == self.coming else 0

    def wants(self):
        """Whether something could go to the next server now."""
        after = self.next
        if self.held:
            return False
        if after.left:
            return True
        if after.now is not None:
            return self.enough(after.now, after.at)
        return any(self.enough(every, 0) for every in after.queue)

    def enough(self, every, at):
        """Whether a whole block can be taken at ``at``: packing works by blocks, so both sides must agree where they end."""
        return self.there(every) >= min(at + BLOCK, self.plan.lengths[every])

    def pump(self):
        """Pass on as much as the next server's pipe takes now."""
        try:
            while self.next is not None and not self.held and (self.next.left or self.load()):
                self.next.left = self.next.left[os.write(self.next.pipe, self.next.left) :]
        except BlockingIOError:
            pass
        except OSError:
            self.lose_next()

    def load(self):
        """The next block to pass on; whether there is one."""
        after = self.next
        if after.now is None and not self.take_up():
            return False
        every = after.now
        if not self.enough(every, after.at):
            return False
        length, head = self.plan.lengths[every], b""
        number = bisect.bisect_right(self.plan.first, every) - 1
        start = sum(self.plan.lengths[self.plan.first[number] : every])
        if after.at == 0:
            after.handle = self.open_file(number)
        block = os.pread(after.handle, min(BLOCK, length - after.at), start + after.at)
        # A file that lost bytes since: whatever goes in their stead is refused there, and the console asks for it again.
        block += bytes(min(BLOCK, length - after.at) - len(block))
        if after.at == 0:
            after.chosen = planes.which(block[: planes.SAMPLE_BYTES]) if after.pack else None
            head = (b"Z" if after.chosen else b"C") + struct.pack(">III", number, every - self.plan.first[number], length)
        after.at += len(block)
        after.left = memoryview(head + (planes.pack(block, after.chosen) if after.chosen else block))
        if after.at == length:
            os.close(after.handle)
            after.now, after.at, after.handle = None, 0, -1
        return True

    def take_up(self):
        after = self.next
        for _ in range(len(after.queue)):
            every = after.queue.popleft()
            if self.enough(every, 0):
                after.now = every
                return True
            if every == self.coming:
                after.queue.append(every)
            else:
                after.lacks[every] = 1  # it turned out wrong here; offered anew when it has come
        return False

    def open_file(self, number):
        for path in (self.receiver.part_path(number), self.receiver.place(number)):
            try:
                return os.open(path, os.O_RDONLY | NOFOLLOW)
            except OSError as problem:
                if problem.errno != errno.ENOENT:
                    raise
        raise Failed("io", path=self.receiver.place(number), reason="it is gone")

    def close(self):
        """Leave nothing behind."""
        for step in (self.drop_next, self.drop_feed):
            try:
                step()
            except OSError:
                pass  # swept by the next push, or when the console next connects
