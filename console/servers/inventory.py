"""Asking servers what they are: one script a server, many servers at a time, raw evidence kept.

What is stored is the evidence. Values are parsed from it on the way out by the same pure parsers, so an inventory
from years ago gives the same facts on an auditor's desk.
"""

from __future__ import annotations

import secrets as random_tokens
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from console import accelerators, facts
from console.accelerators.device import Device
from console.errors import SealiftError, WorldError, code
from console.events import Changed
from console.facts.fact import Fact
from console.i18n import N_
from console.servers import framing
from console.servers.results import FactResult, judge
from console.store import servers as table
from console.transport.ssh import SshStream, SshTransport
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine
    from console.servers.record import ServerRecord

THREADS = 16
GRACE_S = 4.0
"""How long after its own limit a command may still hold the script up before the script is started anew behind it."""

SERVER_LIMIT_S = 300.0
MAX_RESTARTS = 8

NO_SHELL = code("inventory.no-shell", WorldError,
                N_("{server} did not run the inventory script: {reason}."),
                N_("The account needs a POSIX shell, and no forced command, restricted shell or message at log-in that "
                   "ends the session."))


@dataclass(frozen=True)
class InventoryRecord:
    """What one server answered at one time. ``error`` is that of ``SealiftError.as_dict`` when not reached."""

    server: str
    taken_at: str
    reached: bool
    error: dict[str, Any] | None = None
    facts: dict[str, FactResult] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()


def known_facts() -> tuple[Fact, ...]:
    """Every fact that is asked of a server: the general ones and those of each vendor; ids are unique."""
    found: dict[str, Fact] = {}
    for fact in (*facts.all_facts(), *(f for vendor in accelerators.vendors() for f in vendor.facts)):
        found.setdefault(fact.id, fact)
    return tuple(found.values())


