"""When Python looks for rubbish: never in the middle of something, for hundreds of inventories make that half a second.

The quick collections of young objects stay as they are. The full one, which halts every thread while it walks all objects,
comes when nothing is running and nobody is at the pointer, or at last after a while.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QPoint, QTimer
from PySide6.QtGui import QCursor

from ui.bridge import Bridge

LOOK_MS = 15_000
AT_LAST = 40
"""Looks after which a full collection is made whatever is going on: ten minutes."""
NEVER = 1 << 30
ENOUGH = 10
"""Collections of the middle generation after which Python would make a full one by itself."""


class Rubbish(QObject):
    """Takes the full collections into its own hands until :meth:`stop`."""

    def __init__(self, bridge: Bridge):
        super().__init__(bridge)
        self._bridge, self._before = bridge, gc.get_threshold()
        self._where, self._looks, self._quiet = QPoint(), 0, False
        gc.freeze()  # what stands at the start stays to the end
        gc.set_threshold(self._before[0], self._before[1], NEVER)
        self._timer = QTimer(self, interval=LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._timer.start()

    def look(self) -> bool:
        """Collect when there were two looks in a row at which nothing was going on; whether it did."""
        quiet = not self._bridge.board.running() and QCursor.pos() == self._where
        due = gc.get_count()[2] >= ENOUGH and ((quiet and self._quiet) or self._looks >= AT_LAST)
        self._where, self._quiet, self._looks = QCursor.pos(), quiet, 0 if due else self._looks + 1
        if due:
            gc.collect()
        return due

    def stop(self) -> None:
        """Leave it to Python again."""
        self._timer.stop()
        gc.set_threshold(*self._before)
        gc.unfreeze()
