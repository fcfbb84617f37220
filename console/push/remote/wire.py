"""What is said between console and server: frames in, lines out, and the plan of a push."""

import array
import fcntl
import json
import mmap
import os
import select
import struct
import sys
import time
import zlib

BLOCK = 1 << 20
ALIVE_S = 10
RANK = {"received": 0, "stored": 1, "media": 2}


class Failed(Exception):
    """Ends the push with a named error."""

    def __init__(self, kind, **told):
        Exception.__init__(self, kind)
        self.answer = dict(told, error=kind)


class Wire:
    """Frames in, lines out. Answers wait until the next read would block, so that many small files cost few writes."""

    def __init__(self, source, sink):
        self.source, self.sink, self.idle_s = source, sink, 60
        self.gone, self.waiter = "link-lost", None
        # Page-aligned, as reading past the cache wants it.
        self.box, self.scratch = memoryview(mmap.mmap(-1, BLOCK)), memoryview(mmap.mmap(-1, BLOCK))
        self.low = self.high = 0
        self.lines, self.lines_bytes, self.said_at = [], 0, time.monotonic()
        for handle in (source, sink) if sink >= 0 else (source,):
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
            if self.waiter is not None:
                self.waiter(self)
                ready = True
            else:
                ready = select.select([self.source], [], [], self.idle_s)[0]
            count = os.readv(self.source, [self.box[self.high :]]) if ready else 0
            if not count:
                raise Failed(self.gone)
            self.high += count
            if self.sink >= 0:
                self.live()

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
        self.said_at = time.monotonic()
        self.lines.append(json.dumps(told).encode() + b"\n")
        self.lines_bytes += len(self.lines[-1])
        if self.lines_bytes > 16 << 10:
            self.flush()

    def live(self):
        """A sign of life, where the last word was long ago."""
        if time.monotonic() - self.said_at > ALIVE_S:
            self.say(alive=True)
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
        self.lengths, self.digests = self.array("I", chunks), self.bytes(32 * sum(count for count in counts if count > 1))
        self.link_files, self.path_sizes = self.array("I", links), self.array("H", links)
        self.paths, self.raw = self.bytes(len(raw) - self.at), None
        self.first, self.first_digest = array.array("I", [0]), array.array("I", [0])
        for count in counts:
            self.first.append(self.first[-1] + count)
            self.first_digest.append(self.first_digest[-1] + (count if count > 1 else 0))
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

    def digest(self, number, index):
        """SHA-256 of a chunk; that of the only one is the file's, and did not come twice."""
        at = self.first_digest[number] + index
        if self.first_digest[number + 1] == self.first_digest[number]:
            return bytes(self.shas[32 * number : 32 * number + 32])
        return bytes(self.digests[32 * at : 32 * at + 32])

    def chunks(self, number):
        """(number over all files, index in this one, digest, offset, length) of each chunk of a file."""
        at = 0
        for index, every in enumerate(range(self.first[number], self.first[number + 1])):
            yield every, index, self.digest(number, index), at, self.lengths[every]
            at += self.lengths[every]


def safe(path):
    """Whether a relative path stays below its folder."""
    return "\0" not in path and not any(p in ("", ".", "..") for p in path.split("/"))


def hexdigits(text, count):
    return isinstance(text, str) and len(text) == count and all(c in "0123456789abcdef" for c in text)


def ranges(flags):
    """``[[first, last], …]`` of the set flags."""
    found, at = [], flags.find(1)
    while at >= 0:
        end = flags.find(0, at)
        end = len(flags) if end < 0 else end
        found.append([at, end - 1])
        at = flags.find(1, end)
    return found


def read_plan(wire):
    # One block of memory of the size that it will have: one that grows is copied, and leaves holes.
    (size,) = struct.unpack(">I", wire.take(4))
    opener, raw, at = zlib.decompressobj(), memoryview(mmap.mmap(-1, max(1, size))), 0
    try:
        while True:
            (count,) = struct.unpack(">I", wire.take(4))
            if not count:
                break
            for view in wire.views(count):
                data = opener.decompress(view, size - at + 1)
                raw[at : at + len(data)] = data
                at += len(data)
        if at != size or not opener.eof:
            raise ValueError
        return Plan(raw[:size])
    except (ValueError, KeyError, TypeError, OverflowError, struct.error, zlib.error):
        raise Failed("bad-plan") from None
