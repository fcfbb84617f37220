"""The server's side of a push: one file, standard library only, Python 3.6 and newer.

It is sent over the channel and run from memory; nothing is installed. It reads a plan and then frames from standard
input, checks each chunk against the plan's digests, writes it at its place, and answers with one JSON object a line.

Folders below the store:
    objects/<hh>/<sha256>           finished files, read-only, each once
    objects/<hh>/<sha256>.chunks    which chunks a finished file consists of, and its state when they were right; a small
                                    file has none, for hashing it costs less than keeping one
    staging/<release>/              files on their way (.part) and, for each, the journal of chunks that are safely on disk
    releases/<release>/<path>       hard links into objects

Killed at any moment it leaves finished objects, and parts whose journal tells what was flushed to disk. A journal or a
note is believed only while the file's device, inode, size and times are what they were; otherwise the file is hashed.

One push may use several connections: a receiver with the role ``lead`` holds the store's lock, looks at what is there,
finishes files and links the release; those with the role ``lane`` only write chunks. The lead learns from the journals,
not from the console, what the lanes have put on disk.

Frames: ``C`` file index length bytes, ``S`` flush, ``P`` nothing (sign of life), ``L`` lanes are to come, ``E`` end.
"""

import array
import errno
import fcntl
import hashlib
import json
import mmap
import os
import select
import signal
import struct
import sys
import time
import zlib

BLOCK = 1 << 20
SYNC_BYTES = 64 << 20
OPEN_FILES = 128
DEDUPE_BYTES = 32 << 10
NOTE_BYTES = 256 << 10
TELL_BYTES = 256 << 20
ALIVE_S = 10
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
DIRECT = getattr(os, "O_DIRECT", 0)
RANK = {"received": 0, "stored": 1, "media": 2}
LINK_IMPOSSIBLE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP)


class Failed(Exception):
    """Ends the push with a named error."""

    def __init__(self, kind, **told):
        Exception.__init__(self, kind)
        self.answer = dict(told, error=kind)


class Wire:
    """Frames in, lines out. Answers wait until the next read would block, so that many small files cost few writes."""

    def __init__(self, source, sink):
        self.source, self.sink, self.idle_s = source, sink, 60
        # Page-aligned, as reading past the cache wants it.
        self.box, self.scratch = memoryview(mmap.mmap(-1, BLOCK)), memoryview(mmap.mmap(-1, BLOCK))
        self.low = self.high = 0
        self.lines, self.lines_bytes, self.said_at = [], 0, time.time()
        for handle in (source, sink):
            try:
                fcntl.fcntl(handle, 1031, BLOCK)  # F_SETPIPE_SZ of Linux: fewer turns when it is a pipe
            except OSError:
                pass

    def fill(self, wanted):
        """Have at least ``wanted`` bytes in the box, which must be empty or be small enough to move."""
        if self.low == self.high:
            self.low = self.high = 0
        elif self.low + wanted > BLOCK:
            rest = bytes(self.box[self.low : self.high])
            self.box[: len(rest)] = rest
            self.low, self.high = 0, len(rest)
        while self.high - self.low < wanted:
            if self.lines:
                self.flush()
            ready = select.select([self.source], [], [], self.idle_s)[0]
            count = os.readv(self.source, [self.box[self.high :]]) if ready else 0
            if not count:
                raise Failed("link-lost")
            self.high += count
            if time.time() - self.said_at > ALIVE_S:
                self.say(alive=True)

    def take(self, count):
        """``count`` bytes, few of them."""
        self.fill(count)
        data = bytes(self.box[self.low : self.low + count])
        self.low += count
        return data

    def views(self, count):
        """``count`` bytes in pieces; each must be done with before the next is asked for."""
        while count:
            if self.low == self.high:
                self.fill(min(count, BLOCK))
            view = self.box[self.low : min(self.high, self.low + count)]
            self.low += len(view)
            count -= len(view)
            yield view

    def all(self, count):
        return b"".join(bytes(view) for view in self.views(count))

    def say(self, **told):
        self.said_at = time.time()
        self.lines.append(json.dumps(told).encode() + b"\n")
        self.lines_bytes += len(self.lines[-1])
        if self.lines_bytes > 16 << 10:
            self.flush()

    def flush(self):
        data = b"".join(self.lines)
        self.lines, self.lines_bytes = [], 0
        while data:
            data = data[os.write(self.sink, data) :]


