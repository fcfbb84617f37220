"""Asking servers what they are: one script a server, many servers at a time, raw evidence kept.

What is stored is the evidence. Values are parsed from it on the way out by the same pure parsers, so an inventory
from years ago gives the same facts on an auditor's desk.
"""

from __future__ import annotations

import secrets as random_tokens
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from console import accelerators, facts
from console.accelerators.device import Device
from console.errors import Cancelled, SealiftError, WorldError, code
from console.events import Changed
from console.facts.fact import Fact
from console.facts.os import BOOT
from console.i18n import N_, Said
from console.servers import crew, framing
from console.servers.bastions import Bastions
from console.servers.record import ServerRecord
from console.servers.results import FactResult, judge
from console.store import servers as table
from console.transport.ssh import SshStream, SshTransport
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine
    from console.servers.differences import Difference

GRACE_S = 4.0
"""How long after its own limit a command may still hold the script up before the script is started anew behind it."""

CUT_BYTES = 64 << 10
"""What is kept of an output that is too long to be read."""

INVENTORY_BYTES = 16 << 20
"""What the outputs of one server may come to; beyond it, the longest commands are cut as if each had said too much."""

BEGIN_S = 30.0
"""How long a shell may take to start, and to go from one command to the next."""

SERVER_LIMIT_S = 300.0
MAX_RESTARTS = 16
SETTLE_S = 0.02
"""The answers come in many small pieces; to be woken for each costs more than to read them."""

END_S = 1.0
"""How long the end of both streams may take once the script has said that it is done."""

NO_SHELL = code("inventory.no-shell", WorldError,
                N_("{server} did not run the inventory script: {reason}."),
                N_("The account needs a POSIX shell, and no forced command, restricted shell or message at log-in that "
                   "ends the session."))


@dataclass(frozen=True)
class InventoryRecord:
    """What one server answered at one time. ``error`` is that of ``SealiftError.kept`` when not reached."""

    server: str
    taken_at: str
    reached: bool
    error: dict[str, Any] | None = None
    facts: dict[str, FactResult] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()


@lru_cache(maxsize=1)
def known_facts() -> tuple[Fact, ...]:
    """Every fact that is asked of a server: the general ones and those of each vendor; ids are unique."""
    found: dict[str, Fact] = {}
    for fact in (*facts.all_facts(), *(f for vendor in accelerators.vendors() for f in vendor.facts)):
        found.setdefault(fact.id, fact)
    return tuple(found.values())


class InventoryService:
    """Takes, keeps and compares inventories.

    Attributes:
        gentle: set by a front end whose own thread must get its turn while a fleet answers.
    """

    def __init__(self, engine: Engine):
        self._engine, self.gentle = engine, False
        self._read_before: dict[tuple[str, bool], tuple[int, InventoryRecord]] = {}
        self._changes: dict[str, tuple[str, list[Difference]]] = {}

    def refresh(self, ctx, names: Sequence[str] = (), *, full: bool = False) -> dict[str, InventoryRecord]:
        """Ask the servers named (none: all) and keep what they answer. Each result is published as it arrives; a
        server that cannot be reached is a result too. A cancel leaves what has been kept so far.

        What cannot change while a server runs is asked once for each of its starts, or again with ``full``.
        """
        records = self._engine.servers.select(list(names))
        run, done, threads = _Run(full), {}, self._engine.settings.get("inventory.threads")
        with ctx.on_cancel(run.close):
            try:
                answers = crew.results(records, lambda record, turn: self._one(record, run, turn), threads, name="inventory",
                                       checkpoint=ctx.checkpoint, pace=crew.Pace(threads) if self.gentle else None)  # fmt: skip
                for number, taken in enumerate(answers, 1):
                    done[taken.server] = self._tell(ctx, taken)
                    ctx.progress(number, len(records), "servers")
            finally:
                # After a cancel, threads that still wait for a server end by themselves, and keep nothing any more.
                run.close()
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

    def previous(self, name: str) -> InventoryRecord | None:
        """The last inventory but one of those that reached the server."""
        rows = table.inventories(self._engine.store, name, 2, True)
        return _of_row(name, rows[1]) if len(rows) > 1 else None

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

    def _one(self, record: ServerRecord, run: _Run, turn: crew.Turn) -> InventoryRecord:
        try:
            before = None if run.full else self.latest(record.name, reached=True)
            evidence = self._ask(record, run, before, turn)
        except SealiftError as problem:
            taken = InventoryRecord(record.name, utc_now(), False, problem.kept())
            run.checkpoint()
            table.add_inventory(self._engine.store, record.name, taken.taken_at, False, taken.error, {})
            return taken
        run.checkpoint()
        return self._keep(record.name, evidence)

    def _keep(self, name: str, evidence: dict[str, dict]) -> InventoryRecord:
        from console.servers.differences import differences

        before, taken_at = self.latest(name, reached=True), utc_now()
        number, taken = table.add_inventory(self._engine.store, name, taken_at, True, None, evidence), from_evidence(name, taken_at, evidence)
        if number is not None:
            self._read_before[name, True] = self._read_before[name, False] = number, taken
        changes = differences(before, taken) if before else []
        self._changes[name] = taken_at, changes
        if changes:
            self._engine.audit.append("node.inventory-changed", obj={"kind": "server", "id": name, "digest": None},
                                      detail={"changes": [c.as_dict() for c in changes][:100]})
        return taken

    def _ask(self, record: ServerRecord, run: _Run, before: InventoryRecord | None, turn: crew.Turn) -> dict[str, dict]:
        link = run.add(self._engine.servers.connect(record.name, bastions=run.bastions, heard=turn.heard))
        try:
            return gather(link, known_facts(), root=_root_way(record, self._engine.servers.credentials),
                          known=_lasting(before), store=record.store)
        finally:
            link.close()


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
    """What the threads of one inventory share: the connections that are open, and whether it is over."""

    def __init__(self, full: bool) -> None:
        self.full, self.bastions = full, Bastions(self.add)
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
        for link in links:
            link.close()


