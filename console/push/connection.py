"""One connection to a receiver: what goes over it, and how its answers are read."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from console.errors import SealiftError
from console.i18n import N_
from console.push.problems import BROKEN, SOURCE_DAMAGED, named, not_agreed
from console.push.remote import planes
from console.transport.base import Stream

LINE_BYTES = 64 << 10
"""A server's line is no longer, but for what it has to say of each chunk."""

CHUNK_BYTES = 24
"""What a range of chunks takes at most in the list of what is there."""

SEND_BYTES = 1 << 20
JOIN_BYTES = 16 << 10
GATHER_BYTES = 128 << 10
"""Chunks up to this size go together with others."""

SILENCE_S = 120.0
"""A server that acknowledges nothing for so long, with data waiting, is given up."""

STUCK_S = 300.0
"""A server that says that it lives and for so long neither takes nor acknowledges anything is given up as well."""

LOOKING_S = 900.0
"""Looking at many small files on a slow disk may take so long without a word."""

SLOWEST_BYTES_PER_S = 4e6
"""What hashing on a server may be as slow as; nothing is waited for longer than that takes."""

LIFE_S = 5.0

BOOTSTRAP = (
    "import os,sys\nn=int(sys.argv[1]);d=b''\nwhile len(d)<n:\n b=os.read(0,n-len(d))\n if not b:sys.exit(1)\n d+=b\n"
    "exec(compile(d,'receiver','exec'),{'__name__':'__main__'})"
)


LOADER = """
import sys
from importlib.machinery import ModuleSpec

class Sent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return ModuleSpec(name, Sent, is_package=not SOURCES[name]) if name in SOURCES else None
    @staticmethod
    def create_module(spec):
        return None
    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)

sys.meta_path.insert(0, Sent)
"""
"""Runs modules that came as text; a part that is not needed is not even compiled."""


RECEIVE = "from console.push.remote.receiver import main\nsys.exit(main())\n"


@cache
def shipped(what: str) -> bytes:
    """The modules for servers with the statements that use them, one text; read from their files, which the frozen program
    carries as data."""
    files = sorted(Path(__file__).with_name("remote").glob("*.py"))
    texts = {f"console.push.remote.{f.stem}": f.read_text(encoding="utf-8") for f in files if f.stem != "__init__"}
    packages = dict.fromkeys(("console", "console.push", "console.push.remote"), "")
    return f"SOURCES = {packages | texts!r}\n{LOADER}{what}".encode()


def receiver_source() -> bytes:
    """The receiver as it is sent."""
    return shipped(RECEIVE)


def receiver_command(python: str) -> tuple[str, ...]:
    """What starts the receiver on the server. ``-S -E``: quick, and blind to the account's environment."""
    return (python, "-S", "-E", "-c", BOOTSTRAP, str(len(receiver_source())))