class Plan:
    """What the console said: the files with their chunks, and the paths that lead to them. Kept as arrays
    and views of what came, so that 100,000 files cost few megabytes. Digests are given as bytes."""

    def __init__(self, raw):
        raw = memoryview(raw)
        (size,) = struct.unpack_from(">I", raw)
        self.head = json.loads(bytes(raw[4 : 4 + size]).decode("utf-8"))
        self.raw, self.at = raw, 4 + size
        files, chunks, links = struct.unpack(">III", self.bytes(12))
        self.sizes, counts, self.modes = self.array("Q", files), self.array("I", files), self.bytes(files)
        self.shas = self.bytes(32 * files)
        self.lengths, self.digests = self.array("I", chunks), self.bytes(32 * chunks)
        self.link_files, self.path_sizes = self.array("I", links), self.array("H", links)
        self.paths, self.raw = self.bytes(len(raw) - self.at), None
        self.first = array.array("I", [0])
        for count in counts:
            self.first.append(self.first[-1] + count)
        self.check()

    def bytes(self, count):
        if self.at + count > len(self.raw):
            raise Failed("bad-plan")
        self.at += count
        return self.raw[self.at - count : self.at]

    def array(self, kind, count):
        values = array.array(kind)
        values.frombytes(self.bytes(count * values.itemsize))
        if sys.byteorder == "little":
            values.byteswap()
        return values

    def check(self):
        good = self.first[-1] == len(self.lengths) and sum(self.path_sizes) == len(self.paths)
        for number in range(len(self.sizes)):
            good = good and sum(self.lengths[self.first[number] : self.first[number + 1]]) == self.sizes[number]
        head = self.head
        good = (
            good
            and hexdigits(head["release"], 64)
            and head["degree"] in RANK
            and head["role"] in ("lead", "lane")
            and hexdigits(head["push"], 32)
            and isinstance(head["store"], str)
            and "\0" not in head["store"]
        )
        if not good or any(not safe(path) or number >= len(self.sizes) for path, number in self.links()):
            raise Failed("bad-plan")

    def links(self):
        """(path, file number) of every path of the release."""
        at = 0
        for number, size in zip(self.link_files, self.path_sizes):
            yield bytes(self.paths[at : at + size]).decode("utf-8"), number
            at += size

    def sha(self, number):
        return bytes(self.shas[32 * number : 32 * number + 32]).hex()

    def chunks(self, number):
        """(number over all files, index in this one, digest, offset, length) of each chunk of a file."""
        at = 0
        for index, every in enumerate(range(self.first[number], self.first[number + 1])):
            yield every, index, bytes(self.digests[32 * every : 32 * every + 32]), at, self.lengths[every]
            at += self.lengths[every]


class Part:
    """A file that is being written."""

    def __init__(self, handle):
        self.handle, self.unsynced, self.fresh = handle, 0, []


def safe(path):
    """Whether a relative path stays below its folder."""
    return "\0" not in path and not any(p in ("", ".", "..") for p in path.split("/"))


def hexdigits(text, count):
    return isinstance(text, str) and len(text) == count and all(c in "0123456789abcdef" for c in text)


def make_folders(base, path):
    """Make the folders of ``path`` below ``base``; no link is followed."""
    at = base
    for name in [p for p in path.split("/") if p]:
        at = os.path.join(at, name)
        try:
            os.mkdir(at, 0o755)
        except OSError as problem:
            if problem.errno != errno.EEXIST:
                raise
            if os.path.islink(at) or not os.path.isdir(at):
                raise Failed("unsafe-store", path=at) from None


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot flush a folder; the files themselves were flushed
    finally:
        os.close(handle)


def sync_file_system(handle):
    """Start and await everything that is unwritten, at once; flushing many files one by one is then quick."""
    try:
        import ctypes

        ctypes.CDLL(None).syncfs(handle)
    except (ImportError, OSError, AttributeError):
        pass  # only the quick way is missing; each file is flushed by itself afterwards


def read_digest(handle, offset, length, buffer):
    """SHA-256 of a range as it reads back from the file; empty when the file ends before it does."""
    digest = hashlib.sha256()
    os.lseek(handle, offset, os.SEEK_SET)
    while length:
        count = os.readv(handle, [buffer[: min(length, BLOCK)]])
        if not count:
            return b""
        digest.update(buffer[:count])
        length -= count
    return digest.digest()