class InventoryService:
    """Takes, keeps and compares inventories."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._read_before: dict[tuple[str, bool], tuple[int, InventoryRecord]] = {}

    def refresh(self, ctx, names: Sequence[str] = ()) -> dict[str, InventoryRecord]:
        """Ask the servers named (none: all) and keep what they answer. Each result is published as it arrives; a
        server that cannot be reached is a result too. A cancel leaves what has been kept so far."""
        records = self._engine.servers.select(list(names))
        open_links, done = _OpenLinks(), {}
        with ThreadPoolExecutor(THREADS, "inventory") as pool, ctx.on_cancel(open_links.close):
            waiting = {pool.submit(self._one, record, open_links): record for record in records}
            try:
                for number, ended in enumerate(as_completed(waiting), 1):
                    done[ended.result().server] = self._tell(ctx, ended.result())
                    ctx.progress(number, len(records), "servers")
            except BaseException:
                # The pool is left only when its threads have ended; closing their connections wakes them.
                pool.shutdown(wait=False, cancel_futures=True)
                open_links.close()
                raise
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
            known = number, _read(name, table.inventories(self._engine.store, name, 1, reached)[0])
            self._read_before[name, reached] = known
        return known[1]

    def previous(self, name: str) -> InventoryRecord | None:
        """The last inventory but one of those that reached the server."""
        rows = table.inventories(self._engine.store, name, 2, True)
        return _read(name, rows[1]) if len(rows) > 1 else None

    def _tell(self, ctx, taken: InventoryRecord) -> InventoryRecord:
        detail = {"devices": len(taken.devices)} if taken.reached else {"error": taken.error}
        ctx.server(taken.server).result("reached" if taken.reached else "unreachable", **detail)
        return taken

    def _one(self, record: ServerRecord, open_links: _OpenLinks) -> InventoryRecord:
        try:
            evidence = self._ask(record, open_links)
        except SealiftError as problem:
            taken = InventoryRecord(record.name, utc_now(), False, problem.as_dict())
            table.add_inventory(self._engine.store, record.name, taken.taken_at, False, taken.error, {})
            return taken
        return self._keep(record.name, evidence)

    def _keep(self, name: str, evidence: dict[str, dict]) -> InventoryRecord:
        from console.servers.differences import differences

        before, taken_at = self.latest(name, reached=True), utc_now()
        table.add_inventory(self._engine.store, name, taken_at, True, None, evidence)
        taken = from_evidence(name, taken_at, evidence)
        changes = differences(before, taken) if before else []
        if changes:
            self._engine.audit.append("node.inventory-changed", obj={"kind": "server", "id": name, "digest": None},
                                      detail={"changes": [c.as_dict() for c in changes][:100]})
        return taken

    def _ask(self, record: ServerRecord, open_links: _OpenLinks) -> dict[str, dict]:
        link = open_links.add(self._engine.servers.connect(record.name))
        try:
            return gather(link, known_facts(), root=_root_way(record, self._engine.servers.credentials))
        finally:
            link.close()


def _root_way(record: ServerRecord, credentials) -> str:
    """How commands that need root are run: ``direct``, ``sudo`` or ``none``."""
    if record.user == "root":
        return "direct"
    if record.sudo == "nopasswd" or (record.sudo == "password" and credentials.get("sudo_password", record.name)):
        return "sudo"
    return "none"


class _OpenLinks:
    """The connections of a run, closed together when it is cancelled."""

    def __init__(self) -> None:
        self._links: set[SshTransport] = set()
        self._lock, self._closed = threading.Lock(), False

    def add(self, link: SshTransport) -> SshTransport:
        with self._lock:
            self._links = {known for known in self._links if known.alive} | {link}
            closed = self._closed
        if closed:
            link.close()
        return link

    def close(self) -> None:
        with self._lock:
            self._closed, links = True, tuple(self._links)
        for link in links:
            link.close()


def gather(link: SshTransport, wanted: Iterable[Fact], *, root: str = "none",
           limit_s: float = SERVER_LIMIT_S) -> dict[str, dict]:
    """Run the facts' commands on a server; gives the evidence by fact id.

    All travel as one script over one channel; those that need root as a second one, under sudo. A command that hangs
    past its time, even unkillably, costs its own answer: the script is started anew behind it.

    Raises:
        WorldError: the connection broke, or the account cannot run the script.
    """
    deadline, numbered = time.monotonic() + limit_s, list(enumerate(wanted))
    plain = [(n, f) for n, f in numbered if not f.needs_root or root == "direct"]
    as_root = [(n, f) for n, f in numbered if f.needs_root and root != "direct"]
    frames = _run_all(link, [_command(n, f) for n, f in plain], False, deadline)
    refused = None
    if as_root and root == "sudo":
        try:
            frames |= _run_all(link, [_command(n, f) for n, f in as_root], True, deadline)
        except SealiftError as problem:
            if problem.code != "ssh.sudo-refused":
                raise
            refused = problem.message()
    return {fact.id: _evidence(fact, frames.get(number), refused) for number, fact in numbered}


def _command(number: int, fact: Fact) -> framing.Command:
    return framing.Command(number, tuple(fact.argv), fact.timeout_s)


def _evidence(fact: Fact, frame: framing.Frame | None, refused: str | None) -> dict[str, Any]:
    missing = "needs-root" if fact.needs_root else "not-run"
    if frame is None:
        return {"argv": list(fact.argv), "exit_code": None, "stdout": "", "stderr": refused or "", "duration_s": None,
                "truncated": False, "outcome": missing}
    outcome = "absent" if frame.absent else "ran" if frame.ended else "hung"
    return {"argv": list(fact.argv), "exit_code": frame.exit_code, "stdout": _text(frame.stdout),
            "stderr": _text(frame.stderr), "duration_s": frame.duration_s, "truncated": frame.truncated,
            "outcome": outcome}


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _run_all(link: SshTransport, commands: list[framing.Command], sudo: bool,
             deadline: float) -> dict[int, framing.Frame]:
    frames: dict[int, framing.Frame] = {}
    for _start in range(MAX_RESTARTS):
        left = [c for c in commands if c.number not in frames]
        if not left or time.monotonic() > deadline:
            break
        got, finished = _run_script(link, left, sudo, deadline)
        frames |= got
        if finished or not got:
            break
    return frames


def _run_script(link: SshTransport, commands: list[framing.Command], sudo: bool,
                deadline: float) -> tuple[dict[int, framing.Frame], bool]:
    boundary = random_tokens.token_hex(16)
    reader, errors = framing.Reader(commands, boundary), bytearray()
    most = sum(framing.STDERR_LIMIT_BYTES + 400 for _ in commands)
    stream = link.open(("sh", "-s"), sudo=sudo)
    stream.on_stderr = lambda data: errors.extend(data[: max(0, most - len(errors))])
    try:
        stream.write(framing.script(commands, boundary))
        stream.close_stdin()
        _read_frames(stream, reader, {c.number: c for c in commands}, deadline)
    finally:
        stream.close()
    reader.close()
    if not reader.frames and not reader.finished:
        raise NO_SHELL(server=link.server, reason=_last_words(bytes(errors)))
    for number, text in framing.split_errors(bytes(errors), boundary).items():
        if number in reader.frames:
            reader.frames[number].stderr = text
    return reader.frames, reader.finished


def _last_words(raw: bytes) -> str:
    lines = _text(raw[-2000:]).strip().splitlines()
    return lines[-1] if lines else "it ended without output"


def _read_frames(stream: SshStream, reader: framing.Reader, commands: dict[int, framing.Command],
                 deadline: float) -> None:
    """Read until the script is done, a command overstays, or the server says more than the commands may."""
    allowed = sum(c.limit_bytes for c in commands.values()) + framing.SCRIPT_SLACK_BYTES
    opened, number, limit = time.monotonic(), None, 30.0
    while not reader.finished and allowed > 0:
        if reader.current is None or reader.current.number != number:
            opened, number = time.monotonic(), reader.current.number if reader.current else None
            limit = commands[number].timeout_s + GRACE_S if number is not None else 30.0
        left = min(opened + limit, deadline) - time.monotonic()
        try:
            data = stream.read(256 << 10, max(0.0, left)) if left > 0 else b""
        except SealiftError as problem:
            if problem.code != "ssh.timeout":
                raise
            data = b""
        if not data:
            return
        allowed -= len(data)
        reader.feed(data)


@lru_cache(maxsize=1)
def _facts_by_id() -> dict[str, Fact]:
    return {fact.id: fact for fact in known_facts()}


def from_evidence(server: str, taken_at: str, evidence: dict[str, dict]) -> InventoryRecord:
    """Parse stored evidence; facts that this version does not know are passed over."""
    by_id = _facts_by_id()
    results = {name: judge(by_id[name], seen) for name, seen in evidence.items() if name in by_id}
    devices = tuple(d for vendor in accelerators.vendors() for d in vendor.devices(results))
    return InventoryRecord(server, taken_at, True, None, results, devices)


def _read(server: str, row: dict[str, Any]) -> InventoryRecord:
    if not row["reached"]:
        return InventoryRecord(server, row["taken_at"], False, row["error"])
    return replace(from_evidence(server, row["taken_at"], row["evidence"]), error=row["error"])
