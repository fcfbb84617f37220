"""The server's side of a push: one file, standard library only, Python 3.6 and newer.

It is sent over the channel and run from memory; nothing is installed. It reads frames from standard input, checks each
chunk against the list that came with the plan, writes it at its place, and answers with one JSON object a line.

Folders below the store:
    objects/<hh>/<sha256>           finished files, read-only, each once
    objects/<hh>/<sha256>.chunks    which chunks a finished file consists of
    staging/<release>/              files on their way (.part) and the journal of chunks that are safely on disk
    releases/<release>/<path>       hard links into objects; a release appears whole or not at all

Killed at any moment it leaves finished objects, and parts whose journal tells what was flushed to disk.
"""

import errno
import fcntl
import hashlib
import json
import os
import struct
import sys
import zlib

BLOCK = 1 << 20
SYNC_BYTES = 64 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Failed(Exception):
    """Ends the push with a named error."""

    def __init__(self, kind, **told):
        Exception.__init__(self, kind)
        self.answer = dict(told, error=kind)


class Wire:
    """Frames in, lines out."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.buffer = memoryview(bytearray(BLOCK))

    def exactly(self, view):
        """Fill ``view`` from the channel."""
        at = 0
        while at < len(view):
            count = os.readv(self.source, [view[at:]])
            if not count:
                raise Failed("link-lost")
            at += count

    def take(self, count):
        data = bytearray(count)
        self.exactly(memoryview(data))
        return bytes(data)

    def say(self, **told):
        data = json.dumps(told).encode() + b"\n"
        while data:
            data = data[os.write(self.sink, data):]


class File:
    """One file of the plan and how far it is."""

    def __init__(self, number, size, sha256, executable, chunks):
        self.number, self.size, self.sha256, self.executable = number, size, sha256, executable
        self.chunks, self.offsets, at = chunks, [], 0
        for _, length in chunks:
            self.offsets.append(at)
            at += length
        self.have = set()
        self.handle = None
        self.unsynced, self.fresh = 0, []

    @property
    def done(self):
        return len(self.have) == len(self.chunks)


def safe(path):
    """Whether a relative path stays below its folder."""
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and "\0" not in path and not any(p in ("", ".", "..") for p in parts)


def hexdigits(text, count):
    return isinstance(text, str) and len(text) == count and all(c in "0123456789abcdef" for c in text)


def make_folders(base, path):
    """Make the folders of ``path`` below ``base``; no link is followed."""
    at = base
    for part in [p for p in path.split("/") if p]:
        at = os.path.join(at, part)
        try:
            os.mkdir(at, 0o755)
        except OSError as problem:
            if problem.errno != errno.EEXIST:
                raise
            if os.path.islink(at) or not os.path.isdir(at):
                raise Failed("unsafe-store", path=at)


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot flush a folder; the files themselves were flushed
    finally:
        os.close(handle)


def read_digest(handle, offset, length, buffer):
    """SHA-256 hex of a range as it reads back from the file."""
    digest = hashlib.sha256()
    while length:
        data = os.pread(handle, min(length, len(buffer)), offset)
        if not data:
            return ""
        digest.update(data)
        offset += len(data)
        length -= len(data)
    return digest.hexdigest()


class Receiver:
    """One push of one release into one store."""

    def __init__(self, wire, plan):
        self.wire, self.store, self.degree = wire, os.path.expanduser(plan["store"]), plan["degree"]
        self.release = plan["release"]
        if not hexdigits(self.release, 64) or self.degree not in ("received", "stored", "media"):
            raise Failed("bad-plan")
        self.files, self.links, by_digest = [], [], {}
        for path, size, sha256, executable, chunks in plan["files"]:
            if not safe(path) or not hexdigits(sha256, 64) or sum(n for _, n in chunks) != size:
                raise Failed("bad-plan", path=path)
            key = (sha256, bool(executable))
            if sha256 not in by_digest:
                by_digest[sha256] = File(len(self.files), size, sha256, executable, [tuple(c) for c in chunks])
                self.files.append(by_digest[sha256])
            by_digest[sha256].executable |= executable
            self.links.append((path, key[0]))
        self.by_digest = by_digest
        self.objects = os.path.join(self.store, "objects")
        self.staging = os.path.join(self.store, "staging", self.release)

    # Before the first byte -------------------------------------------------------------------------------------------

    def prepare(self):
        make_folders("/", os.path.abspath(self.store))
        for path in ("objects", "staging/" + self.release, "releases"):
            make_folders(self.store, path)
        self.lock = os.open(os.path.join(self.store, "lock"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed("store-busy")
        self.reused = self.resumed = 0
        self.how = "none"
        for item in self.files:
            if self.finished(item):
                item.have = set(range(len(item.chunks)))
                self.reused += item.size
            else:
                self.look_at_part(item)
        self.check_space()
        self.copy_known_chunks()

    def place(self, sha256):
        return os.path.join(self.objects, sha256[:2], sha256)

    def part(self, item):
        return os.path.join(self.staging, item.sha256 + ".part")

    def journal(self, item):
        return os.path.join(self.staging, item.sha256 + ".journal")

    def finished(self, item):
        """Whether the object is there whole. It is hashed when it is used, unless its note shows it untouched since it was."""
        path = self.place(item.sha256)
        try:
            handle = os.open(path, os.O_RDONLY | NOFOLLOW)
        except OSError:
            return False
        try:
            state = os.fstat(handle)
            if state.st_size != item.size:
                good = False
            elif note_of(path + ".chunks") == stamp(state):
                good = True
            else:
                good = all(read_digest(handle, at, n, self.wire.buffer) == d
                           for (d, n), at in zip(item.chunks, item.offsets))
                if good:
                    self.write_note(item, state)
        finally:
            os.close(handle)
        if not good:
            os.unlink(path)
        return good

    def look_at_part(self, item):
        """Take over what an earlier push left: by its journal while the file is untouched since, else by hashing."""
        try:
            handle = os.open(self.part(item), os.O_RDWR | NOFOLLOW)
        except OSError:
            return
        state = os.fstat(handle)
        noted, last = set(), None
        try:
            with open(self.journal(item)) as lines:
                for line in lines:
                    try:
                        entry = json.loads(line)
                        noted.update(int(n) for n in entry["chunks"])
                        last = entry["stat"]
                    except (ValueError, KeyError, TypeError):
                        break  # the line that was being written when the power went
        except OSError:
            pass
        trusted = last is not None and last == stamp(state)
        for number in range(len(item.chunks)) if not trusted else sorted(noted):
            if number >= len(item.chunks):
                continue
            digest, length = item.chunks[number]
            if item.offsets[number] + length > state.st_size:
                continue
            if trusted or read_digest(handle, item.offsets[number], length, self.wire.buffer) == digest:
                item.have.add(number)
                self.resumed += length
        if item.have:
            self.how = "journal" if trusted else "rehash"
        item.handle = handle

    def check_space(self):
        state = os.statvfs(self.store)
        free = state.f_bavail * state.f_frsize
        need = sum(length for item in self.files for n, (_, length) in enumerate(item.chunks) if n not in item.have)
        if need > free:
            raise Failed("disk-full", need=need, free=free)

    def copy_known_chunks(self):
        """Chunks that other finished files hold are copied here and hashed, instead of travelling again."""
        wanted = {}
        for item in self.files:
            for number, (digest, length) in enumerate(item.chunks):
                if number not in item.have and length >= 4096:
                    wanted.setdefault((digest, length), []).append((item, number))
        if not wanted:
            return
        for folder in sorted(os.listdir(self.objects)):
            inner = os.path.join(self.objects, folder)
            if not os.path.isdir(inner):
                continue
            for name in sorted(os.listdir(inner)):
                if name.endswith(".chunks"):
                    self.copy_from(os.path.join(inner, name[:-7]), wanted)

    def copy_from(self, path, wanted):
        at = 0
        for digest, length in chunks_of(path + ".chunks"):
            places = wanted.get((digest, length))
            if places:
                try:
                    source = os.open(path, os.O_RDONLY | NOFOLLOW)
                except OSError:
                    return
                try:
                    data = os.pread(source, length, at)
                finally:
                    os.close(source)
                if len(data) == length and hashlib.sha256(data).hexdigest() == digest:
                    for item, number in places:
                        self.open_part(item)
                        self.write_at(item, memoryview(data), item.offsets[number])
                        self.count(item, number)
                        self.reused += length
                    del wanted[(digest, length)]
            at += length

    # Receiving -------------------------------------------------------------------------------------------------------

    def open_part(self, item):
        if item.handle is None:
            item.handle = os.open(self.part(item), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)

    def write_at(self, item, view, offset):
        while len(view):
            count = os.pwrite(item.handle, view, offset)
            view, offset = view[count:], offset + count

    def chunk(self, number, index, length):
        """Receive one chunk; a wrong one is answered, not counted, and its place stays open."""
        if number >= len(self.files) or index >= len(self.files[number].chunks) or self.files[number].chunks[index][1] != length:
            raise Failed("bad-frame")
        item = self.files[number]
        digest, _ = item.chunks[index]
        self.open_part(item)
        start, left, at = item.offsets[index], length, 0
        flight = hashlib.sha256() if self.degree == "received" else None
        while left:
            view = self.wire.buffer[: min(left, BLOCK)]
            self.wire.exactly(view)
            if flight is not None:
                flight.update(view)
            self.write_at(item, view, start + at)
            at += len(view)
            left -= len(view)
        real = flight.hexdigest() if flight is not None else read_digest(item.handle, start, length, self.wire.buffer)
        if real != digest:
            self.wire.say(bad=[number, index])
            return
        self.count(item, index)
        self.wire.say(ok=[number, index])
        if item.done:
            self.finish(item)

    def count(self, item, index):
        item.have.add(index)
        item.fresh.append(index)
        item.unsynced += item.chunks[index][1]
        if item.unsynced >= SYNC_BYTES:
            self.flush(item)

    def flush(self, item):
        """Put what was written onto the disk, then into the journal; never the other way round."""
        if not item.fresh:
            return
        os.fsync(item.handle)
        line = json.dumps({"chunks": item.fresh, "stat": stamp(os.fstat(item.handle))}) + "\n"
        handle = os.open(self.journal(item), os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOFOLLOW, 0o600)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        item.fresh, item.unsynced = [], 0

    def finish(self, item):
        """A whole file becomes an object: flushed, read back past the cache if that was asked for, renamed."""
        self.open_part(item)
        os.ftruncate(item.handle, item.size)
        os.fsync(item.handle)
        if self.degree == "media":
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(item.handle, 0, 0, os.POSIX_FADV_DONTNEED)
            for index, (digest, length) in enumerate(item.chunks):
                if read_digest(item.handle, item.offsets[index], length, self.wire.buffer) != digest:
                    item.have.discard(index)
                    self.wire.say(bad=[item.number, index])
            if not item.done:
                return
        os.fchmod(item.handle, 0o555 if item.executable else 0o444)
        make_folders(self.objects, item.sha256[:2])
        place = self.place(item.sha256)
        os.rename(self.part(item), place)
        sync_folder(os.path.dirname(place))
        self.write_note(item, os.fstat(item.handle))
        os.close(item.handle)
        item.handle = None
        try:
            os.unlink(self.journal(item))
        except OSError:
            pass  # a small file is finished before it ever needed a journal

    def write_note(self, item, state):
        """Which chunks the object consists of, and its state when they were right."""
        path = self.place(item.sha256) + ".chunks"
        data = json.dumps({"stat": stamp(state), "chunks": item.chunks}).encode()
        handle = os.open(path + ".part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600)
        try:
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(path + ".part", path)

    # After the last byte ---------------------------------------------------------------------------------------------

    def link(self):
        """Make the release's folder beside its place and rename it there."""
        target = os.path.join(self.store, "releases", self.release)
        fresh = target + ".new"
        remove_tree(fresh)
        os.mkdir(fresh, 0o755)
        if os.path.isdir(target):
            # Another push brought other components of the same release; they stay.
            self.link_tree(target, fresh)
        for path, sha256 in self.links:
            folder = os.path.dirname(path)
            make_folders(fresh, folder)
            place = os.path.join(fresh, path)
            try:
                os.unlink(place)
            except OSError:
                pass  # the usual case: nothing is there yet
            os.link(self.place(sha256), place)
        for base, _, _ in os.walk(fresh):
            sync_folder(base)
        if os.path.isdir(target):
            old = target + ".old"
            remove_tree(old)
            os.rename(target, old)
            os.rename(fresh, target)
            remove_tree(old)
        else:
            os.rename(fresh, target)
        sync_folder(os.path.dirname(target))
        remove_tree(self.staging)

    def link_tree(self, source, target):
        for base, folders, files in os.walk(source):
            inside = os.path.relpath(base, source)
            for name in folders:
                make_folders(target, os.path.normpath(os.path.join(inside, name)))
            for name in files:
                os.link(os.path.join(base, name), os.path.join(target, inside, name))

    def linked(self):
        """Whether the release's folder already holds exactly these objects."""
        target = os.path.join(self.store, "releases", self.release)
        try:
            return all(os.path.samestat(os.lstat(os.path.join(target, p)), os.lstat(self.place(d))) for p, d in self.links)
        except OSError:
            return False

    def run(self):
        self.prepare()
        for item in self.files:
            if item.done and (item.handle is not None or not os.path.exists(self.place(item.sha256))):
                self.finish(item)
        self.wire.say(have=[[i.number, ranges(i.have)] for i in self.files if i.have], reused=self.reused, resumed=self.resumed,
                      how=self.how)
        while True:
            kind = self.wire.take(1)
            if kind == b"C":
                self.chunk(*struct.unpack(">III", self.wire.take(12)))
            elif kind == b"S":
                for item in self.files:
                    self.flush(item)
                self.wire.say(synced=True)
            elif kind == b"E":
                break
            else:
                raise Failed("bad-frame")
        left = [i.number for i in self.files if not i.done]
        if left:
            self.wire.say(incomplete=left)
            return
        if not self.linked():
            self.link()
        else:
            remove_tree(self.staging)
        self.wire.say(done=True, degree=self.degree)

    def settle(self):
        """Save what can be saved of an interrupted push."""
        for item in self.files:
            if item.handle is not None:
                try:
                    self.flush(item)
                except OSError:
                    pass  # the disk is full or gone; what the journal says is still true