def medium_digests(path, lengths, buffer):
    """SHA-256 of each of the consecutive ranges, read from the medium and not from the cache."""
    handle, direct = os.open(path, os.O_RDONLY | NOFOLLOW), None
    try:
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            direct = os.open(path, os.O_RDONLY | NOFOLLOW | DIRECT)
            os.readv(direct, [buffer])
            os.lseek(direct, 0, os.SEEK_SET)
        except OSError:
            if direct is not None:
                os.close(direct)
            direct = None  # a file system without direct reading; the cache was dropped above
        source, low, high = handle if direct is None else direct, 0, 0
        for length in lengths:
            digest = hashlib.sha256()
            while length:
                if low == high:
                    low, high = 0, os.readv(source, [buffer])
                    if not high:
                        break
                count = min(length, high - low)
                digest.update(buffer[low : low + count])
                low += count
                length -= count
            yield digest.digest() if not length else b""
    finally:
        os.close(handle)
        if direct is not None:
            os.close(direct)


def copy_range(source, source_at, target, target_at, length, buffer):
    """Copy on the server, sharing blocks where the file system can."""
    quick = getattr(os, "copy_file_range", None)
    while length:
        count = 0
        if quick is not None:
            try:
                count = quick(source, target, length, source_at, target_at)
            except OSError as problem:
                if problem.errno in FULL:
                    raise
                quick = None
        if not count:
            os.lseek(source, source_at, os.SEEK_SET)
            count = os.readv(source, [buffer[: min(length, BLOCK)]])
            if not count:
                return
            write_at(target, buffer[:count], target_at)
        source_at, target_at, length = source_at + count, target_at + count, length - count


def write_at(handle, view, offset):
    while len(view):
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


