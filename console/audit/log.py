"""The audit log: chained records in a database of their own, with signed heads over all of them.

A record is committed before the action that it announces starts; if that fails, the action does not start. Guards in
the database stop mistakes, not attackers: what convicts an edit is the chain, the tree and heads kept elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import console
from console.audit import note
from console.errors import SealiftError, WorldError, code
from console.events import Changed
from console.i18n import N_
from console.trust import merkle
from console.trust.canonical import decode, encode
from console.trust.keys import PrivateKey, PublicKey, load_private
from console.units import utc_now

if TYPE_CHECKING:
    from console.engine import Engine
    from console.site.accounts import Actor

WRITE = code(
    "audit.write",
    WorldError,
    N_("The audit record cannot be written ({reason}), so nothing was started."),
    N_("Free space on the disk of the workspace, or repair it, then try again."),
    retryable=True,
)
DAMAGED = code(
    "audit.damaged",
    WorldError,
    N_("The audit log does not continue from its own last records: {reason}."),
    N_("Start nothing on this console. Run `sealift audit verify`, keep a copy of the workspace, and tell the auditor."),
)

MAX_RECORD_BYTES = 64 << 10
MAX_TEXT = 4 << 10
CHECKPOINT_RECORDS, CHECKPOINT_S = 256, 15 * 60
STEP_NS = 5 * 10**9
CHECKPOINT_EVENTS = ("audit.export", "bundle.import", "deploy.end", "approval.grant", "trust.key", "trust.root")
ZERO = "0" * 64

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (seq INTEGER PRIMARY KEY, rec BLOB NOT NULL, leaf BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'records are never changed'); END;
CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'records are never removed'); END;
CREATE TRIGGER IF NOT EXISTS audit_in_order BEFORE INSERT ON audit
    WHEN NEW.seq != (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'records are only appended'); END;
"""
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

        Raises:
            WorldError: ``audit.damaged``, ``audit.write``.
        """
        self._engine, self._lock = engine, threading.RLock()
        self.path = engine.workspace / "audit.db"
        self._closed = False
        try:
            self._db = _open(self.path)
        except sqlite3.DatabaseError as problem:
            raise DAMAGED(reason=str(problem)) from None
        self._boot = _boot_id()
        self._last: dict[str, Any] | None = None
        self._prev, self._edge = ZERO, merkle.Edge()
        self._signed_size, self._signed_at = 0, time.monotonic()
        self._load()
        self.append("audit.open", detail={"records": self._edge.size})

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
            WorldError: ``audit.write``; then nothing may be started.
        """
        with self._lock:
            self._note_clock()
            seq = self._write(event, outcome, obj, detail, reason, corr, approvers, severity, actor)
            if (
                event in CHECKPOINT_EVENTS
                or self._edge.size - self._signed_size >= CHECKPOINT_RECORDS
                or time.monotonic() - self._signed_at > CHECKPOINT_S
            ):
                self.checkpoint()
        self._engine.events.publish(Changed(None, frozenset({"audit"})))
        return seq

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
            "clock": "free",
            "origin": self.origin,
            "event": event,
            "outcome": outcome,
            "severity": severity if severity is not None else {"success": 1, "failure": 4, "denied": 5, "error": 6}[outcome],
            "actor": {"kind": "user", "id": who.id, "role": who.role, "session": who.session, "auth": who.auth},
            "approvers": list(approvers),
            "source": {"host": _host(), "app": "sealift", "version": console.__version__, "pid": os.getpid(), "ip": None},
            "object": _plain(obj or {"kind": None, "id": None, "digest": None}),
            "reason": reason,
            "corr": corr,
            "detail": _plain(detail or {}),
        }
        raw = _encoded(record)
        leaf = merkle.leaf_hash(raw)
        try:
            self._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (seq, raw, leaf))
        except sqlite3.Error as problem:
            raise WRITE(reason=str(problem)) from None
        self._edge.add(leaf)
        self._prev, self._last = leaf.hex(), record
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
            _replace(file, (site.origin if site else f"console/{secrets.token_hex(4)}").encode("ascii"))
        return file.read_text(encoding="ascii").strip()

    def key(self) -> PrivateKey:
        """The key that signs heads; made with the workspace, readable by its owner only."""
        file = self._engine.workspace / "audit.key"
        if not file.exists():
            PrivateKey.generate("ed25519").save(file)
        return load_private(file)

    def verifier_line(self) -> str:
        """The public half as the line that an auditor keeps."""
        return note.verifier_line(self.origin, self.key().public)

    def checkpoint(self) -> note.Head | None:
        """Sign a head over all records, and copy it to the place set for that."""
        with self._lock:
            size = self._edge.size
            head = note.Head(self.origin, size, self._edge.root())
            if size == 0:
                return None
            signed = note.sign(head, self.key())
            with contextlib.suppress(sqlite3.IntegrityError):
                self._db.execute("INSERT INTO checkpoint VALUES (?, ?)", (size, signed))
            self._signed_size, self._signed_at = size, time.monotonic()
        copy = self._engine.settings.get("audit.head-copy")
        if copy:
            _replace(Path(copy) / (head.origin.replace("/", "_") + ".head"), signed)
        return head

    # Reading ---------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of records."""
        return self._edge.size

    def records(self, first: int = 1, last: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, rec, leaf) in order, as stored."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, rec, leaf FROM audit WHERE seq BETWEEN ? AND ? ORDER BY seq",
                (first, last if last is not None else self._edge.size),
            ).fetchall()
        yield from rows

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Signed heads by size."""
        with self._lock:
            return self._db.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()

    def list(self, *, limit: int = 200, event: str | None = None, before: int | None = None) -> list[dict[str, Any]]:
        """Records as values, newest first; ``event`` is a prefix."""
        with self._lock:
            rows = self._db.execute("SELECT rec FROM audit WHERE seq < ? ORDER BY seq DESC", (before or 1 << 62,))
            found = []
            for (raw,) in rows:
                record = decode(bytes(raw), max_bytes=MAX_RECORD_BYTES)
                if event is None or record["event"].startswith(event):
                    found.append(record)
                    if len(found) == limit:
                        break
            return found

    def verify(self) -> dict[str, Any]:
        """Check every record, the chain, the tree and every signed head.

        Returns:
            The contract's verdict document. ``failed`` lists each finding with its record.
        """
        from console.audit.check import check_log

        with self._lock:
            self.checkpoint()
            document = check_log(self.records(1, 1 << 62), self.checkpoints(), self.origin, self.key().public)
        self.append(
            "audit.verify" if document["verdict"] == "verified" else "audit.fail",
            outcome="success" if document["verdict"] == "verified" else "failure",
            detail={"records": document["records"], "findings": len(document["findings"])},
        )
        return document

    def export(self, out: Path) -> dict[str, Any]:
        """Write the export package under ``out``; see :mod:`console.audit.package`."""
        from console.audit.package import write_package

        return write_package(self, self._engine, out)

    def close(self) -> None:
        """Record the end, sign a last head, and close."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(SealiftError):
                self.append("audit.close")
                self.checkpoint()
            self._db.close()

    def _load(self) -> None:
        """Rebuild the edge and check the tail behind the last head."""
        try:
            heads = self.checkpoints()
            for seq, rec, leaf in self._db.execute("SELECT seq, rec, leaf FROM audit ORDER BY seq"):
                if not isinstance(rec, bytes) or len(rec) > MAX_RECORD_BYTES or merkle.leaf_hash(rec) != leaf:
                    raise DAMAGED(reason=f"record {seq} does not have its digest")
                self._edge.add(leaf)
                self._prev = leaf.hex()
                if self._edge.size != seq:
                    raise DAMAGED(reason=f"record {self._edge.size} is missing")
                if heads and heads[0][0] == seq:
                    _, signed = heads.pop(0)
                    if note.read(signed).root != self._edge.root():
                        raise DAMAGED(reason=f"the records up to {seq} are not those of the head signed over them")
                    self._signed_size = seq
            if heads:
                raise DAMAGED(reason=f"{heads[-1][0]} records were signed and {self._edge.size} are there")
            newest = self._db.execute("SELECT rec FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        except (sqlite3.DatabaseError, ValueError) as problem:
            raise DAMAGED(reason=str(problem)) from None
        self._last = decode(newest[0], max_bytes=MAX_RECORD_BYTES) if newest else None


def public_key(line: str) -> tuple[str, PublicKey]:
    """Origin and key of a verifier line.

    Raises:
        ValueError: not a verifier line.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    # Base64 may hold "+" itself, so the number is found by its form: eight hex digits between two plus signs.
    match = re.fullmatch(r"(.+?)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", line.strip())
    if not match:
        raise ValueError("not a verifier line")
    origin, number, raw = match[1], match[2], base64.b64decode(match[3], validate=True)
    if raw[:1] != note.ED25519 or len(raw) != 33:
        raise ValueError("not a verifier line")
    key = PublicKey(
        Ed25519PublicKey.from_public_bytes(raw[1:]).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    if note.key_number(origin, key).hex() != number:
        raise ValueError("the line's number is not that of its key")
    return origin, key


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


def _encoded(record: dict[str, Any]) -> bytes:
    raw = encode(record)
    if len(raw) > MAX_RECORD_BYTES:
        raw = encode(record | {"detail": {"dropped": "the detail was larger than a record may be"}})
    return raw


def _plain(value: Any) -> Any:
    """``value`` in the forms that a record may hold: keys made fit, floats as text, long text cut."""
    if isinstance(value, dict):
        return {_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    text = str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _key(key: Any) -> str:
    text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in str(key).lower())
    return text[:64] or "_"


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    import psutil

    return f"{sys.platform}-{uuid.getnode():012x}-{int(psutil.boot_time())}"


def _host() -> str:
    import socket

    return socket.gethostname()


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as problem:
        raise WRITE(reason=f"{path}: {problem.strerror}") from None
