"""When Python looks for rubbish: only in the window's thread, between two events.

A collection that happens to start in a worker's thread would destroy Qt objects there, in the middle of whatever the window
does with them, and end the program. So the automatic collections are switched off, and the window's thread makes them from a
timer: the quick ones of young objects as often as there is something to look at; the full one, which halts every thread
while it walks all objects (hundreds of inventories make that half a second), when nothing is running and nobody is at the
pointer, or at last after a while.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QPoint, QTimer
from PySide6.QtGui import QCursor

from ui.bridge import Bridge

YOUNG_MS = 100
YOUNG_OBJECTS = 2_000
"""New container objects that are worth a quick look."""
LOOK_MS = 15_000
AT_LAST = 40
"""Looks after which a full collection is made whatever is going on: ten minutes."""
FEW = 3
"""Quick looks after which what survived them is looked at too. Python's own ten would let the objects of dozens of inventories come
together, and hold the window up for 40 ms and more."""
ENOUGH = 10
"""Collections of the middle generation after which a full one is worth it, as Python itself counts."""


class Rubbish(QObject):
    """Takes the collections into its own hands until :meth:`stop`; made and stopped in the window's thread."""

    def __init__(self, bridge: Bridge):
        super().__init__(bridge)
        self._bridge, self._was_on = bridge, gc.isenabled()
        self._where, self._looks, self._quiet = QPoint(), 0, False
        gc.freeze()  # what stands at the start stays to the end
        gc.disable()
        self._young = QTimer(self, interval=YOUNG_MS)
        self._young.timeout.connect(self.look_at_the_young)
        self._timer = QTimer(self, interval=LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._young.start()
        self._timer.start()

    def look_at_the_young(self) -> int:
        """Collect the young objects when there are enough of them; the generation looked at, −1 for none."""
        new, middle, _old = gc.get_count()
        if new < YOUNG_OBJECTS:
            return -1
        generation = 1 if middle >= FEW else 0
        gc.collect(generation)
        return generation

    def look(self) -> bool:
        """Make a full collection when there were two looks in a row at which nothing was going on; whether it did."""
        quiet = not self._bridge.board.running() and QCursor.pos() == self._where
        due = gc.get_count()[2] >= ENOUGH and ((quiet and self._quiet) or self._looks >= AT_LAST)
        self._where, self._quiet, self._looks = QCursor.pos(), quiet, 0 if due else self._looks + 1
        if due:
            gc.collect()
        return due

    def stop(self) -> None:
        """Leave it to Python again."""
        self._young.stop()
        self._timer.stop()
        if self._was_on:
            gc.enable()
        gc.unfreeze()