class Receiver:
    """One connection of the push of one release into one store."""

    def __init__(self, wire, plan):
        self.wire, self.plan, head = wire, plan, plan.head
        self.release, self.degree, self.push = head["release"], head["degree"], head["push"]
        # Where the store itself lies is the site's choice, links on the way to it included.
        self.store = os.path.realpath(os.path.expanduser(head["store"]))
        wire.idle_s = head["idle_s"]
        self.objects = os.path.join(self.store, "objects")
        self.staging = os.path.join(self.store, "staging", self.release)
        self.have = bytearray(len(plan.lengths))
        self.missing = {}
        self.parts, self.ready, self.ready_bytes = {}, [], 0
        self.replaced = set()
        self.looked = self.told = 0
        self.journals, self.made = set(), set()
        self.lanes_came = False

    # Locks -----------------------------------------------------------------------------------------------------------

    def lock_store(self):
        """One push at a time. A receiver whose console is gone ends by itself when it hears nothing for ``idle_s``; one
        that an earlier connection of this same push left behind is told to end."""
        end = time.time() + self.plan.head["patience_s"]
        self.lock = os.open(os.path.join(self.store, "lock"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
        lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
        for handle in (self.lock, lanes):
            asked = False
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as problem:
                    if problem.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                        raise
                    if time.time() > end:
                        raise Failed("store-busy") from None
                if handle == self.lock and not asked:
                    asked = self.end_own()
                time.sleep(0.1)
        data = json.dumps({"push": self.push, "pid": os.getpid()}).encode()
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, data, 0)
        os.close(lanes)

    def end_own(self):
        holder = self.holder()
        if holder.get("push") == self.push:
            os.kill(int(holder["pid"]), signal.SIGTERM)
            return True
        return False

    def holder(self):
        try:
            return json.loads(os.pread(self.lock, 4096, 0).decode())
        except ValueError:
            return {}

    def join_lead(self):
        """Hold the lanes' lock for as long as this lane lives, under the lead of the same push and no other."""
        self.lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | NOFOLLOW)
        self.lock = os.open(os.path.join(self.store, "lock"), os.O_RDWR | NOFOLLOW)
        fcntl.flock(self.lanes, fcntl.LOCK_SH)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            if self.holder().get("push") == self.push:
                return
        raise Failed("store-busy")

    # Before the first byte -------------------------------------------------------------------------------------------

    def place(self, number):
        sha = self.plan.sha(number)
        return os.path.join(self.objects, sha[:2], sha)

    def part_path(self, number):
        return os.path.join(self.staging, self.plan.sha(number) + ".part")

    def journal_path(self, number):
        return os.path.join(self.staging, self.plan.sha(number) + ".journal")

    def prepare(self):
        make_folders("/", self.store)
        for path in ("objects", "staging/" + self.release, "releases"):
            make_folders(self.store, path)
        self.lock_store()
        self.reused = self.resumed = 0
        self.how = "none"
        self.adopt_parts()
        here = set(os.listdir(self.staging))
        damaged = []
        for number in range(len(self.plan.sizes)):
            state = self.finished(number)
            if state is True:
                self.mark_file(number)
                self.reused += self.plan.sizes[number]
                continue
            if state is None:
                damaged.append(number)
            self.missing[number] = self.plan.first[number + 1] - self.plan.first[number]
            if self.plan.sha(number) + ".part" in here:
                self.look_at_part(number)
        self.check_space()
        self.copy_known_chunks(damaged)
        for number in damaged:
            self.retire(number)

    def mark_file(self, number):
        low, high = self.plan.first[number], self.plan.first[number + 1]
        self.have[low:high] = b"\1" * (high - low)

    def adopt_parts(self):
        """Files of this release that a broken push of another release has begun."""
        wanted = None
        for other in os.listdir(os.path.join(self.store, "staging")):
            folder = os.path.join(self.store, "staging", other)
            if other == self.release or os.path.islink(folder) or not os.path.isdir(folder):
                continue
            if wanted is None:
                wanted = set(self.plan.sha(n) for n in range(len(self.plan.sizes)))
            for name in os.listdir(folder):
                if name.endswith(".part") and name[:-5] in wanted and not os.path.exists(os.path.join(self.staging, name)):
                    for kind in (".journal", ".part"):
                        try:
                            os.rename(os.path.join(folder, name[:-5] + kind), os.path.join(self.staging, name[:-5] + kind))
                        except OSError:
                            pass  # no journal: the part is hashed then

    def finished(self, number):
        """Whether the object is there whole: True, False, or None where it is there and damaged. It is hashed, unless
        its note shows that it is untouched since it was, and to a degree that is enough."""
        path = self.place(number)
        try:
            handle = os.open(path, os.O_RDONLY | NOFOLLOW)
        except OSError:
            return False
        try:
            state = os.fstat(handle)
            if state.st_size != self.plan.sizes[number]:
                return None
            note = read_note(path)
            if self.degree != "media" and note and note["stat"] == stamp(state) and RANK.get(note["degree"], 0) >= RANK[self.degree]:
                return True
            found = (
                self.from_medium(path, number)
                if self.degree == "media"
                else (read_digest(handle, at, length, self.wire.scratch) for _, _, _, at, length in self.plan.chunks(number))
            )
            for (_, _, digest, _, length), real in zip(self.plan.chunks(number), found):
                if digest != real:
                    return None
                self.tell_looked(length)
            self.write_note(number, state, self.degree)
            return True
        finally:
            os.close(handle)

    def from_medium(self, path, number):
        low, high = self.plan.first[number], self.plan.first[number + 1]
        return medium_digests(path, self.plan.lengths[low:high], self.wire.scratch)

    def tell_looked(self, length):
        """A sign of life while much is hashed."""
        self.looked += length
        if self.looked - self.told >= TELL_BYTES:
            self.told = self.looked
            self.wire.say(looked=self.looked)
            self.wire.flush()

    def journal(self, number):
        """Chunk indices that the journal holds, its last state of the file and the least degree of its lines."""
        noted, last, rank = set(), None, 2
        try:
            with open(self.journal_path(number)) as lines:
                for line in lines:
                    entry = json.loads(line)
                    noted.update(int(n) for n in entry["chunks"])
                    last, rank = entry["stat"], min(rank, RANK[entry["degree"]])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none, or the line that was being written when the power went
        return noted, last, rank

    def look_at_part(self, number):
        """Take over what an earlier push left: by its journal while the file is untouched since, else by hashing."""
        handle = os.open(self.part_path(number), os.O_RDWR | NOFOLLOW)
        try:
            state = os.fstat(handle)
            noted, last, rank = self.journal(number)
            self.journals.add(number)
            # A part of an object that was never renamed may be shared with nothing; one with more names is not ours.
            if state.st_nlink != 1:
                os.unlink(self.part_path(number))
                return
            trusted = last == stamp(state) and rank >= min(RANK[self.degree], 1)
            good = []
            for every, index, digest, at, length in self.plan.chunks(number):
                if at + length > state.st_size or (trusted and index not in noted):
                    continue
                if not trusted:
                    self.tell_looked(length)
                if trusted or read_digest(handle, at, length, self.wire.scratch) == digest:
                    self.have[every] = 1
                    self.missing[number] -= 1
                    self.resumed += length
                    good.append(index)
            if good:
                self.how = "journal" if trusted and self.how != "rehash" else "rehash"
            if not trusted:
                # Only what was just hashed is noted from now on.
                self.forget_journal(number)
                part = self.parts[number] = Part(os.dup(handle))
                part.fresh, part.unsynced = good, 1
                self.flush_part(number)
                self.close_part(number)
        finally:
            os.close(handle)

    def check_space(self):
        state = os.statvfs(self.store)
        free = state.f_bavail * state.f_frsize
        need = self.lacking()
        if need > free:
            raise Failed("disk-full", need=need, free=free)
        if state.f_files and state.f_favail < 2 * len(self.missing):
            raise Failed("no-inodes", need=2 * len(self.missing), free=state.f_favail)

    def lacking(self):
        return sum(length for had, length in zip(self.have, self.plan.lengths) if not had)

    def copy_known_chunks(self, damaged):
        """Chunks that are in the store under another name, in another version, or in a damaged file, are copied here."""
        wanted = {}
        for number in self.missing:
            for every, index, digest, at, length in self.plan.chunks(number):
                if not self.have[every] and (length >= DEDUPE_BYTES or number in damaged):
                    wanted.setdefault(digest, []).append((number, index, every, at, length))
        if not wanted:
            return
        for number in damaged:
            chunks = [(digest, length) for _, _, digest, _, length in self.plan.chunks(number)]
            self.copy_from(self.place(number), chunks, wanted)
        for base, _, names in os.walk(self.objects):
            for name in names:
                if wanted and name.endswith(".chunks"):
                    path = os.path.join(base, name[:-7])
                    self.copy_from(path, chunks_of(path), wanted)

    def copy_from(self, path, chunks, wanted):
        source, at = None, 0
        try:
            for digest, length in chunks:
                places = [p for p in wanted.get(digest, ()) if p[4] == length and not self.have[p[2]]]
                if places and source is None:
                    source = os.open(path, os.O_RDONLY | NOFOLLOW)
                for number, index, every, target, _ in places:
                    part = self.open_part(number)
                    copy_range(source, at, part.handle, target, length, self.wire.scratch)
                    if read_digest(part.handle, target, length, self.wire.scratch) != digest:
                        break
                    self.count(number, index, every)
                    self.reused += length
                else:
                    if places:
                        del wanted[digest]
                at += length
                self.tell_looked(length if places else 0)
        except OSError as problem:
            if problem.errno in FULL:
                raise
        finally:
            if source is not None:
                os.close(source)

    def retire(self, number):
        """A damaged object goes; what its releases still link to is replaced when the good one is there."""
        path = self.place(number)
        state = os.lstat(path)
        if state.st_nlink > 1:
            self.replaced.add((state.st_dev, state.st_ino, number))
        for name in (path, path + ".chunks"):
            try:
                os.unlink(name)
            except OSError as problem:
                if problem.errno != errno.ENOENT:
                    raise

    # Receiving -------------------------------------------------------------------------------------------------------

    def open_part(self, number):
        part = self.parts.get(number)
        if part is None:
            if len(self.parts) >= OPEN_FILES:
                self.settle_parts()
            handle = os.open(self.part_path(number), os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o600)
            part = self.parts[number] = Part(handle)
        return part

    def chunk(self, number, index, length):
        """Receive one chunk; a wrong one is answered, not counted, and its place stays open."""
        plan = self.plan
        every = plan.first[number] + index if number < len(plan.sizes) else -1
        if every < 0 or every >= plan.first[number + 1] or plan.lengths[every] != length:
            raise Failed("bad-frame")
        digest, start = bytes(plan.digests[32 * every : 32 * every + 32]), sum(plan.lengths[plan.first[number] : every])
        if self.have[every]:
            for _ in self.wire.views(length):
                pass
            self.wire.say(ok=[number, index])
            return
        part, at = self.open_part(number), start
        flight = hashlib.sha256() if self.degree == "received" else None
        for view in self.wire.views(length):
            if flight is not None:
                flight.update(view)
            write_at(part.handle, view, at)
            at += len(view)
        real = flight.digest() if flight is not None else read_digest(part.handle, start, length, self.wire.scratch)
        if real != digest:
            self.wire.say(bad=[number, index])
            return
        self.count(number, index, every)
        self.wire.say(ok=[number, index])

    def count(self, number, index, every):
        part = self.parts[number]
        self.have[every] = 1
        part.fresh.append(index)
        part.unsynced += self.plan.lengths[every]
        if number not in self.missing:
            self.missing[number] = self.plan.first[number + 1] - self.plan.first[number]
        self.missing[number] -= 1
        if self.missing[number] == 0 and self.leads and not (self.lanes_came and self.plan.sizes[number] >= self.plan.head["lane_bytes"]):
            self.ready.append(number)
            self.ready_bytes += part.unsynced
            if self.ready_bytes >= SYNC_BYTES or len(self.ready) >= OPEN_FILES // 2:
                self.finish_ready()
        elif part.unsynced >= SYNC_BYTES:
            self.flush_part(number)

    def flush_part(self, number):
        """Put what was written onto the disk, then into the journal; never the other way round."""
        part = self.parts[number]
        if not part.fresh:
            return
        os.fsync(part.handle)
        line = json.dumps({"chunks": part.fresh, "stat": stamp(os.fstat(part.handle)), "degree": self.degree, "push": self.push}) + "\n"
        handle = os.open(self.journal_path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOFOLLOW, 0o600)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        part.fresh, part.unsynced = [], 0
        self.journals.add(number)

    def close_part(self, number):
        os.close(self.parts.pop(number).handle)

    def settle_parts(self):
        """Everything that was written goes to disk and into the journals; no file stays open."""
        self.finish_ready()
        for number in list(self.parts):
            self.flush_part(number)
            self.close_part(number)

    # Whole files -----------------------------------------------------------------------------------------------------

    def finish_ready(self):
        """Whole files become objects, many at once: flushed, read back past the cache if that was asked for, renamed."""
        ready, self.ready, self.ready_bytes = self.ready, [], 0
        if len(ready) > 4:
            sync_file_system(self.lock)
        folders = set()
        for number in ready:
            if self.whole(number):
                folders.add(os.path.dirname(self.place(number)))
        for folder in folders:
            sync_folder(folder)

    def whole(self, number):
        """Make the object of a part that has every chunk; False where the medium gives back something else."""
        part, path = self.open_part(number), self.part_path(number)
        os.ftruncate(part.handle, self.plan.sizes[number])
        os.fsync(part.handle)
        if self.degree == "media" and not self.medium_is_right(number, path):
            self.flush_part(number)
            return False
        os.fchmod(part.handle, 0o555 if self.plan.modes[number] else 0o444)
        place = self.place(number)
        self.folder(self.objects, self.plan.sha(number)[:2])
        os.rename(path, place)
        self.write_note(number, os.fstat(part.handle), self.degree)
        self.close_part(number)
        self.missing.pop(number, None)
        if number in self.journals:
            self.forget_journal(number)
        return True

    def forget_journal(self, number):
        self.journals.discard(number)
        try:
            os.unlink(self.journal_path(number))
        except OSError:
            pass  # there was none

    def folder(self, base, path):
        """Make folders, once."""
        if (base, path) not in self.made:
            make_folders(base, path)
            self.made.add((base, path))

    def medium_is_right(self, number, path):
        wrong = []
        for (every, index, digest, _, _), real in zip(self.plan.chunks(number), self.from_medium(path, number)):
            self.tell_looked(self.plan.lengths[every])
            if digest != real:
                self.have[every] = 0
                wrong.append(index)
        part = self.parts[number]
        part.fresh = [index for index in part.fresh if index not in wrong]
        self.missing[number] = len(wrong)
        if wrong:
            self.forget_journal(number)
            part.fresh = [index for every, index, _, _, _ in self.plan.chunks(number) if self.have[every]]
        return not wrong

    def write_note(self, number, state, degree):
        """Which chunks the object consists of, and its state when they were right. Not flushed: a torn note is no JSON,
        and costs only a hashing."""
        path = self.place(number) + ".chunks"
        if self.plan.sizes[number] < NOTE_BYTES:
            return
        chunks = [[digest.hex(), length] for _, _, digest, _, length in self.plan.chunks(number)]
        data = json.dumps({"stat": stamp(state), "degree": degree, "chunks": chunks}).encode()
        handle = os.open(path + ".part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
        os.rename(path + ".part", path)

    # After the last byte ---------------------------------------------------------------------------------------------

    def outlive_lanes(self):
        """Wait until no lane can write any more; one whose console is gone ends when it hears nothing for ``idle_s``."""
        lanes = os.open(os.path.join(self.store, "lock.lanes"), os.O_RDWR | NOFOLLOW)
        end = time.time() + self.plan.head["patience_s"]
        while True:
            try:
                fcntl.flock(lanes, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.time() > end:
                    raise Failed("store-busy") from None
                time.sleep(0.05)
        os.close(lanes)

    def take_over_lanes(self):
        """What the lanes of this push have put on disk, as their journals say."""
        for number in list(self.missing):
            noted = None
            for every, index, _, _, _ in self.plan.chunks(number):
                if not self.have[every]:
                    noted = self.lane_chunks(number) if noted is None else noted
                    if index in noted:
                        self.have[every] = 1
                        self.missing[number] -= 1
            if self.missing[number] == 0 and number not in self.ready:
                self.ready.append(number)

    def lane_chunks(self, number):
        found = set()
        try:
            with open(self.journal_path(number)) as lines:
                for line in lines:
                    entry = json.loads(line)
                    if entry["push"] == self.push:
                        found.update(int(n) for n in entry["chunks"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no lane wrote to this file
        return found

    def link_release(self):
        """Give every path its link. A new release is made beside its place and renamed there; one that is there already
        (other components came earlier, or files were damaged) has single links renamed in, and never misses a file."""
        target = os.path.join(self.store, "releases", self.release)
        fresh = target + ".new"
        remove_tree(fresh)
        os.mkdir(fresh, 0o755)
        if os.path.islink(target):
            raise Failed("unsafe-store", path=target)
        old = os.path.isdir(target)
        folders = set([target if old else fresh])
        for count, (path, number) in enumerate(self.plan.links()):
            self.folder(target if old else fresh, os.path.dirname(path))
            place = os.path.join(target if old else fresh, path)
            folders.add(os.path.dirname(place))
            if not old:
                self.link(number, place)
            elif not same(place, self.place(number)):
                beside = os.path.join(fresh, "link-%d" % count)
                self.link(number, beside)
                os.rename(beside, place)
        for folder in folders:
            sync_folder(folder)
        if old:
            remove_tree(fresh)
        else:
            os.rename(fresh, target)
        sync_folder(os.path.dirname(target))

    def link(self, number, place):
        try:
            os.link(self.place(number), place)
        except OSError as problem:
            if problem.errno not in LINK_IMPOSSIBLE:
                raise
            self.copy_object(number, place)

    def copy_object(self, number, place):
        """Where the file system has no hard links: a second copy, hashed like the first."""
        source = os.open(self.place(number), os.O_RDONLY | NOFOLLOW)
        target = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600)
        try:
            copy_range(source, 0, target, 0, self.plan.sizes[number], self.wire.scratch)
            os.fsync(target)
            for _, _, digest, at, length in self.plan.chunks(number):
                if read_digest(target, at, length, self.wire.scratch) != digest:
                    raise Failed("io", path=place, reason="a copy reads back wrong")
            os.fchmod(target, 0o555 if self.plan.modes[number] else 0o444)
        finally:
            os.close(source)
            os.close(target)

    def linked(self):
        """Whether the release's folder already holds exactly these objects."""
        target = os.path.join(self.store, "releases", self.release)
        return all(same(os.path.join(target, path), self.place(number)) for path, number in self.plan.links())

    def renew_notes(self):
        """A new link changes an object's ctime; its note stays good when that is the only change."""
        for number in range(len(self.plan.sizes)):
            if self.plan.sizes[number] < NOTE_BYTES:
                continue
            note, now = read_note(self.place(number)), os.lstat(self.place(number))
            if note and note["stat"][:4] == stamp(now)[:4] and note["stat"] != stamp(now):
                self.write_note(number, now, note["degree"])

    def mend_other_releases(self):
        """Links of other releases to an object that was damaged get the good one."""
        known = dict(((device, inode), number) for device, inode, number in self.replaced)
        releases = os.path.join(self.store, "releases")
        for base, _, names in os.walk(releases) if known else ():
            for name in names:
                state = os.lstat(os.path.join(base, name))
                number = known.get((state.st_dev, state.st_ino))
                if number is not None:
                    beside = os.path.join(self.staging, "link")
                    self.link(number, beside)
                    os.rename(beside, os.path.join(base, name))
                    sync_folder(base)

    def clean_staging(self):
        """Parts of other components of this release stay, for the push that left them."""
        left = os.listdir(self.staging)
        mine = set(self.plan.sha(n) for n in range(len(self.plan.sizes))) if left else ()
        for name in left:
            if name[:64] in mine or name[:4] in ("beat", "prob"):
                os.unlink(os.path.join(self.staging, name))
        try:
            os.rmdir(self.staging)
        except OSError:
            pass  # not empty

    # The conversation ------------------------------------------------------------------------------------------------

    @property
    def leads(self):
        return self.plan.head["role"] == "lead"

    def run(self):
        if self.leads:
            self.prepare()
            self.ready += [n for n in self.missing if self.missing[n] == 0 and n not in self.ready]
            self.finish_ready()
            self.wire.say(have=ranges(self.have), reused=self.reused, resumed=self.resumed, how=self.how)
        else:
            self.join_lead()
            self.wire.say(joined=True)
        while True:
            kind = self.wire.take(1)
            if kind == b"C":
                self.chunk(*struct.unpack(">III", self.wire.take(12)))
            elif kind == b"S":
                self.settle_parts()
                self.wire.say(synced=True)
            elif kind == b"E":
                if self.end():
                    return
            elif kind == b"L":
                self.lanes_came = True
            elif kind != b"P":
                raise Failed("bad-frame")

    def end(self):
        if not self.leads:
            self.settle_parts()
            self.wire.say(synced=True)
            return True
        self.settle_parts()
        if self.lanes_came:
            self.outlive_lanes()
            self.lanes_came = False
        self.take_over_lanes()
        while self.ready:
            self.wire.say(settling=len(self.ready))
            self.wire.flush()
            rest, self.ready = self.ready[OPEN_FILES // 2 :], self.ready[: OPEN_FILES // 2]
            self.finish_ready()
            self.ready += rest
        if self.missing:
            self.settle_parts()
            self.wire.say(again=ranges(self.have))
            return False
        if self.replaced:
            self.mend_other_releases()
        if self.replaced or not self.linked():
            self.link_release()
            self.renew_notes()
        self.clean_staging()
        self.wire.say(done=True, degree=self.degree)
        return True

    def settle(self):
        """Save what can be saved of an interrupted push."""
        for number in list(self.parts):
            try:
                self.flush_part(number)
            except OSError:
                pass  # the disk is full or gone; what the journal says is still true


def same(one, other):
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def stamp(state):
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def read_note(path):
    try:
        with open(path + ".chunks") as source:
            note = json.load(source)
        return {"stat": note["stat"], "degree": note["degree"], "chunks": note["chunks"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chunks_of(path):
    note = read_note(path)
    try:
        return [(bytes.fromhex(d), int(n)) for d, n in note["chunks"]] if note else []
    except (ValueError, TypeError):
        return []


def ranges(flags):
    """``[[first, last], …]`` of the set flags."""
    found, at = [], flags.find(1)
    while at >= 0:
        end = flags.find(0, at)
        end = len(flags) if end < 0 else end
        found.append([at, end - 1])
        at = flags.find(1, end)
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


def read_plan(wire):
    (size,) = struct.unpack(">I", wire.take(4))
    try:
        return Plan(zlib.decompress(wire.all(size)))
    except (ValueError, KeyError, TypeError, OverflowError, struct.error, zlib.error):
        raise Failed("bad-plan") from None


def told_to_end(number, frame):
    signal.signal(number, signal.SIG_IGN)
    raise Failed("link-lost")


def main():
    wire, receiver = Wire(0, 1), None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told_to_end)
    try:
        receiver = Receiver(wire, read_plan(wire))
        receiver.run()
        wire.flush()
        return 0
    except Failed as problem:
        answer = problem.answer
    except OSError as problem:
        rights = problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        kind = "disk-full" if problem.errno in FULL else "no-rights" if rights else "io"
        answer = {"error": kind, "reason": os.strerror(problem.errno or 0), "path": str(problem.filename or "")}
        if kind == "disk-full" and receiver is not None:
            state = os.statvfs(receiver.store)
            answer.update(free=state.f_bavail * state.f_frsize, need=receiver.lacking())
    if receiver is not None:
        receiver.settle()
    if answer["error"] != "link-lost":
        try:
            wire.say(**answer)
            wire.flush()
        except OSError:
            pass  # nobody listens any more
    return 1


if __name__ == "__main__":
    sys.exit(main())
