"""Reading servers for the site screen: off the window's thread, a little at a time, nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from ui.models.servers import ServerView

BUDGET_S = 0.15
"""How long one reading of all servers may take; what is left over is read in batches, while the window shows the rest."""
BATCH = 16
"""Servers read at once after that."""


class ServerReader:
    """Makes views of servers. A server whose entry and inventory are as before keeps its view, so nothing is drawn anew."""

    def __init__(self, engine: Any):
        self._engine = engine
        self._views: dict[str, ServerView] = {}
        self._lock = threading.Lock()

    def everything(self, budget_s: float = BUDGET_S) -> tuple[list[ServerView], list[str]]:
        """A view of every server, and the names of those whose inventory there was no time to read."""
        end, found, left = time.monotonic() + budget_s, [], []
        with self._lock:
            records = self._engine.servers.list()
            for record in records:
                late = time.monotonic() > end
                found.append(self._known(record) if late else self._read(record))
                if late:
                    left.append(record.name)
            for name in self._views.keys() - {record.name for record in records}:
                del self._views[name]
        return found, left

    def some(self, names: Iterable[str]) -> list[ServerView]:
        """Views of servers by name; those that are gone meanwhile are left out."""
        wanted = set(names)
        with self._lock:
            return [self._read(record) for record in self._engine.servers.list() if record.name in wanted]

    def _known(self, record: Any) -> ServerView:
        """What is known without reading the inventory."""
        before = self._views.get(record.name)
        if before is None:
            return ServerView(record, read=False)
        if before.record != record:
            before = self._views[record.name] = ServerView(record, before.inventory, before.known, before.changes)
        return before

    def _read(self, record: Any) -> ServerView:
        taken = self._engine.inventory.latest(record.name)
        before = self._views.get(record.name)
        if before is not None and before.inventory is taken and before.record == record:
            return before
        known, changes = taken, ()
        if taken is not None and not taken.reached:
            known = self._engine.inventory.latest(record.name, reached=True)
        elif taken is not None:
            changes = tuple(self._engine.inventory.changes(record.name))
        made = self._views[record.name] = ServerView(record, taken, known, changes)
        # What follows is worked out here, not when the window draws.
        _ = made.state, made.topology, made.summary, made.text, made.memory_bytes
        return made
