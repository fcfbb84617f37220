"""Asking servers what they are: one script a server, many servers at a time, raw evidence kept.

What is stored is the evidence. Values are parsed from it on the way out by the same pure parsers, so an inventory
from years ago gives the same facts on an auditor's desk.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from console import accelerators
from console.accelerators.device import Device
from console.errors import Cancelled, SealiftError
from console.events import Changed
from console.facts.fact import Fact
from console.facts.os import BOOT
from console.servers import crew
from console.servers.asker import Asker
from console.servers.bastions import Bastions
from console.servers.book import Route
from console.servers.gather import Known, gather, known_facts
from console.servers.record import ServerRecord
from console.servers.results import Answers, FactResult
from console.store import servers as table
from console.transport.ssh import SshTransport
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine
    from console.servers.differences import Difference

CONNECT_S = 15.0
"""The deadline of each stage of a connection."""


@dataclass(frozen=True)
class InventoryRecord:
    """What one server answered at one time. ``error`` is that of ``SealiftError.kept`` when not reached."""

    server: str
    taken_at: str
    reached: bool
    error: dict[str, Any] | None = None
    facts: Mapping[str, FactResult] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()


class InventoryService:
    """Takes, keeps and compares inventories.

    Attributes:
        beside_window: set by a front end whose own thread must get its turn while a fleet answers: a process of its own asks then.
    """

    beside_window = False

    def __init__(self, engine: Engine):
        self._engine = engine
        self._read_before: dict[tuple[str, bool], tuple[int, InventoryRecord]] = {}
        self._last_time: dict[str, tuple[int, InventoryRecord]] = {}
        self._changes: dict[str, tuple[str, list[Difference]]] = {}

    def refresh(self, ctx, names: Sequence[str] = (), *, full: bool = False) -> dict[str, InventoryRecord]:
        """Ask the servers named (none: all) and keep what they answer. Each result is published as it arrives; a
        server that cannot be reached is a result too. A cancel leaves what has been kept so far.

        What cannot change while a server runs is asked once for each of its starts, or again with ``full``.
        """
        records = self._engine.servers.select(list(names))
        run, done, threads = _Run(full, Asker() if self.beside_window else None), {}, self._engine.settings.get("inventory.threads")
        with ctx.on_cancel(run.close):
            try:
                if run.asker is not None:
                    run.asker.begin()
                answers = crew.results(records, lambda record, turn: self._one(record, run, turn), threads, name="inventory",
                                       checkpoint=ctx.checkpoint)  # fmt: skip
                for number, (name, evidence, problem) in enumerate(answers, 1):
                    run.checkpoint()
                    done[name] = self._tell(ctx, self._keep(name, evidence) if problem is None else self._keep_unreached(name, problem))
                    ctx.progress(number, len(records), "servers")
            finally:
                # After a cancel, threads that still wait for a server end by themselves, and what they heard is not kept.
                run.close()
                if run.asker is not None:
                    run.asker.wait()
        if done:
            self._engine.events.publish(Changed(None, frozenset({"servers"})))
        return {record.name: done[record.name] for record in records}

    def latest(self, name: str, *, reached: bool = False) -> InventoryRecord | None:
        """The newest inventory of a server, or the newest that reached it; None when there is none."""
        number = table.newest_inventory(self._engine.store, name, reached)
        if number is None:
            return None
        known = self._read_before.get((name, reached))
        if known is None or known[0] != number:
            known = self._read_before.get((name, not reached))  # mostly the newest at all and the newest that reached are one
        if known is None or known[0] != number:
            known = number, _of_row(name, table.inventories(self._engine.store, name, 1, reached)[0])
        self._read_before[name, reached] = known
        return known[1]

    def _before(self, name: str) -> InventoryRecord | None:
        """What :meth:`latest` gives of those that reached the server, to compare with: its answers are read as they are wanted."""
        number = table.newest_inventory(self._engine.store, name, True)
        for known in (self._read_before.get((name, True)), self._last_time.get(name)):
            if known is not None and known[0] == number:
                return known[1]
        rows = table.inventories(self._engine.store, name, 1, True) if number is not None else []
        if not rows:
            return None
        self._last_time[name] = number, _of_row(name, rows[0], compared=True)
        return self._last_time[name][1]

    def previous(self, name: str) -> InventoryRecord | None:
        """The last inventory but one of those that reached the server."""
        rows = table.inventories(self._engine.store, name, 2, True)
        return _of_row(name, rows[1], compared=True) if len(rows) > 1 else None

    def changes(self, name: str) -> list[Difference]:
        """What the newest inventory that reached a server found changed since the one before it."""
        from console.servers.differences import differences

        now = self.latest(name, reached=True)
        known = self._changes.get(name)
        if now is not None and (known is None or known[0] != now.taken_at):
            before = self.previous(name)
            known = self._changes[name] = now.taken_at, differences(before, now) if before else []
        return known[1] if now is not None and known is not None else []

    def _tell(self, ctx, taken: InventoryRecord) -> InventoryRecord:
        detail = ({"devices": len(taken.devices), "changes": len(self.changes(taken.server))} if taken.reached
                  else {"error": taken.error})
        ctx.server(taken.server).result("reached" if taken.reached else "unreachable", **detail)
        return taken

    def _one(self, record: ServerRecord, run: _Run, turn: crew.Turn) -> tuple[str, dict[str, dict], SealiftError | None]:
        """Name, evidence, and why it was not reached."""
        try:
            before = None if run.full else self._before(record.name)
            return record.name, self._ask(record, run, _lasting(before), turn), None
        except SealiftError as problem:
            return record.name, {}, problem

    def _keep_unreached(self, name: str, problem: SealiftError) -> InventoryRecord:
        taken = InventoryRecord(name, utc_now(), False, problem.kept())
        table.add_inventory(self._engine.store, name, taken.taken_at, False, taken.error, {})
        self._last_time.pop(name, None)
        return taken

    def _keep(self, name: str, evidence: dict[str, dict]) -> InventoryRecord:
        from console.servers.differences import differences

        before, taken_at = self._before(name), utc_now()
        number, taken = table.add_inventory(self._engine.store, name, taken_at, True, None, evidence), from_evidence(name, taken_at, evidence)
        if number is not None:
            self._read_before[name, True] = self._read_before[name, False] = number, taken
        changes = differences(before, taken) if before else []
        self._changes[name] = taken_at, changes
        self._last_time.pop(name, None)
        if changes:
            self._engine.audit.append("node.inventory-changed", obj={"kind": "server", "id": name, "digest": None},
                                      detail={"changes": [c.as_dict() for c in changes][:100]})
        return taken

    def _ask(self, record: ServerRecord, run: _Run, known: Known, turn: crew.Turn) -> dict[str, dict]:
        servers, root = self._engine.servers, _root_way(record, self._engine.servers.credentials)
        if run.asker is not None and not servers.holds_leftovers(record.name):
            return self._ask_through(run.asker, record, known, root, turn)
        link = run.add(servers.connect(record.name, bastions=run.bastions, heard=turn.heard, timeout_s=CONNECT_S))
        try:
            return gather(link, known_facts(), root=root, known=known, store=record.store)
        finally:
            link.close()

    def _ask_through(self, asker: Asker, record: ServerRecord, known: Known, root: str, turn: crew.Turn) -> dict[str, dict]:
        servers, name = self._engine.servers, record.name

        def ask(way: Route) -> dict[str, dict]:
            return asker.ask(way, known, root=root, store=record.store, timeout_s=CONNECT_S, heard=turn.heard,
                             logged_in=lambda: servers.logged_in(way),
                             sudo_wrong=lambda: servers.credentials.failed(name, "sudo_password"))

        return servers.over(name, ask)


def _root_way(record: ServerRecord, credentials) -> str:
    """How commands that need root are run, as for :func:`gather`."""
    if record.user == "root":
        return "direct"
    if record.sudo == "password":
        return "sudo" if credentials.get("sudo_password", record.name) else "no-password"
    return "sudo" if record.sudo == "nopasswd" else "none"


def _lasting(before: InventoryRecord | None) -> Known:
    """What need not be asked again of a server that still runs since ``before``."""
    boot = before.facts.get(BOOT) if before else None
    if before is None or boot is None or boot.state != "value":
        return Known()
    kept = {f.id: {"asked_at": before.taken_at} | before.facts[f.id].evidence for f in known_facts()
            if f.lasting and f.id in before.facts and before.facts[f.id].state in ("value", "absent")}
    return Known(boot.value, kept)


class _Run:
    """What the threads of one inventory share: the connections that are open, the process that has others, and whether it is over."""

    def __init__(self, full: bool, asker: Asker | None) -> None:
        self.full, self.asker, self.bastions = full, asker, Bastions(self.add)
        self._links: set[SshTransport] = set()
        self._lock, self._closed = threading.Lock(), False

    def add(self, link: SshTransport) -> SshTransport:
        with self._lock:
            self._links = {known for known in self._links if known.alive} | {link}
            closed = self._closed
        if closed:
            link.close()
        return link

    def checkpoint(self) -> None:
        """Raises Cancelled when nobody waits for answers any more."""
        if self._closed:
            raise Cancelled

    def close(self) -> None:
        with self._lock:
            self._closed, links = True, tuple(self._links)
        if self.asker is not None:
            self.asker.close()
        for link in links:
            link.close()


@lru_cache(maxsize=1)
def _facts_by_id() -> dict[str, Fact]:
    return {fact.id: fact for fact in known_facts()}


def from_evidence(server: str, taken_at: str, evidence: dict[str, dict], *, compared: bool = False) -> InventoryRecord:
    """Parse stored evidence; facts that this version does not know are passed over. What is only ``compared`` with is read as it is
    wanted; else all is, lest a window's thread should do it."""
    answers = Answers({name: (fact, evidence.get(name) or evidence[fact.of])
                       for name, fact in _facts_by_id().items() if name in evidence or fact.of in evidence})
    devices = tuple(d for vendor in accelerators.vendors() for d in vendor.devices(answers))
    return InventoryRecord(server, taken_at, True, None, answers if compared else dict(answers), devices)


def _of_row(server: str, row: dict[str, Any], *, compared: bool = False) -> InventoryRecord:
    if not row["reached"]:
        return InventoryRecord(server, row["taken_at"], False, row["error"])
    return replace(from_evidence(server, row["taken_at"], row["evidence"], compared=compared), error=row["error"])