@dataclass(frozen=True)
class Known:
    """Evidence by fact id that holds for one start of a server, which is named by its boot id."""

    boot: str = ""
    evidence: dict[str, dict] = field(default_factory=dict)


def gather(link: SshTransport, wanted: Iterable[Fact], *, root: str = "none", limit_s: float = SERVER_LIMIT_S,
           known: Known = Known(), store: str = ServerRecord.store) -> dict[str, dict]:  # noqa: B008
    """Run the facts' commands on a server; gives the evidence by fact id. What is ``known`` for the start that the
    server is in is taken over.

    All travel as one script over one channel; those that need root as a second one, under sudo. A command that hangs
    past its time, even unkillably, costs its own answer: the script is started anew behind it. What goes wrong with sudo
    costs what needs root.

    Args:
        root: how commands that need root are run: ``direct``, ``sudo``, or not: ``none``, ``no-password``.
        store: the folder for models, of which some facts tell.

    Raises:
        WorldError: the connection broke, or the account cannot run the script.
    """
    deadline, numbered = time.monotonic() + limit_s, [(n, f) for n, f in enumerate(wanted) if not f.of]
    plain = [(n, f) for n, f in numbered if not f.needs_root or root == "direct"]
    as_root = [(n, f) for n, f in numbered if f.needs_root and root != "direct"]
    commands = [replace(_command(n, f), lasting=f.id in known.evidence) if f.lasting else _command(n, f) for n, f in plain]
    frames = _run_all(link, commands, False, deadline, known.boot, store)
    refused = None
    if as_root and root == "sudo":
        try:
            frames |= _run_all(link, [_command(n, f) for n, f in as_root], True, deadline)
        except SealiftError as problem:
            if not link.alive:
                raise
            refused = problem
    _cut_to_size(frames)
    missing = "no-sudo-password" if root == "no-password" else "needs-root"
    return {fact.id: known.evidence[fact.id] if number in frames and frames[number].kept and fact.id in known.evidence
            else _evidence(fact, frames.get(number), refused, missing) for number, fact in numbered}


def _cut_to_size(frames: dict[int, framing.Frame]) -> None:
    """Keep little of what is too long for any reader, and of all together no more than a server can be worth."""
    total = 0
    for frame in sorted(frames.values(), key=lambda frame: len(frame.stdout)):
        total += len(frame.stdout)
        frame.truncated |= total > INVENTORY_BYTES
        if frame.truncated:
            del frame.stdout[CUT_BYTES:]


@lru_cache(maxsize=512)
def _command(number: int, fact: Fact) -> framing.Command:
    return framing.Command(number, tuple(fact.argv), fact.timeout_s, needs=fact.needs, files=fact.files, whole=fact.whole,
                           inline=fact.inline, quiet=fact.quiet, lasting=fact.lasting)


def full_script(boundary: str) -> bytes:
    """The whole inventory as one shell script, as root runs it."""
    return framing.script(framing.together([_command(n, f) for n, f in enumerate(known_facts()) if not f.of]), boundary)


def _evidence(fact: Fact, frame: framing.Frame | None, refused: SealiftError | None, missing: str) -> dict[str, Any]:
    if frame is None:
        told = {"refused": refused.kept()} if refused and fact.needs_root else {}
        return {"argv": list(fact.argv), "exit_code": None, "stdout": "", "stderr": refused.message() if told else "", "duration_s": None,
                "truncated": False, "outcome": missing if fact.needs_root else "not-run"} | told
    outcome = "absent" if frame.absent else "hung-before" if frame.hung else "ran" if frame.ended or frame.truncated else "hung"
    return {"argv": list(fact.argv), "exit_code": frame.exit_code, "stdout": _text(frame.stdout),
            "stderr": _text(frame.stderr), "duration_s": frame.duration_s, "truncated": frame.truncated,
            "outcome": outcome}


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _run_all(link: SshTransport, commands: list[framing.Command], sudo: bool, deadline: float,
             start: str = "", store: str = "") -> dict[int, framing.Frame]:
    frames: dict[int, framing.Frame] = {}
    for _start in range(MAX_RESTARTS):
        left = [c for c in commands if c.number not in frames]
        if not left or time.monotonic() > deadline:
            break
        # Where one of the files hangs or is too long, each is read by itself the next time.
        left = framing.apart(left) if framing.FILES in frames else framing.together(left)
        try:
            got, finished = _run_script(link, left, sudo, deadline, start, store, _hung(commands, frames))
        except SealiftError:
            # Commands that nothing can end use up the sessions that a server allows; what was heard before is kept.
            if not frames or not link.alive:
                raise
            break
        frames |= got
        if (finished and framing.FILES not in got) or not got:
            break
    frames.pop(framing.FILES, None)
    return frames


