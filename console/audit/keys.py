"""The keys that sign the log's heads: one in force, and how each one before it handed over to the next.

A rotation is a record that holds the new key and the old key's signature over it, then a last head by the old key; the
old key is erased after that, so that a later thief cannot sign the past anew.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.audit import note
from console.audit.files import replace
from console.trust.keys import PrivateKey, PublicKey, load_private
from console.units import utc_now

EVENT = "audit.key"
"""The event of a hand-over's record."""


@dataclass(frozen=True)
class LogKey:
    """One key of the log.

    Attributes:
        line: the verifier line that an auditor keeps. from_record: the first record that its heads may end at.
        handover_record: the number of the record that named it, None for the first key.
        signature: by the key before it, over :func:`handover_text`, base64; None for the first key.
        since: when it came into force, UTC.
    """

    line: str
    from_record: int
    handover_record: int | None
    signature: str | None
    since: str

    @property
    def public(self) -> PublicKey:
        """The key itself."""
        return public_key(self.line)[1]

    def as_dict(self) -> dict[str, Any]:
        """For ``keys.json``."""
        return {"verifier_key": self.line, "from_record": self.from_record, "handover_record": self.handover_record,
                "signature": self.signature, "since": self.since}


def handover_text(origin: str, old: str, new: str, record: int) -> bytes:
    """What the old key signs: that ``new`` takes over with the record of this number."""
    return f"sealift audit key hand-over\n{origin}\n{old}\n{new}\n{record}\n".encode()


def signed_over(origin: str, old: LogKey, new: LogKey) -> bool:
    """Whether ``old`` signed that ``new`` follows it."""
    if new.signature is None or new.handover_record is None:
        return False
    try:
        signature = base64.b64decode(new.signature, validate=True)
    except ValueError:
        return False
    return old.public.verify(signature, handover_text(origin, old.line, new.line, new.handover_record))


def in_force(keys: Sequence[LogKey], size: int) -> LogKey:
    """The key whose turn it was when the log had ``size`` records."""
    return next((key for key in reversed(keys) if key.from_record <= size), keys[0])


class KeyFiles:
    """The private key in force and the line of keys, as files of the workspace that only their owner reads."""

    def __init__(self, workspace: Path, origin: Callable[[], str], handovers: Callable[[], Sequence[dict[str, Any]]]):
        """``handovers`` gives the records of hand-overs, oldest first."""
        self._handovers = handovers
        self._key, self._next, self._line = workspace / "audit.key", workspace / "audit.key.next", workspace / "audit.keys.json"
        self._origin = origin

    def private(self) -> PrivateKey:
        """The key that signs; made when there is none yet."""
        if not self._key.exists():
            PrivateKey.generate("ed25519").save(self._key)
        return load_private(self._key)

    def line(self) -> list[LogKey]:
        """All keys, oldest first. The file is a convenience: what proves a hand-over is the record and its signature."""
        try:
            rows = json.loads(self._line.read_bytes())["keys"]
            keys = [LogKey(r["verifier_key"], r["from_record"], r["handover_record"], r["signature"], r["since"]) for r in rows]
        except (OSError, ValueError, KeyError, TypeError):
            keys = []
        own = note.verifier_line(self._origin(), self.private().public)
        if len(keys) > 1 and keys[-2].line == own:
            return keys[:-1]  # the last one was about to take over when the console stopped
        if not keys or keys[-1].line != own:
            keys = self._recorded() or [LogKey(own, 1, None, None, utc_now())]
            self._save(keys)
        return keys

    def _recorded(self) -> list[LogKey]:
        """The line of keys as the log's own records tell it; for when the file is gone."""
        records = self._handovers()
        if not records:
            return []
        first = LogKey(records[0]["detail"]["old_key"], 1, None, None, records[0]["ts"])
        return [first, *(LogKey(r["detail"]["new_key"], r["seq"] + 1, r["seq"], r["detail"]["signature"], r["ts"]) for r in records)]

    def propose(self, record: int) -> LogKey:
        """Make the next key, beside the one in force, and have that one sign it; nothing has changed yet."""
        self._next.unlink(missing_ok=True)
        following = PrivateKey.generate("ed25519")
        following.save(self._next)
        old, new = self.line()[-1].line, note.verifier_line(self._origin(), following.public)
        signature = self.private().sign(handover_text(self._origin(), old, new, record))
        return LogKey(new, record + 1, record, base64.b64encode(signature).decode(), utc_now())

    def take_over(self, following: LogKey) -> None:
        """Put the proposed key in force and erase the one before it."""
        self._save([*self.line(), following])
        if os.name == "nt":  # a file that is open cannot be replaced there
            self._next.replace(self._key)
            return
        with open(self._key, "r+b") as old:
            size = old.seek(0, os.SEEK_END)
            self._next.replace(self._key)
            old.seek(0)
            old.write(b"\0" * size)
            old.flush()
            os.fsync(old.fileno())

    def recover(self, newest: dict[str, Any] | None) -> LogKey | None:
        """Finish or drop a rotation that was cut off.

        Args:
            newest: the log's newest record.

        Returns:
            The key that is yet to take over, its hand-over being recorded; else None.
        """
        if not self._next.exists():
            return None
        detail = (newest or {}).get("detail") or {}
        line = note.verifier_line(self._origin(), load_private(self._next).public)
        if newest is None or newest.get("event") != EVENT or detail.get("new_key") != line:
            self._next.unlink()
            return None
        return LogKey(line, newest["seq"] + 1, newest["seq"], detail["signature"], newest["ts"])

    def _save(self, keys: Sequence[LogKey]) -> None:
        replace(self._line, (json.dumps({"keys": [key.as_dict() for key in keys]}, indent=2) + "\n").encode())


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
    spki = Ed25519PublicKey.from_public_bytes(raw[1:]).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    key = PublicKey(spki)
    if note.key_number(origin, key).hex() != number:
        raise ValueError("the line's number is not that of its key")
    return origin, key
