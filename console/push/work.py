"""What is still to be sent to one server, and who is sending it."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable

from console.errors import SealiftError
from console.push.connection import SourceFile
from console.push.manifest import LANE_BYTES, PushPlan, Source
from console.push.problems import SOURCE_DAMAGED, WRONG_BYTES

SPAN_BYTES = 32 << 20
TRIES_A_CHUNK = 3
Span = tuple[int, tuple[int, ...]]
"""A file's number, and indices of chunks of it."""


class Work:
    """The chunks that the server lacks. Safe from several threads.

    Attributes:
        verified: bytes that the server has and has hashed.
        held: whether nothing is handed out for now.
        shared: whether another server may feed it as well, so that chunks come that were not sent from here.
    """

    def __init__(self, server: str, plan: PushPlan):
        self._server, self._plan, self._changed = server, plan, threading.Condition()
        self._small: deque[Span] = deque()
        self._big: deque[Span] = deque()
        self._sent: set[tuple[int, int]] = set()
        self._open: set[tuple[int, int]] = set()
        self._lent: set[tuple[int, int]] = set()
        self._tries: dict[tuple[int, int], int] = {}
        self.shared = self.held = False
        self.verified = plan.bytes_total

    def lacking(self, missing: Iterable[tuple[int, int]]) -> None:
        """These chunks are to be sent."""
        with self._changed:
            fresh = [key for key in missing if key not in self._open]
            self._open.update(fresh)
            self._put(fresh)
            self.verified = self._plan.bytes_total - sum(self._plan.length(*key) for key in self._open)
            self._changed.notify_all()

    def _put(self, keys: Iterable[tuple[int, int]]) -> None:
        span: list[int] = []
        number, length = -1, 0
        for n, i in sorted(keys):
            if n != number or length + self._plan.length(n, i) > SPAN_BYTES:
                self._put_span(number, span)
                number, span, length = n, [], 0
            span.append(i)
            length += self._plan.length(n, i)
        self._put_span(number, span)

    def _put_span(self, number: int, span: list[int]) -> None:
        if span:
            big = self._plan.sources[number].entry.size >= LANE_BYTES
            (self._big if big else self._small).append((number, tuple(span)))

    @property
    def big_bytes(self) -> int:
        """What several connections can share."""
        with self._changed:
            return sum(self._plan.length(n, i) for n, span in self._big for i in span)

    def take(self, lane: bool) -> Span | None:
        """The next chunks to send; a lane gets those of big files only."""
        with self._changed:
            if self.held:
                return None
            queue = self._big if lane or not self._small else self._small
            if not queue:
                return None
            while queue:
                number, span = queue.popleft()
                span = tuple(i for i in span if (number, i) in self._open)
                if span:
                    self._sent.update((number, i) for i in span)
                    return number, span
            return None

    def good(self, key: tuple[int, int]) -> bool:
        """The server has verified a chunk; False when it was not asked to."""
        with self._changed:
            if key not in self._sent and not self.shared:
                return False
            self._sent.discard(key)
            self._lent.discard(key)
            if key in self._open:
                self._open.discard(key)
                self.verified += self._plan.length(*key)
            self._changed.notify_all()
            return True

    def bad(self, key: tuple[int, int]) -> None:
        """The server has stored something else than was sent; it is sent again, a few times.

        Raises:
            WorldError: ``push.source-damaged``, ``push.wrong-bytes``.
        """
        source = self._plan.sources[key[0]]
        if not chunk_is_right(source, key[1]):
            raise SOURCE_DAMAGED(path=source.entry.path)
        with self._changed:
            self._tries[key] = self._tries.get(key, 0) + 1
            if self._tries[key] >= TRIES_A_CHUNK:
                raise WRONG_BYTES(server=self._server, path=source.entry.path)
            self._again([key])

    def give_back(self, keys: Iterable[tuple[int, int]]) -> None:
        """Whoever was to send these will not."""
        with self._changed:
            self._again([key for key in keys if key in self._sent])

    def lend(self) -> None:
        """Another server sends what is not under way yet."""
        with self._changed:
            waiting = [(number, i) for queue in (self._small, self._big) for number, span in queue for i in span]
            self._small.clear()
            self._big.clear()
            self._lent.update(key for key in waiting if key in self._open)
            self._sent.update(self._lent)

    def reclaim(self) -> None:
        """What another server was to send is sent from here again."""
        with self._changed:
            keys, self._lent = [key for key in self._lent if key in self._open], set()
            self._again(keys)

    def lent(self, key: tuple[int, int]) -> bool:
        """Whether another server was to send this chunk."""
        with self._changed:
            return key in self._lent

    def is_open(self, key: tuple[int, int]) -> bool:
        """Whether the server lacks this chunk."""
        with self._changed:
            return key in self._open

    @property
    def left(self) -> int:
        """Bytes that the server lacks."""
        return self._plan.bytes_total - self.verified

    def lacks(self) -> list[list[int]]:
        """Ranges of chunks that the server lacks, counted over all files: ``[[first, last], …]``."""
        with self._changed:
            numbers = sorted(self.every(key) for key in self._open)
        found: list[list[int]] = []
        for number in numbers:
            if found and found[-1][1] == number - 1:
                found[-1][1] = number
            else:
                found.append([number, number])
        return found

    def every(self, key: tuple[int, int]) -> int:
        """A chunk's number over all files."""
        return self._plan.first[key[0]] + key[1]

    def _again(self, keys: list[tuple[int, int]]) -> None:
        self._sent.difference_update(keys)
        self._put(keys)
        self._changed.notify_all()

    @property
    def done(self) -> bool:
        """Whether every chunk was verified."""
        with self._changed:
            return not self._open

    def wait(self, timeout_s: float = 1.0) -> None:
        """Wait for something to change; returns at once when there is something to take, or nothing left."""
        with self._changed:
            if self._open and not self._small and not self._big:
                self._changed.wait(timeout_s)

    def wait_for_change(self, timeout_s: float = 0.25) -> None:
        """Wait for something to change."""
        with self._changed:
            if self._open:
                self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()


def chunk_is_right(source: Source, index: int) -> bool:
    """Whether the desktop's own copy of a chunk is what was signed."""
    (digest, length), real, file = source.entry.chunks[index], hashlib.sha256(), SourceFile()
    try:
        for piece in file.pieces(source.place, source.entry.path, source.offsets[index], length):
            real.update(piece)
    except SealiftError:
        return False
    finally:
        file.close()
    return real.hexdigest() == digest
