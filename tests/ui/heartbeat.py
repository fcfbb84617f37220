"""Tells how long the window's thread ever went without coming back to its event loop, and what it was doing then."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, QTimer

BEAT_MS = 4
SAMPLE_S = 0.01
LONG_S = 0.05


@dataclass(frozen=True)
class Gap:
    """A time without a heartbeat: how long, how much of it the thread itself was computing, how much it waited, ready to compute, for a
    processor that others had (where the system tells, else 0), and where it stood."""

    wall_s: float
    cpu_s: float
    starved_s: float
    where: str


NO_GAP = Gap(0.0, 0.0, 0.0, "")


def _account() -> int | None:
    """The system's account of this thread's time, opened: computed, waited ready to compute (ns), and more."""
    try:
        return os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    except OSError:
        return None


class Heartbeat(QObject):
    """Beats in the thread that makes it; a second thread looks where that thread stands when a beat is late."""

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self.gaps: list[Gap] = []
        self.beats = 0
        self._thread = threading.get_ident()
        self._account = _account()
        self._last, self._cpu, self._starved = time.perf_counter(), time.thread_time(), self._starved_s()
        self._where = ""
        self._over = threading.Event()
        self._timer = QTimer(self, interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()
        self._watcher = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._watcher.start()

    def _beat(self) -> None:
        now, cpu, starved = time.perf_counter(), time.thread_time(), self._starved_s()
        if now - self._last > LONG_S / 2:
            self.gaps.append(Gap(now - self._last, cpu - self._cpu, starved - self._starved, self._where))
        self._last, self._cpu, self._starved, self._where = now, cpu, starved, ""
        self.beats += 1

    def _starved_s(self) -> float:
        return int(os.pread(self._account, 64, 0).split()[1]) / 1e9 if self._account is not None else 0.0

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            if time.perf_counter() - self._last > LONG_S / 2 and not self._where:
                frame = sys._current_frames().get(self._thread)
                if frame is not None:
                    self._where = "".join(traceback.format_stack(frame)[-9:])

    @contextlib.contextmanager
    def not_the_window(self) -> Iterator[None]:
        """What a test does in the window's thread is not counted."""
        before, cpu, starved = time.perf_counter(), time.thread_time(), self._starved_s()
        yield
        self._last += time.perf_counter() - before
        self._cpu += time.thread_time() - cpu
        self._starved += self._starved_s() - starved

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()
        self._over.set()
        self._watcher.join()
        if self._account is not None:
            os.close(self._account)

    def longest(self) -> Gap:
        """The longest gap."""
        return max(self.gaps, key=lambda gap: gap.wall_s, default=NO_GAP)

    def slowest(self) -> Gap:
        """The longest gap, times not counted in which there was no processor for the thread."""
        return max(self.gaps, key=lambda gap: gap.wall_s - gap.starved_s, default=NO_GAP)

    def busiest(self) -> Gap:
        """The gap in which the thread computed longest, whatever the load of the machine was."""
        return max(self.gaps, key=lambda gap: gap.cpu_s, default=NO_GAP)