class Limit:
    """At most so many bytes a second over all pushes that share it; 0 for no limit."""

    def __init__(self, bytes_per_s: int):
        self.bytes_per_s, self._lock, self._free_at = bytes_per_s, threading.Lock(), 0.0

    def parts(self, piece: memoryview) -> Iterator[memoryview]:
        """``piece`` in parts, each given when it may go; each at most a second's worth, so that a slow limit looks like a
        slow link to the other side and not like a dead one."""
        step = min(len(piece), self.bytes_per_s) if self.bytes_per_s else len(piece)
        for at in range(0, len(piece), max(1, step)):
            part = piece[at : at + step]
            self.wait(len(part))
            yield part

    def wait(self, count: int, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until ``count`` bytes may go."""
        if not self.bytes_per_s:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self.bytes_per_s
        if start > now:
            sleep(start - now)


class Press:
    """Whether packing pays on a connection: where it was measured to be slower than packing is. The first bytes go unpacked,
    for they only fill buffers and say nothing of the link.
    """

    MEASURED_BYTES = 8 << 20
    PACKING_BYTES_PER_S = 100e6
    """Until it is measured: what one core of the last ten years does at least."""

    def __init__(self) -> None:
        self._sent, self._sent_s, self._packed, self._packed_s = 0, 0.0, 0, 0.0

    @property
    def pays(self) -> bool:
        """Whether to pack what can be packed."""
        if self._sent < self.MEASURED_BYTES:
            return False
        packing = self._packed / self._packed_s if self._packed > self.MEASURED_BYTES else self.PACKING_BYTES_PER_S
        return self._sent < 0.8 * packing * self._sent_s

    def sent(self, count: int, seconds: float) -> None:
        """So many bytes went in so many seconds."""
        if self._sent > 8 * self.MEASURED_BYTES:
            self._sent, self._sent_s = self._sent // 2, self._sent_s / 2
        self._sent, self._sent_s = self._sent + count, self._sent_s + seconds

    def blocks(self, pieces: Iterable[memoryview], length: int) -> tuple[bytes, Iterator[bytes | memoryview]]:
        """A chunk's bytes as they go, and the kind of their frame. Blocks are cut where the receiver expects them."""
        whole = _in_blocks(pieces, length) if self.pays else iter(pieces)
        first = next(whole, memoryview(b""))
        chosen = planes.which(bytes(first[: planes.SAMPLE_BYTES])) if self.pays and len(first) >= 2 else None
        if chosen is None:
            return b"C", chain((first,), whole)
        return b"Z", (self._pack(block, chosen) for block in chain((first,), whole))

    def _pack(self, block: memoryview, chosen: tuple[bool, ...]) -> bytes:
        began = time.monotonic()
        packed = planes.pack(bytes(block), chosen)
        self._packed, self._packed_s = self._packed + len(block), self._packed_s + time.monotonic() - began
        return packed


def _in_blocks(pieces: Iterable[memoryview], length: int) -> Iterator[memoryview]:
    """The same bytes in blocks of exactly the size that packing works by, the last one shorter."""
    block, at = memoryview(bytearray(min(length, planes.BLOCK))), 0
    for piece in pieces:
        while piece:
            count = min(len(piece), len(block) - at)
            block[at : at + count] = piece[:count]
            piece, at, length = piece[count:], at + count, length - count
            if at == len(block):
                yield block
                block, at = block[: min(length, planes.BLOCK)], 0


def hashing_s(size: int) -> float:
    """How long hashing so many bytes may take on a server before it is given up."""
    return STUCK_S + size / SLOWEST_BYTES_PER_S


class Lines:
    """Lines from a server that may be hostile: bounded, and a deadline for silence."""

    def __init__(self, stream: Stream, server: str, most_bytes: int = LINE_BYTES):
        self._stream, self._server, self._most, self._buffer = stream, server, most_bytes, bytearray()

    def next(self, timeout_s: float) -> bytes:
        """The next line.

        Raises:
            WorldError: the link broke, the receiver ended, or nothing came in time.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > self._most:
                raise BROKEN(server=self._server, reason=N_("it sent an endless line"))
            data = self._stream.read(64 << 10, timeout_s)
            if not data:
                raise BROKEN(server=self._server, reason=_last_words(self._stream) or N_("it ended without a word"))
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


def _last_words(stream: Stream) -> str:
    lines = stream.stderr_tail().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else ""


class SourceFile:
    """The file that is being sent; the one before is closed when another is asked for.

    Read, not mapped: reading from a map on a disk that fails ends the whole program.
    """

    def __init__(self) -> None:
        self._place: str | None = None
        self._handle: BinaryIO | None = None
        self._buffer = memoryview(bytearray(SEND_BYTES))

    def pieces(self, place: str, shown: str, offset: int, length: int) -> Iterator[memoryview]:
        """A range in pieces, each to be done with before the next is asked for.

        Raises:
            WorldError: ``push.source-damaged`` where the file does not give it.
        """
        try:
            if self._place != place:
                self.close()
                self._handle, self._place = open(place, "rb", buffering=0), place  # noqa: SIM115 - closed by close()
            self._handle.seek(offset)
            while length:
                count = self._handle.readinto(self._buffer[: min(length, SEND_BYTES)])
                if not count:
                    raise SOURCE_DAMAGED(path=shown)
                yield self._buffer[:count]
                length -= count
        except OSError:
            raise SOURCE_DAMAGED(path=shown) from None

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            self._handle.close()
        self._place = self._handle = None


class Connection:
    """Talks with one receiver. One thread sends; another, started by :meth:`listen`, reads; a third says that the
    console is alive while nothing else is sent.

    Args:
        store: for the text of errors only.
        chunks: how many the server may have to speak of in one line.

    Attributes:
        stuck_s: what a server that gives signs of life may take for getting on; None to leave that to others.
    """

    def __init__(self, stream: Stream, server: str, store: str, chunks: int = 0):
        self._stream, self._server, self._store = stream, server, store
        self._lines = Lines(stream, server, LINE_BYTES + CHUNK_BYTES * chunks)
        self._sending, self._ended = threading.Lock(), threading.Event()
        self._reader: threading.Thread | None = None
        self.silence_s, self.press = SILENCE_S, Press()
        self.stuck_s: float | None = None
        self._moved_at = time.monotonic()
        self._gathered, self._gathered_sums, self._on_gathered = bytearray(), (0, 0), None

    def start(self, plan: Iterable[bytes], size: int = 0, on_looked: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Send receiver and plan; the receiver's first answer, after it has looked at what is there.

        Args:
            plan: in pieces, each asked for when the one before went.
            size: bytes that it may have to hash for that.
            on_looked: called with the bytes that it has hashed so far.
        """
        self._stream.write(receiver_source())
        for piece in plan:
            self._stream.write(piece)
        threading.Thread(target=self._live, name=f"push-life-{self._server}", daemon=True).start()
        # What is there may have to be hashed, then copied from other files and hashed again.
        end = time.monotonic() + LOOKING_S + 3 * hashing_s(size)
        while True:
            answer = self._answer(LOOKING_S)
            if "looked" not in answer and "alive" not in answer:
                return answer
            if time.monotonic() > end:
                raise self._stuck()
            if type(looked := answer.get("looked")) is int and looked > 0:
                on_looked(looked)

    def moved(self) -> None:
        """The push gets on, or is not meant to."""
        self._moved_at = time.monotonic()

    def _stuck(self) -> SealiftError:
        return BROKEN(server=self._server, reason=N_("it gives signs of life and does not get on"))

    def listen(self, on_answer: Callable[[dict[str, Any]], bool], on_problem: Callable[[BaseException], None]) -> None:
        """Read answers in a thread until ``on_answer`` gives True or fails."""
        self._reader = threading.Thread(target=self._read, args=(on_answer, on_problem), name=f"push-answers-{self._server}", daemon=True)
        self._reader.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the answers have ended."""
        if self._reader is not None:
            self._reader.join(timeout_s)

    def chunk(self, number: int, index: int, length: int, pieces: Iterable[memoryview], limit: Limit | None = None) -> int:
        """Send one chunk; the bytes that went for it, fewer than ``length`` where it was packed."""
        kind, blocks = self.press.blocks(pieces, length)
        head, count = kind + struct.pack(">III", number, index, length), 0
        with self._sending:
            self._send_gathered()
            for block in blocks:
                began = time.monotonic()
                for part in limit.parts(memoryview(block)) if limit else (block,):
                    if head and len(part) <= JOIN_BYTES:
                        self._stream.write(head + bytes(part))
                    else:
                        if head:
                            self._stream.write(head)
                        self._stream.write(part)
                    head = b""
                count += len(block)
                self.moved()
                self.press.sent(len(block), self._moved_at - began)
        return count

    def gather(self, number: int, index: int, length: int, pieces: Iterable[memoryview], on_sent: Callable[[int, int], None]) -> None:
        """Send a small chunk together with others, for each write costs as much as many kilobytes. Call :meth:`flush` before
        waiting for an answer.

        Args:
            on_sent: called once they went, with the length of all that were gathered and the bytes that went for them.
        """
        kind, blocks = self.press.blocks(pieces, length)
        head, frame = kind + struct.pack(">III", number, index, length), b"".join(blocks)
        with self._sending:
            self._gathered += head + frame
            self._gathered_sums = self._gathered_sums[0] + length, self._gathered_sums[1] + len(frame)
            self._on_gathered = on_sent
            if len(self._gathered) >= SEND_BYTES:
                self._send_gathered()

    def flush(self) -> None:
        """Send what was gathered."""
        with self._sending:
            self._send_gathered()

    def _send_gathered(self) -> None:
        if not self._gathered:
            return
        frames, sums, self._gathered, self._gathered_sums = self._gathered, self._gathered_sums, bytearray(), (0, 0)
        began = time.monotonic()
        self._stream.write(frames)
        self.moved()
        self.press.sent(len(frames), self._moved_at - began)
        self._on_gathered(*sums)

    def tell(self, kind: bytes) -> None:
        """Send a frame without content."""
        with self._sending:
            self._send_gathered()
            self._stream.write(kind)

    def order(self, kind: bytes, told: dict[str, Any]) -> None:
        """Send a frame whose content is a JSON object."""
        data = json.dumps(told).encode()
        with self._sending:
            self._send_gathered()
            self._stream.write(kind + struct.pack(">I", len(data)) + data)

    def close(self) -> None:
        """Close the channel; wakes whatever waits on it."""
        self._ended.set()
        self._stream.close()

    def _live(self) -> None:
        while not self._ended.wait(LIFE_S):
            # Whoever holds the lock is sending, which is sign of life enough.
            if self._sending.acquire(blocking=False):
                try:
                    self._stream.write(b"P")
                except SealiftError:
                    return
                finally:
                    self._sending.release()

    def _read(self, on_answer: Callable[[dict[str, Any]], bool], on_problem: Callable[[BaseException], None]) -> None:
        try:
            while not on_answer(self._answer(self.silence_s)):
                if self.stuck_s is not None and time.monotonic() - self._moved_at > self.stuck_s:
                    raise self._stuck()
        except BaseException as problem:  # noqa: B036 - handed to the sending thread, which raises it
            on_problem(problem)
        finally:
            self._ended.set()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            answer = json.loads(self._lines.next(timeout_s))
            if not isinstance(answer, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise not_agreed(self._server) from None
        if "error" in answer:
            raise named(self._server, self._store, str(answer["error"])[:100], answer)
        return answer
