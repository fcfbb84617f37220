"""Deadlines for calls that know none: one thread watches over all of them."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator


class _Watch:
    """Calls what is due. Its thread lives while there is something to watch over; a thread for each call would cost more than
    most of the calls."""

    def __init__(self) -> None:
        self._changed, self._count = threading.Condition(), itertools.count()
        self._due: list[tuple[float, int]] = []
        self._calls: dict[int, Callable[[], object]] = {}
        self._runs = False

    def add(self, span_s: float, call: Callable[[], object]) -> int:
        with self._changed:
            number = next(self._count)
            heapq.heappush(self._due, (time.monotonic() + span_s, number))
            self._calls[number] = call
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._watch, daemon=True, name="deadlines").start()
            elif self._due[0][1] == number:
                self._changed.notify()
        return number

    def drop(self, number: int) -> None:
        with self._changed:
            self._calls.pop(number, None)
            # What was dropped stays in the heap until it is due, unless that is most of it.
            if len(self._due) > 64 + 2 * len(self._calls):
                self._due = [entry for entry in self._due if entry[1] in self._calls]
                heapq.heapify(self._due)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][1] not in self._calls:
                    heapq.heappop(self._due)
                if not self._due:
                    self._changed.wait(LINGER_S)
                    if not self._due:
                        self._runs = False
                        return
                    continue
                left = self._due[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                call = self._calls.pop(heapq.heappop(self._due)[1], None)
            if call is not None:
                # Closing what hangs may hang itself; the others must be watched over all the same.
                threading.Thread(target=call, daemon=True, name="deadline").start()


LINGER_S = 5.0
"""How long the thread waits for more to watch over."""

_WATCH = _Watch()


@contextlib.contextmanager
def deadline(span_s: float, call: Callable[[], object]) -> Iterator[None]:
    """``call`` is called in another thread when the block has not ended within ``span_s``."""
    number = _WATCH.add(span_s, call)
    try:
        yield
    finally:
        _WATCH.drop(number)