def stamp(state):
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def note_of(path):
    try:
        with open(path) as source:
            return json.load(source)["stat"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chunks_of(path):
    try:
        with open(path) as source:
            return [(str(d), int(n)) for d, n in json.load(source)["chunks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def ranges(numbers):
    """``[[first, last], …]`` of a set of numbers."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def remove_tree(path):
    """Remove a folder below the store; links in it are removed, not followed."""
    if os.path.islink(path):
        os.unlink(path)
    if not os.path.isdir(path):
        return
    for base, folders, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(base, name))
        for name in folders:
            inner = os.path.join(base, name)
            (os.unlink if os.path.islink(inner) else os.rmdir)(inner)
    os.rmdir(path)


def main():
    wire = Wire(0, 1)
    receiver = None
    try:
        size, = struct.unpack(">I", wire.take(4))
        plan = json.loads(zlib.decompress(wire.take(size)).decode("utf-8"))
        receiver = Receiver(wire, plan)
        receiver.run()
        return 0
    except Failed as problem:
        answer = problem.answer
    except OSError as problem:
        kind = "disk-full" if problem.errno in FULL else "no-rights" if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "io"
        answer = {"error": kind, "reason": os.strerror(problem.errno or 0), "path": str(problem.filename or "")}
        if kind == "disk-full" and receiver is not None:
            state = os.statvfs(receiver.store)
            answer.update(free=state.f_bavail * state.f_frsize)
    except (ValueError, KeyError, TypeError, struct.error, zlib.error):
        answer = {"error": "bad-plan"}
    if receiver is not None:
        receiver.settle()
    if answer["error"] != "link-lost":
        try:
            wire.say(**answer)
        except OSError:
            pass  # nobody listens any more
    return 1


if __name__ == "__main__":
    sys.exit(main())
