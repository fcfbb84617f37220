"""The audit log: chained records in a database of their own, with signed heads over all of them.

A record is committed before the action that it announces starts; if that fails, the action does not start. Guards in
the database stop mistakes, not attackers: what convicts an edit is the chain, the tree and heads kept elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import console
from console.audit import keys, note
from console.audit.files import WRITE, replace
from console.audit.keys import KeyFiles, LogKey
from console.audit.record import MAX_RECORD_BYTES, boot_id, encoded, host, plain
from console.errors import SealiftError, WorldError, code, why
from console.events import Changed
from console.i18n import N_, Said
from console.trust import merkle
from console.trust.canonical import decode
from console.trust.keys import PrivateKey
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine
    from console.site.accounts import Actor

DAMAGED = code(
    "audit.damaged",
    WorldError,
    N_("The audit log does not continue from its own last records: {reason}."),
    N_("Start nothing on this console. Run `sealift audit verify`, keep a copy of the workspace, and tell the auditor."),
)

QUOTA = code(
    "audit.quota",
    WorldError,
    N_("The audit log fills {percent} % of its quota, so nothing new is started; looking, exporting and ending still work."),
    N_("Export the record, then raise the setting audit.quota-bytes on a disk with room for it. Records are never overwritten."),
)

CHECKPOINT_RECORDS, CHECKPOINT_S = 256, 15 * 60
STEP_NS = 5 * 10**9
WARN_PERCENT, STOP_PERCENT = 75, 95
EXPORT_DAYS = 7
ALWAYS = ("audit.", "auth.", "clock.", "storage.", "site.", "config.", "account.passwd", "deploy.step", "deploy.end", "approval.expire")
"""What is recorded above the stop mark too: looking, exporting, ending, and what gives the log room again."""
FULL_CHECK_RECORDS, FULL_CHECK_S = 10_000, 24 * 3600
"""At start, a log of at most so many records is hashed from its beginning, a longer one once a day."""
CHECKPOINT_EVENTS = ("audit.export", "bundle.import", "deploy.end", "approval.grant", "trust.key", "trust.root")
ZERO = "0" * 64

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (seq INTEGER PRIMARY KEY, rec BLOB NOT NULL, leaf BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS edge (size INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'records are never changed'); END;
CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'records are never removed'); END;
CREATE TRIGGER IF NOT EXISTS audit_in_order BEFORE INSERT ON audit
    WHEN NEW.seq != (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'records are only appended'); END;
"""
_SYNCED = Path("/run/systemd/timesync/synchronized")
_DENIED = {
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DROP_INDEX,
}


