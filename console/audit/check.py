"""Checks a log record by record; the same for the live database and for what came back on a drive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from console.audit import keys as log_keys
from console.audit import note
from console.audit.keys import LogKey
from console.errors import SealiftError
from console.trust import merkle
from console.trust.canonical import decode, encode

MAX_FINDINGS = 1000
MAX_RECORD_BYTES = 64 << 10


def check_log(rows: Iterable[tuple[Any, Any, Any]], heads: list[tuple[int, bytes]], origin: str, keys: Sequence[LogKey],
              known_heads: Iterable[tuple[str, bytes]] = ()) -> dict[str, Any]:
    """The contract's verdict document over stored rows, their signed heads and the line of keys that signed those.

    Args:
        rows: (seq, rec, leaf) in order. heads: (size, note) by size. keys: oldest first.
        known_heads: name and note of heads kept elsewhere; the log must go on from each.
    """
    findings: list[dict[str, Any]] = []

    def found(code: str, record: int, message: str) -> None:
        if len(findings) < MAX_FINDINGS:
            findings.append({"code": code, "record": record, "message": message})

    edge, previous, size, total = merkle.Edge(), "0" * 64, 0, 0
    waiting = {number: signed for number, signed in heads}
    known = [_known(name, signed, origin, keys, found) for name, signed in known_heads]
    wanted = {one["size"] for one in known if one["status"] == "not-provable"}
    roots: dict[int, bytes] = {}
    handed: list[int] = []
    for seq, rec, leaf in rows:
        size += 1
        if seq != size:
            found("missing" if seq > size else "dup-name", size, f"record {size} is missing; {seq} stands in its place")
            size = seq
        if not isinstance(rec, bytes) or len(rec) > MAX_RECORD_BYTES:
            found("json", seq, "the record is not of the type and size that it must have")
            continue
        total += len(rec)
        real = merkle.leaf_hash(rec)
        if real != leaf:
            found("digest", seq, "the record is not what its digest was made of")
        record = _check_record(rec, seq, previous, found)
        if record is not None and record.get("event") == log_keys.EVENT:
            handed.append(seq)
            _check_handover(record, seq, origin, keys, found)
        previous = real.hex()
        edge.add(real)
        if seq in waiting:
            _check_head(waiting.pop(seq), edge, origin, keys, found)
        if seq in wanted:
            roots[seq] = edge.root()
    for number in waiting:
        found("missing", number, f"a signed head covers {number} records, and the log ends before")
    for key in keys[1:]:
        if key.handover_record not in handed:
            found("key", key.handover_record or 0, "no record hands over to a key that is listed as the log's")
    for one in known:
        _compare(one, roots, size, found)
    named = [{"key_id": key.public.keyid, "name": origin, "fingerprint": key.public.fingerprint} for key in keys]
    return {
        "verdict": "failed" if findings else "verified",
        "signers": named,
        "findings": findings,
        "files": 1,
        "bytes": total,
        "records": size,
        "root": edge.root().hex(),
        "origin": origin,
        "heads": len(heads),
        "known_heads": [{key: one[key] for key in ("name", "size", "status")} for one in known],
        "key_handovers": handed,
    }


def unreadable(origin: str, reason: str) -> dict[str, Any]:
    """The verdict document over a log that is no database at all."""
    finding = {"code": "json", "record": 0, "message": f"the log cannot be read: {reason}"}
    return {"verdict": "failed", "signers": [], "findings": [finding], "files": 1, "bytes": 0, "records": 0, "root": None,
            "origin": origin, "heads": 0, "known_heads": [], "key_handovers": []}


def _known(name: str, signed: bytes, origin: str, keys: Sequence[LogKey], found) -> dict[str, Any]:
    """A head kept elsewhere: ``status`` is not-provable until it is compared, or refused."""
    try:
        head = note.read(signed)
    except (ValueError, UnicodeDecodeError):
        found("signature", 0, f"the kept head {name} cannot be read")
        return {"name": name, "size": 0, "root": b"", "status": "refused"}
    good = head.origin == origin and any(note.signed_by(signed, origin, key.public) for key in keys)
    if not good:
        found("signature", head.size, f"the kept head {name} is not signed by a key of this log")
    return {"name": name, "size": head.size, "root": head.root, "status": "not-provable" if good else "refused"}


def _compare(one: dict[str, Any], roots: dict[int, bytes], size: int, found) -> None:
    if one["status"] != "not-provable":
        return
    if one["size"] in roots:
        one["status"] = "consistent" if roots[one["size"]] == one["root"] else "inconsistent"
    elif one["size"] > size:
        one["status"] = "inconsistent"
    if one["status"] == "inconsistent":
        found("missing" if one["size"] > size else "root-digest", one["size"],
              f"the log does not go on from the kept head {one['name']}, which covers {one['size']} records")


def _check_record(rec: bytes, seq: int, previous: str, found) -> dict[str, Any] | None:
    try:
        record = decode(rec, max_bytes=MAX_RECORD_BYTES)
        if encode(record) != rec:
            found("json", seq, "the record is not in its canonical form")
    except (SealiftError, ValueError) as problem:
        found("json", seq, f"the record cannot be read: {problem}")
        return None
    if not isinstance(record, dict) or record.get("seq") != seq:
        found("statement", seq, "the record does not carry its own number")
        return None
    if record.get("prev") != previous:
        found("root-digest", seq, "the record does not continue from the one before it")
    return record


def _check_handover(record: dict[str, Any], seq: int, origin: str, keys: Sequence[LogKey], found) -> None:
    detail = record.get("detail")
    detail = detail if isinstance(detail, dict) else {}
    at = next((n for n, key in enumerate(keys) if key.handover_record == seq), None)
    if at is None or keys[at].line != detail.get("new_key") or keys[at - 1].line != detail.get("old_key"):
        found("key", seq, "the record hands over to a key that is not listed as the log's")
    elif not log_keys.signed_over(origin, keys[at - 1], keys[at]):
        found("signature", seq, "the hand-over to the new key is not signed by the old one")


def _check_head(signed: bytes, edge: merkle.Edge, origin: str, keys: Sequence[LogKey], found) -> None:
    try:
        head = note.read(bytes(signed))
    except (ValueError, UnicodeDecodeError):
        found("signature", edge.size, "the signed head cannot be read")
        return
    if head.origin != origin or not note.signed_by(bytes(signed), head.origin, log_keys.in_force(keys, edge.size).public):
        found("signature", edge.size, "the head is not signed by the log's key")
    elif head.root != edge.root() or head.size != edge.size:
        found("root-digest", edge.size, "the records are not those that the signed head covers")
