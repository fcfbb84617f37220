"""Receipts of imports: what was brought in, by whom, from which drives; signed by the console, fit to travel back on the drive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from console.bundles.writing import no_links, put
from console.errors import InputError, SealiftError, WorldError, code, why
from console.i18n import N_
from console.trust import dsse
from console.trust.canonical import decode, encode
from console.trust.keys import PrivateKey, PublicKey

TYPE = "application/vnd.sealift.receipt+json"
FOLDER = "RECEIPTS"
MAX_BYTES = 1 << 20
UNWRITABLE = code("bundle.receipt-unwritable", WorldError, N_("The receipt cannot be written to {path}: {reason}."),
                  N_("Check the folder and its rights."))
UNREADABLE = code("bundle.receipt-unreadable", InputError, N_("The receipt {path} cannot be read: {reason}."), N_("Check the path and the rights."))
FIELDS = {"v": int, "site": str, "release_id": str, "bundle_id": str, "title": str, "channel": str, "sequence": int, "index_sha256": str,
          "imported_at": str, "imported_by": str, "approvers": list, "media": list, "verdict": str, "signers": list, "publishers": list, "files": int, "bytes": int,
          "bytes_copied": int, "bytes_reused": int, "bytes_rebuilt": int}


def seal(receipt: Mapping[str, Any], key: PrivateKey) -> bytes:
    """The signed receipt."""
    return dsse.seal(TYPE, encode(dict(receipt)), [key])


def write(raw: bytes, receipt: Mapping[str, Any], place: Path) -> Path:
    """Write a signed receipt to a file, or into ``RECEIPTS`` of a folder or drive; where it is now.

    Raises:
        WorldError: ``bundle.receipt-unwritable``.
    """
    try:
        if place.is_dir():
            site = re.sub(r"[^a-z0-9._-]", "-", str(receipt["site"]))[:64]
            no_links(place, FOLDER)
            place = place / FOLDER / f"{site}-{receipt['release_id'][:16]}.dsse.json"
        put(place, raw)
    except OSError as problem:
        raise UNWRITABLE(path=str(place), reason=problem.strerror or "?") from None
    return place


def read(path: Path) -> bytes:
    """The bytes of a receipt's file, or of one more than it may have.

    Raises:
        InputError: ``bundle.receipt-unreadable``.
    """
    try:
        with open(path, "rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as problem:
        raise UNREADABLE(path=str(path), reason=problem.strerror or "?") from None


def verify(raw: bytes, keys: Sequence[PublicKey]) -> dict[str, Any]:
    """The contract's verdict document over a receipt; ``receipt`` is what it says, None where it cannot be read.

    Args:
        keys: of consoles that are believed. Without any, it is only looked into.
    """
    findings: list[dict[str, str]] = []
    signers, unknown, receipt = [], [], None
    try:
        envelope = dsse.parse(raw, TYPE, max_bytes=MAX_BYTES)
        good = dsse.good_signers(envelope, TYPE, {key.keyid: (key, "") for key in keys})
        signers = [{"key_id": k.keyid, "name": "", "fingerprint": k.fingerprint} for k in keys if k.keyid in dict(good)]
        unknown = [s.keyid for s in envelope.signatures if s.keyid not in dict(good)]
        value = decode(envelope.payload, max_bytes=MAX_BYTES, what=N_("receipt"))
        if isinstance(value, dict) and all(type(value.get(name)) is kind for name, kind in FIELDS.items()) and value["v"] == 1:
            receipt = value
        else:
            findings.append({"code": "statement", "path": "", "message": N_("it is no receipt of an import")})
        if keys and not signers:
            findings.append({"code": "key", "path": "", "message": N_("it was signed by another console than the one that is believed")})
    except SealiftError as problem:
        code_ = {"trust.signature": "signature", "trust.payload-type": "payload-type", "trust.sig-count": "sig-count", "trust.size": "size"}
        findings.append({"code": code_.get(problem.code, "json"), "path": "", "message": why(problem)})
    return {"verdict": "failed" if findings else "verified" if signers else "unverified", "signers": signers, "unknown_keys": unknown,
            "findings": findings, "receipt": receipt}
