"""Checks a log record by record; the same for the live database and for what came back on a drive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from console.audit import note
from console.errors import SealiftError
from console.trust import merkle
from console.trust.canonical import decode, encode
from console.trust.keys import PublicKey

MAX_FINDINGS = 1000
MAX_RECORD_BYTES = 64 << 10


def check_log(rows: Iterable[tuple[Any, Any, Any]], heads: list[tuple[int, bytes]], origin: str, key: PublicKey) -> dict[str, Any]:
    """The contract's verdict document over stored rows and their signed heads.

    Args:
        rows: (seq, rec, leaf) in order. heads: (size, note) by size.
    """
    findings: list[dict[str, Any]] = []

    def found(code: str, record: int, message: str) -> None:
        if len(findings) < MAX_FINDINGS:
            findings.append({"code": code, "record": record, "message": message})

    edge, previous, size = merkle.Edge(), "0" * 64, 0
    waiting = {number: signed for number, signed in heads}
    for seq, rec, leaf in rows:
        size += 1
        if seq != size:
            found("missing" if seq > size else "dup-name", size, f"record {size} is missing; {seq} stands in its place")
            size = seq
        if not isinstance(rec, bytes) or len(rec) > MAX_RECORD_BYTES:
            found("json", seq, "the record is not of the type and size that it must have")
            continue
        real = merkle.leaf_hash(rec)
        if real != leaf:
            found("digest", seq, "the record is not what its digest was made of")
        _check_record(rec, seq, previous, found)
        previous = real.hex()
        edge.add(real)
        if seq in waiting:
            _check_head(waiting.pop(seq), edge, origin, key, found)
    for number in waiting:
        found("missing", number, f"a signed head covers {number} records, and the log ends before")
    return {
        "verdict": "failed" if findings else "verified",
        "signers": [{"key_id": key.keyid, "name": origin, "fingerprint": key.fingerprint}],
        "findings": findings,
        "files": 1,
        "bytes": 0,
        "records": size,
        "root": edge.root().hex(),
        "origin": origin,
        "heads": len(heads),
    }


def _check_record(rec: bytes, seq: int, previous: str, found) -> None:
    try:
        record = decode(rec, max_bytes=MAX_RECORD_BYTES)
        if encode(record) != rec:
            found("json", seq, "the record is not in its canonical form")
    except (SealiftError, ValueError) as problem:
        found("json", seq, f"the record cannot be read: {problem}")
        return
    if not isinstance(record, dict) or record.get("seq") != seq:
        found("statement", seq, "the record does not carry its own number")
    elif record.get("prev") != previous:
        found("root-digest", seq, "the record does not continue from the one before it")


def _check_head(signed: bytes, edge: merkle.Edge, origin: str, key: PublicKey, found) -> None:
    try:
        head = note.read(bytes(signed))
    except (ValueError, UnicodeDecodeError):
        found("signature", edge.size, "the signed head cannot be read")
        return
    if not note.signed_by(bytes(signed), head.origin, key):
        found("signature", edge.size, "the head is not signed by the log's key")
    elif head.root != edge.root() or head.size != edge.size:
        found("root-digest", edge.size, "the records are not those that the signed head covers")
