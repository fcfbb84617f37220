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
OPEN, SENT, LENT = 1, 2, 4
Span = tuple[int, tuple[int, ...]]
"""A file's number, and indices of chunks of it."""

Run = tuple[int, int]
"""The first and the last of consecutive chunks, by their numbers over all files."""


class Work:
    """The chunks that the server lacks. Safe from several threads. Keeps a byte a chunk: a release may have 100,000 files.

    Attributes:
        verified: bytes that the server has and has hashed.
        held: whether nothing is handed out for now.
        shared: whether another server may feed it as well, so that chunks come that were not sent from here.
    """

    def __init__(self, server: str, plan: PushPlan):
        self._server, self._plan, self._changed = server, plan, threading.Condition()
        self._small: deque[Run] = deque()
        self._big: deque[Run] = deque()
        self._state, self._open = bytearray(plan.first[-1]), 0
        self._tries: dict[int, int] = {}
        self.shared = self.held = False
        self.verified = plan.bytes_total

    def lacking(self, missing: Iterable[Run]) -> None:
        """These chunks are to be sent."""
        with self._changed:
            fresh = [every for first, last in missing for every in range(first, last + 1) if not self._state[every] & OPEN]
            for every in fresh:
                self._state[every] |= OPEN
                self.verified -= self._length(every)
            self._open += len(fresh)
            self._put(fresh)
            self._changed.notify_all()

    def _length(self, every: int) -> int:
        return self._plan.length(*self._plan.key(every))

    def _put(self, chunks: Iterable[int]) -> None:
        """Queue chunks as runs. One of a big file holds what a connection takes at once; small files share theirs."""
        first = last = length = -1
        before, queue = -1, self._small
        for every in sorted(chunks):
            number, _ = self._plan.key(every)
            big = self._plan.sources[number].entry.size >= LANE_BYTES
            size = self._length(every)
            if every != last + 1 or first < 0 or (big or queue is self._big) and (number != before or length + size > SPAN_BYTES):
                if first >= 0:
                    queue.append((first, last))
                first, length = every, 0
            queue = self._big if big else self._small
            before, last, length = number, every, length + size
        if first >= 0:
            queue.append((first, last))

    @property
    def big_bytes(self) -> int:
        """What several connections can share."""
        with self._changed:
            return sum(self._length(every) for first, last in self._big for every in range(first, last + 1))

    def take(self, lane: bool) -> Span | None:
        """The next chunks to send; a lane gets those of big files only."""
        with self._changed:
            if self.held:
                return None
            queue = self._big if lane or not self._small else self._small
            while queue:
                first, last = queue.popleft()
                number, index = self._plan.key(first)
                end = min(last, self._plan.first[number + 1] - 1)
                if end < last:
                    queue.appendleft((end + 1, last))
                span = [every for every in range(first, end + 1) if self._state[every] & OPEN]
                if span:
                    for every in span:
                        self._state[every] |= SENT
                    return number, tuple(every - first + index for every in span)
            return None

    def good(self, key: tuple[int, int]) -> bool:
        """The server has verified a chunk; False when it was not asked to."""
        with self._changed:
            if not 0 <= key[1] < len(self._plan.sources[key[0]].entry.chunks):
                return False
            every = self.every(key)
            state = self._state[every]
            if not state & SENT and not self.shared:
                return False
            self._state[every] = 0
            if state & OPEN:
                self._open -= 1
                self.verified += self._plan.length(*key)
            self._changed.notify_all()
            return True

    def bad(self, key: tuple[int, int]) -> None:
        """The server has stored something else than was sent; it is sent again, a few times.

        Raises:
            WorldError: ``push.source-damaged``, ``push.wrong-bytes``.
        """
        source, every = self._plan.sources[key[0]], self.every(key)
        if not chunk_is_right(source, key[1]):
            raise SOURCE_DAMAGED(path=source.entry.path)
        with self._changed:
            self._tries[every] = self._tries.get(every, 0) + 1
            if self._tries[every] >= TRIES_A_CHUNK:
                raise WRONG_BYTES(server=self._server, path=source.entry.path)
            self._again([every])

    def give_back(self, keys: Iterable[tuple[int, int]]) -> None:
        """Whoever was to send these will not."""
        with self._changed:
            self._again([every for every in map(self.every, keys) if self._state[every] & SENT])

    def lend(self) -> None:
        """Another server sends what is not under way yet."""
        with self._changed:
            for first, last in (*self._small, *self._big):
                for every in range(first, last + 1):
                    if self._state[every] & OPEN:
                        self._state[every] |= LENT | SENT
            self._small.clear()
            self._big.clear()

    def reclaim(self) -> None:
        """What another server was to send is sent from here again."""
        with self._changed:
            lent = [every for every, state in enumerate(self._state) if state & LENT]
            for every in lent:
                self._state[every] &= ~LENT
            self._again([every for every in lent if self._state[every] & OPEN])

    def fed(self, key: tuple[int, int]) -> bool:
        """Whether a chunk that comes now comes from another server: nobody here has sent it. Whether another server was meant to
        says less, for the first chunks are there before we hear that it feeds, and the last after its hop has ended."""
        with self._changed:
            state = self._state[self.every(key)]
            return bool(state & OPEN) and bool(state & LENT or not state & SENT)

    def is_open(self, key: tuple[int, int]) -> bool:
        """Whether the server lacks this chunk."""
        with self._changed:
            return bool(self._state[self.every(key)] & OPEN)

    @property
    def left(self) -> int:
        """Bytes that the server lacks."""
        return self._plan.bytes_total - self.verified

    def lacks(self) -> list[list[int]]:
        """Ranges of chunks that the server lacks, counted over all files: ``[[first, last], …]``."""
        found: list[list[int]] = []
        with self._changed:
            for every, state in enumerate(self._state):
                if not state & OPEN:
                    continue
                if found and found[-1][1] == every - 1:
                    found[-1][1] = every
                else:
                    found.append([every, every])
        return found

    def every(self, key: tuple[int, int]) -> int:
        """A chunk's number over all files."""
        return self._plan.first[key[0]] + key[1]

    def _again(self, chunks: list[int]) -> None:
        for every in chunks:
            self._state[every] &= ~SENT
        self._put(chunks)
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
