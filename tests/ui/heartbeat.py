"""Tells how long the window's thread ever went without coming back to its event loop, and what it was doing then."""

from __future__ import annotations

import contextlib
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
    """A time without a heartbeat: how long, how much of it the thread itself was computing, and where it stood."""

    wall_s: float
    cpu_s: float
    where: str


class Heartbeat(QObject):
    """Beats in the thread that makes it; a second thread looks where that thread stands when a beat is late."""

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self.gaps: list[Gap] = []
        self.beats = 0
        self._thread = threading.get_ident()
        self._last, self._cpu = time.perf_counter(), time.thread_time()
        self._where = ""
        self._over = threading.Event()
        self._timer = QTimer(self, interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()
        self._watcher = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._watcher.start()

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        if now - self._last > LONG_S / 2:
            self.gaps.append(Gap(now - self._last, cpu - self._cpu, self._where))
        self._last, self._cpu, self._where = now, cpu, ""
        self.beats += 1

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            if time.perf_counter() - self._last > LONG_S / 2 and not self._where:
                frame = sys._current_frames().get(self._thread)
                if frame is not None:
                    self._where = "".join(traceback.format_stack(frame)[-9:])

    @contextlib.contextmanager
    def not_the_window(self) -> Iterator[None]:
        """What a test does in the window's thread is not counted."""
        before, cpu = time.perf_counter(), time.thread_time()
        yield
        self._last += time.perf_counter() - before
        self._cpu += time.thread_time() - cpu

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()
        self._over.set()
        self._watcher.join()

    def longest(self) -> Gap:
        """The longest gap."""
        return max(self.gaps, key=lambda gap: gap.wall_s, default=Gap(0.0, 0.0, ""))

    def busiest(self) -> Gap:
        """The gap in which the thread computed longest, whatever the load of the machine was."""
        return max(self.gaps, key=lambda gap: gap.cpu_s, default=Gap(0.0, 0.0, ""))