class AuditLog:
    """The log of one workspace. Append from any thread; one at a time gets through."""

    def __init__(self, engine: Engine):
        """Open the log and check that its tail continues from its last signed head.

        A log that does not is opened all the same, for looking and exporting; ``damage`` says what is wrong with it,
        and every :meth:`append` raises that.

        Raises:
            WorldError: ``audit.write``.
        """
        self._engine, self._lock = engine, threading.RLock()
        self.path = engine.workspace / "audit.db"
        self.files = KeyFiles(engine.workspace, lambda: self.origin, lambda: self.list(limit=1 << 30, event=keys.EVENT)[::-1])
        self._closed, self._timer = False, None
        self._boot = boot_id()
        self._last: dict[str, Any] | None = None
        self._prev, self._edge = ZERO, merkle.Edge()
        self._signed_size, self._signed_at = 0, time.monotonic()
        self._warned, self._copy_failed, self._stepped = 0, False, False
        self.damage: SealiftError | None = None
        self._db = None
        try:
            self._db = _open(self.path)
            self._load()
        except sqlite3.DatabaseError as problem:
            self.damage = DAMAGED(reason=why(problem))
        except SealiftError as problem:
            if problem.code != DAMAGED.code:
                raise
            self.damage = problem
        if self.damage is None:
            self._go_on()

    def _go_on(self) -> None:
        """What every start does with a sound log: finish a rotation, say that it is open, rotate an old key."""
        following = self.files.recover(self._last)
        if following is not None:
            self.checkpoint()
            self.files.take_over(following)
        self.append("audit.open", detail={"records": self._edge.size})
        self.checkpoint()
        days = self._engine.settings.get("audit.key-days")
        if days and datetime.now(UTC) - datetime.fromisoformat(self.files.line()[-1].since) > timedelta(days=days):
            self._rotate(f"the key was in force for more than {days} days")

    # Writing ---------------------------------------------------------------------------------------------------------

    def append(
        self,
        event: str,
        outcome: str = "success",
        *,
        obj: dict[str, Any] | None = None,
        detail: dict[str, Any] | None = None,
        reason: str | None = None,
        corr: str | None = None,
        approvers: tuple[str, ...] = (),
        severity: int | None = None,
        actor: Actor | None = None,
    ) -> int:
        """Commit one record; its number.

        Args:
            outcome: success, failure, denied or error.
            obj: what it is about: kind, id, digest.
            corr: ties request, approvals and outcome together.

        Raises:
            WorldError: ``audit.write``, ``audit.damaged``, ``audit.quota``; then nothing may be started.
        """
        with self._lock:
            if self.damage is not None:
                raise self.damage
            self._watch_quota(event, outcome, detail)
            self._note_clock()
            seq = self._write(event, outcome, obj, detail, reason, corr, approvers, severity, actor)
            if (
                event in CHECKPOINT_EVENTS
                or self._edge.size - self._signed_size >= CHECKPOINT_RECORDS
                or time.monotonic() - self._signed_at > CHECKPOINT_S
            ):
                self.checkpoint()
            self._sign_later()
        self._engine.events.publish(Changed(None, frozenset({"audit"})))
        return seq

    def _sign_later(self) -> None:
        """See that records do not stay without a signed head for longer than a quarter of an hour."""
        if self._timer is None and self._edge.size > self._signed_size and not self._closed:
            self._timer = threading.Timer(CHECKPOINT_S, self._sign_now)
            self._timer.daemon = True
            self._timer.start()

    def _sign_now(self) -> None:
        with self._lock:
            self._timer = None
            if not self._closed and self._edge.size > self._signed_size:
                with contextlib.suppress(SealiftError, sqlite3.Error):  # the next record tries again, and says what is wrong
                    self.checkpoint()

    def new_corr(self) -> str:
        """A fresh tie between records."""
        return secrets.token_hex(8)

    def _write(self, event, outcome, obj, detail, reason, corr, approvers, severity, actor=None) -> int:
        who = actor or self._engine.actor
        seq = self._edge.size + 1
        record = {
            "v": 1,
            "seq": seq,
            "prev": self._prev,
            "ts": utc_now(),
            "mono_ns": time.monotonic_ns(),
            "boot": self._boot,
            "clock": "stepped" if event.startswith("clock.") or self._stepped else "synced" if _SYNCED.exists() else "free",
            "origin": self.origin,
            "event": event,
            "outcome": outcome,
            "severity": severity if severity is not None else {"success": 1, "failure": 4, "denied": 5, "error": 6}[outcome],
            "actor": {"kind": "user", "id": plain(who.id), "role": who.role, "session": who.session, "auth": who.auth},
            "approvers": list(approvers),
            "source": {"host": plain(host()), "app": "sealift", "version": console.__version__, "pid": os.getpid(), "ip": None},
            "object": plain(obj or {"kind": None, "id": None, "digest": None}),
            "reason": reason,
            "corr": corr,
            "detail": plain(detail or {}),
        }
        raw = encoded(record)
        leaf = merkle.leaf_hash(raw)
        try:
            self._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (seq, raw, leaf))
        except sqlite3.Error as problem:
            raise WRITE(reason=why(problem)) from None
        self._edge.add(leaf)
        self._prev, self._last, self._stepped = leaf.hex(), record, event.startswith("clock.")
        return seq

    def _note_clock(self) -> None:
        last = self._last
        if last is None or last["event"].startswith("clock."):
            return
        now, then = datetime.fromisoformat(utc_now()), datetime.fromisoformat(last["ts"])
        moved_ns = int((now - then).total_seconds() * 10**9)
        if last["boot"] == self._boot:
            drift = moved_ns - (time.monotonic_ns() - last["mono_ns"])
            if abs(drift) > STEP_NS:
                self._write("clock.step", "success", None, {"step_ms": drift // 10**6}, None, None, (), 4)
        elif moved_ns < 0:
            self._write("clock.back", "success", None, {"back_ms": -moved_ns // 10**6}, None, None, (), 6)

    # Heads -----------------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """The log's name, site and installation, fixed when its first record is written."""
        file = self._engine.workspace / "audit.origin"
        if not file.exists():
            site = self._engine.site.get()
            replace(file, (site.origin if site else f"console/{secrets.token_hex(4)}").encode("ascii"))
        return file.read_text(encoding="ascii").strip()

    def key(self) -> PrivateKey:
        """The key that signs heads; made with the workspace, readable by its owner only."""
        return self.files.private()

    def verifier_keys(self) -> list[LogKey]:
        """All keys that ever signed heads of this log, oldest first."""
        return self.files.line()

    def verifier_line(self) -> str:
        """The public half as the line that an auditor keeps."""
        return note.verifier_line(self.origin, self.key().public)

    def rotate_key(self, reason: str) -> LogKey:
        """Hand over to a new key and erase the one before it; the key now in force.

        Raises:
            DeniedError: neither admin nor auditor. WorldError: ``audit.write``.
        """
        self._engine.require("admin", "auditor")
        return self._rotate(reason)

    def _rotate(self, reason: str) -> LogKey:
        with self._lock:
            self._note_clock()
            if self.damage is not None:
                raise self.damage
            old, following = self.files.line()[-1], self.files.propose(self._edge.size + 1)
            detail = {"old_key": old.line, "new_key": following.line, "signature": following.signature, "reason": reason}
            self._write(keys.EVENT, "success", {"kind": "key", "id": following.line, "digest": None}, detail, None, None, (), 3)
            self.checkpoint()
            self.files.take_over(following)
        self._engine.events.publish(Changed(None, frozenset({"audit"})))
        return following

    def checkpoint(self) -> note.Head | None:
        """Sign a head over all records, and copy it to the places set for that."""
        with self._lock:
            size = self._edge.size
            if size == 0 or self.damage is not None:
                return self.newest_head()
            head = note.Head(self.origin, size, self._edge.root())
            signed = note.sign(head, self.key())
            with contextlib.suppress(sqlite3.IntegrityError):
                self._db.execute("INSERT INTO edge VALUES (?, ?)", (size, b"".join(self._edge.hashes)))
            with contextlib.suppress(sqlite3.IntegrityError):
                self._db.execute("INSERT INTO checkpoint VALUES (?, ?)", (size, signed))
            self._signed_size, self._signed_at = size, time.monotonic()
            replace(self._engine.workspace / "audit.head", signed)
            self._copy_head(head, signed)
        return head

    def _copy_head(self, head: note.Head, signed: bytes) -> None:
        """A copy elsewhere that cannot be written is recorded once and does not hold up the work."""
        folder = self._engine.settings.get("audit.head-copy")
        if not folder:
            return
        try:
            replace(Path(folder) / copy_name(head.origin), signed)
            self._copy_failed = False
        except SealiftError as problem:
            if not self._copy_failed:
                self._copy_failed = True
                told = {"problem": str(problem), "size": head.size}
                self._write("audit.checkpoint", "failure", {"kind": "folder", "id": folder, "digest": None}, told, problem.code, None, (), 5)

    def newest_head(self) -> note.Head | None:
        """The head that was signed last; None before the first."""
        signed = self.newest_note()
        return note.read(signed) if signed else None

    def newest_note(self) -> bytes | None:
        """The signed note of the newest head, as it is copied elsewhere."""
        with self._lock:
            row = self._db.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone() if self._db else None
        return bytes(row[0]) if row else None

    # Room ------------------------------------------------------------------------------------------------------------

    def standing(self) -> dict[str, Any]:
        """How full the log is and how long ago it was exported.

        Returns:
            ``records``, ``used_bytes``, ``quota_bytes``, ``percent``, ``days_without_export`` (None before the first
            record), ``short_code`` of the newest head, and ``warnings``: codes among ``quota-warn``, ``quota-stop``,
            ``export-due``, ``head-copy-failed``, ``damaged``.
        """
        used, quota, percent = self._used_bytes(), self._engine.settings.get("audit.quota-bytes"), self.percent_used()
        days = self._days_without_export()
        warnings = [word for word, holds in (
            ("damaged", self.damage is not None),
            ("quota-stop", percent >= STOP_PERCENT),
            ("quota-warn", WARN_PERCENT <= percent < STOP_PERCENT),
            ("export-due", days is not None and days >= EXPORT_DAYS),
            ("head-copy-failed", self._copy_failed)) if holds]
        head = self.newest_head() if self.damage is None else None
        return {"records": self.size, "used_bytes": used, "quota_bytes": quota, "percent": percent, "days_without_export": days,
                "short_code": head.short_code if head else None, "warnings": warnings}

    def percent_used(self) -> int:
        """How much of its quota the log fills."""
        return 100 * self._used_bytes() // self._engine.settings.get("audit.quota-bytes")

    def _used_bytes(self) -> int:
        if self._db is None:
            return self.path.stat().st_size
        with self._lock:
            (pages,), (size,) = (self._db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
        return pages * size

    def _days_without_export(self) -> int | None:
        exported = next((r for r in self.list(limit=20, event="audit.export") if r["outcome"] == "success"
                         and r["detail"].get("stage") == "end"), None)
        if exported is None:
            oldest = next(iter(self.records(1, 1)), None)
            exported = decode(oldest[1], max_bytes=MAX_RECORD_BYTES) if oldest else None
        if exported is None:
            return None
        return max(0, (datetime.now(UTC) - datetime.fromisoformat(exported["ts"])).days)

    def _watch_quota(self, event: str, outcome: str, detail: dict[str, Any] | None) -> None:
        """Warn once at each mark; above the second one, let only what looks, exports or ends be recorded."""
        percent = self.percent_used()
        mark = STOP_PERCENT if percent >= STOP_PERCENT else WARN_PERCENT if percent >= WARN_PERCENT else 0
        if mark > self._warned:
            self._warned = mark
            self._write("storage.full" if mark == STOP_PERCENT else "storage.warn", "success",
                        {"kind": "log", "id": self.origin, "digest": None}, {"percent": percent}, None, None, (), 7)
        starts = outcome == "success" and not event.startswith(ALWAYS) and (detail or {}).get("stage") != "end"
        if mark == STOP_PERCENT and starts:
            raise QUOTA(percent=percent)

    # Reading ---------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of records."""
        return self._edge.size

    def records(self, first: int = 1, last: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, rec, leaf) in order, as stored; read in blocks, so that a long log needs no memory."""
        end, at = last if last is not None else self._edge.size, first - 1
        while self._db is not None:
            with self._lock:
                rows = self._db.execute(
                    "SELECT seq, rec, leaf FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 2000", (at, end)
                ).fetchall()
            if not rows:
                return
            yield from rows
            at = rows[-1][0]

    def leaves(self, last: int) -> list[bytes]:
        """The leaf hashes of records 1 to ``last``."""
        with self._lock:
            return [bytes(row[0]) for row in self._db.execute("SELECT leaf FROM audit WHERE seq <= ? ORDER BY seq", (last,))]

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Signed heads by size."""
        with self._lock:
            return self._db.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall() if self._db else []

    def list(self, *, limit: int = 200, event: str | None = None, before: int | None = None) -> list[dict[str, Any]]:
        """Records as values, newest first; ``event`` is a prefix. Records that cannot be read are left out."""
        found: list[dict[str, Any]] = []
        if self._db is None:
            return found
        with self._lock:
            for (raw,) in self._db.execute("SELECT rec FROM audit WHERE seq < ? ORDER BY seq DESC", (before or 1 << 62,)):
                if len(found) >= limit:
                    break
                if event is not None and b'"event":"' + event.encode() not in bytes(raw):
                    continue  # a quick look that spares reading the record; the value below decides
                with contextlib.suppress(SealiftError):
                    record = decode(bytes(raw), max_bytes=MAX_RECORD_BYTES)
                    if event is None or record["event"].startswith(event):
                        found.append(record)
        return found

    def verify(self, known_heads: Iterable[tuple[str, bytes]] = ()) -> dict[str, Any]:
        """Check every record, the chain, the tree, every signed head and every hand-over of the log's key.

        Args:
            known_heads: name and signed note of heads that were kept elsewhere.

        Returns:
            The contract's verdict document. ``failed`` lists each finding with its record.
        """
        from console.audit.check import check_log, unreadable

        with self._lock:
            self.checkpoint()
            if self._db is None:
                return unreadable(self.origin, str(self.damage))
            try:
                document = check_log(self.records(1, 1 << 62), self.checkpoints(), self.origin, self.verifier_keys(),
                                     [*self._kept_heads(), *known_heads])
            except sqlite3.DatabaseError as problem:
                return unreadable(self.origin, str(problem))
        self._mark_checked()
        if self.damage is None:
            self.append(
                "audit.verify" if document["verdict"] == "verified" else "audit.fail",
                outcome="success" if document["verdict"] == "verified" else "failure",
                detail={"records": document["records"], "findings": len(document["findings"])},
            )
        elif not document["findings"]:
            finding = {"code": "state-rolled-back", "record": self.size, "message": str(self.damage)}
            document |= {"verdict": "failed", "findings": [finding]}
        return document

    def export(self, out: Path, *, full: bool = False, since: int | None = None,
               known_heads: Iterable[Path] = ()) -> dict[str, Any]:
        """Write the export package under ``out``; see :func:`console.audit.package.write_package`."""
        from console.audit.package import write_package

        return write_package(self, self._engine, out, full=full, since=since, known_heads=known_heads)

    def close(self) -> None:
        """Record the end, sign a last head, and close."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(SealiftError):
                self.append("audit.close")
                self.checkpoint()
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if self._db is not None:
                self._db.close()

    # Starting --------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Rebuild the edge and check the tail behind the last head, or everything where that is quick or due."""
        try:
            heads = self.checkpoints()
            kept = {head.size: head for head in (note.read(signed) for _, signed in self._kept_heads())}
            start = self._known_start(heads)
            heads = [row for row in heads if row[0] > start.size]
            self._edge = start
            self._signed_size = start.size
            for seq, rec, leaf in self.records(start.size + 1, 1 << 62):
                if not isinstance(rec, bytes) or len(rec) > MAX_RECORD_BYTES or merkle.leaf_hash(rec) != leaf:
                    raise DAMAGED(reason=Said(N_("record {seq} does not have its digest"), seq=seq))
                self._edge.add(leaf)
                self._prev = leaf.hex()
                if self._edge.size != seq:
                    raise DAMAGED(reason=Said(N_("record {seq} is missing"), seq=self._edge.size))
                if heads and heads[0][0] == seq:
                    _, signed = heads.pop(0)
                    if note.read(signed).root != self._edge.root():
                        raise DAMAGED(reason=Said(N_("the records up to {seq} are not those of the head signed over them"), seq=seq))
                    self._signed_size = seq
                if seq in kept and kept[seq].root != self._edge.root():
                    raise DAMAGED(reason=Said(N_("the records up to {seq} are not those of the head that was copied elsewhere"), seq=seq))
            if heads:
                raise DAMAGED(reason=Said(N_("{signed} records were signed and {count} are there"), signed=heads[-1][0], count=self._edge.size))
            if kept and max(kept) > self._edge.size:
                raise DAMAGED(reason=Said(N_("a head copied elsewhere covers {signed} records and {count} are there"), signed=max(kept), count=self._edge.size))
            newest = self._db.execute("SELECT rec, leaf FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        except (sqlite3.DatabaseError, ValueError) as problem:
            raise DAMAGED(reason=why(problem)) from None
        self._prev = newest[1].hex() if newest else ZERO
        self._last = decode(newest[0], max_bytes=MAX_RECORD_BYTES) if newest else None
        if start.size == 0:
            self._mark_checked()

    def _known_start(self, heads: list[tuple[int, bytes]]) -> merkle.Edge:
        """The edge to go on from: that of the newest head when it is signed by the log's key and the log is long."""
        marker = self._engine.workspace / "audit.checked"
        if not heads or heads[-1][0] <= FULL_CHECK_RECORDS or not marker.exists() or time.time() - marker.stat().st_mtime > FULL_CHECK_S:
            return merkle.Edge()
        size, signed = heads[-1]
        row = self._db.execute("SELECT hashes FROM edge WHERE size = ?", (size,)).fetchone()
        if row is None or not note.signed_by(bytes(signed), self.origin, self.key().public):
            return merkle.Edge()
        edge = merkle.Edge(size, [bytes(row[0][i : i + 32]) for i in range(0, len(row[0]), 32)])
        return edge if note.read(bytes(signed)).root == edge.root() else merkle.Edge()

    def _mark_checked(self) -> None:
        with contextlib.suppress(OSError):  # without the mark, the next start checks everything again
            (self._engine.workspace / "audit.checked").touch(mode=0o600)

    def _kept_heads(self) -> list[tuple[str, bytes]]:
        """The copies of heads that this console keeps beside the log and in the folder set for that."""
        places = [self._engine.workspace / "audit.head"]
        if folder := self._engine.settings.get("audit.head-copy"):
            places.append(Path(folder) / copy_name(self.origin))
        found = []
        for place in places:
            with contextlib.suppress(OSError, ValueError):
                signed = place.read_bytes()
                if note.read(signed).origin == self.origin:
                    found.append((str(place), signed))
        return found


def copy_name(origin: str) -> str:
    """The name of a head's copy in another folder or on a server."""
    return origin.replace("/", "_") + ".head"


def _open(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "recursive_triggers=ON", "trusted_schema=OFF", "cell_size_check=ON"):
        db.execute(f"PRAGMA {pragma}")
    db.executescript(SCHEMA)
    if fresh:
        path.chmod(0o600)
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in _DENIED else sqlite3.SQLITE_OK)
    return db