def _hung(commands: list[framing.Command], frames: dict[int, framing.Frame]) -> set[str]:
    """The programs that did not end, not even when told to."""
    stuck = {number for number, frame in frames.items() if not frame.ended and not frame.truncated}
    return {c.needs or c.argv[0] for c in commands if c.number in stuck and not c.files} - {"sh"}


def _run_script(link: SshTransport, commands: list[framing.Command], sudo: bool, deadline: float,
                start: str, store: str, hung: set[str]) -> tuple[dict[int, framing.Frame], bool]:
    boundary = random_tokens.token_hex(16)
    reader, stream = framing.Reader(commands, boundary), link.open(("sh", "-s"), sudo=sudo)

    def errors(data: bytes) -> None:
        reader.feed_errors(data)
        if reader.dropped_bytes > framing.SCRIPT_SLACK_BYTES:
            stream.close()  # the read of standard output ends with it

    stream.on_stderr, stream.settle_s = errors, SETTLE_S
    try:
        settings = {"SEALIFT_NOW": f"{time.time():.3f}", "SEALIFT_STORE": store}
        stream.write(framing.script(commands, boundary, start, settings, sorted(hung)))
        stream.close_stdin()
        late = _read_frames(stream, reader, {c.number: c for c in commands}, deadline)
        if reader.finished:
            _read_rest(stream)
    finally:
        stream.close()
    reader.close()
    if not reader.frames and not reader.finished:
        raise NO_SHELL(server=link.server, reason=_last_words(reader, boundary, late))
    return reader.frames, reader.finished


def _last_words(reader: framing.Reader, boundary: str, late: bool) -> str:
    if boundary.encode() in reader.printed:
        return Said(N_("it gave the script back instead of running it"))
    for said in (reader.spoken, reader.printed):
        if lines := _text(said).strip().splitlines():
            return lines[-1][:300]
    return Said(N_("it did not begin within {timeout_s} s"), timeout_s=f"{BEGIN_S:g}") if late else Said(N_("it ended without output"))


def _read_frames(stream: SshStream, reader: framing.Reader, commands: dict[int, framing.Command], deadline: float) -> bool:
    """Read until the script is done, a command overstays or says too much, or the server says more than they may.

    Returns:
        Whether the time was up.
    """
    allowed = sum(c.limit_bytes for c in commands.values()) + framing.SCRIPT_SLACK_BYTES
    opened, number, limit = time.monotonic(), None, BEGIN_S
    while not reader.finished and allowed > 0 and reader.dropped_bytes < framing.SCRIPT_SLACK_BYTES:
        if reader.current is None or reader.current.number != number:
            opened, number = time.monotonic(), reader.current.number if reader.current else None
            limit = commands[number].timeout_s + GRACE_S if number is not None else BEGIN_S
        left = min(opened + limit, deadline) - time.monotonic()
        data = _read(stream, left)
        if not data:
            return time.monotonic() >= min(opened + limit, deadline)
        allowed -= len(data)
        reader.feed(data)
    return False


def _read_rest(stream: SshStream) -> None:
    """The two streams come apart from each other: what is left of standard error arrives by the end of both."""
    end = time.monotonic() + END_S
    while _read(stream, end - time.monotonic()):
        pass


def _read(stream: SshStream, timeout_s: float) -> bytes:
    """Some output; empty at its end and when the time is up."""
    if timeout_s <= 0:
        return b""
    try:
        return stream.read(256 << 10, timeout_s)
    except SealiftError as problem:
        if problem.code != "ssh.timeout":
            raise
        return b""


@lru_cache(maxsize=1)
def _facts_by_id() -> dict[str, Fact]:
    return {fact.id: fact for fact in known_facts()}


_PARSING = threading.Lock()
"""One at a time: the interpreter runs one anyway, and many in wait for it would keep the window's thread out."""


def from_evidence(server: str, taken_at: str, evidence: dict[str, dict]) -> InventoryRecord:
    """Parse stored evidence; facts that this version does not know are passed over."""
    with _PARSING:
        results = {name: judge(fact, evidence.get(name) or evidence[fact.of])
                   for name, fact in _facts_by_id().items() if name in evidence or fact.of in evidence}
        devices = tuple(d for vendor in accelerators.vendors() for d in vendor.devices(results))
    return InventoryRecord(server, taken_at, True, None, results, devices)


def _of_row(server: str, row: dict[str, Any]) -> InventoryRecord:
    if not row["reached"]:
        return InventoryRecord(server, row["taken_at"], False, row["error"])
    return replace(from_evidence(server, row["taken_at"], row["evidence"]), error=row["error"])
