"""The export package: the exact records, the signed head, and a verifier that needs nothing of ours.

Only ``records.jsonl`` counts; the views are derived from it and say so. An export goes on from the one before: its
edge must give that head's root, so each export proves the earlier one to be its prefix.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from console.assets import asset
from console.audit import note, pdf, views
from console.errors import InputError, SealiftError, WorldError, code, why
from console.i18n import N_, Said
from console.trust import merkle
from console.trust.canonical import decode

if TYPE_CHECKING:
    from console.audit.log import AuditLog
    from console.engine import Engine

EXISTS = code(
    "audit.export-exists",
    InputError,
    N_("The folder {folder} exists already; an export is never overwritten."),
    N_("Choose another place, or remove that export first if it is not needed."),
)
UNWRITABLE = code(
    "audit.export-unwritable",
    WorldError,
    N_("The export cannot be written to {folder}: {reason}."),
    N_("Check that the drive is there, writable and not full, then export again; nothing half-written stays."),
    retryable=True,
)
NO_SUCH_START = code(
    "audit.no-such-head",
    InputError,
    N_("No signed head over exactly {size} records is known, so an export cannot go on from there."),
    N_("`sealift audit list --event audit.export` names the earlier exports; or export the whole record with --full."),
)
BAD_HEAD = code(
    "audit.bad-head",
    InputError,
    N_("{path} is no signed head of this log: {reason}."),
    N_("Name the file `checkpoint` of an earlier export, or a head that a server or another folder keeps."),
)
NO_EXPORT = code(
    "audit.no-export",
    InputError,
    N_("{folder} holds no exported record."),
    N_("Name the folder AUDIT/<installation>/<first>-<last> of the drive."),
)


PDF_RECORDS = 2000
"""The printed report holds the newest so many records; more is not read on paper."""


def write_package(log: AuditLog, engine: Engine, out: Path, *, full: bool = False, since: int | None = None,
                  known_heads: Iterable[Path] = ()) -> dict[str, Any]:
    """Write ``AUDIT/<installation>/<first>-<last>/`` under ``out`` and flush it.

    Args:
        full: from the first record on. since: from the record after this many on; a head must have been signed there.
            With neither, the export goes on from the last one when that lies in ``out`` too, else it is a full one.
        known_heads: files with heads to prove consistent with, besides that of the last export.

    Raises:
        InputError: ``audit.export-exists``, ``audit.no-such-head``, ``audit.bad-head``.
        WorldError: ``audit.export-unwritable``.
    """
    if log.damage is None:
        engine.require("auditor", "admin", "operator")
        engine.require_proof()
    asked = [_head_of(log, path) for path in known_heads]
    place = out / "AUDIT" / log.origin.replace("/", "_")
    earlier = _exported(log)
    if since is None:
        since = earlier if earlier and not full and any(place.glob(f"*-{earlier:08d}/checkpoint")) else 0
    notes = dict(log.checkpoints())
    if since and since not in notes:
        raise NO_SUCH_START(size=since)
    if log.damage is not None:
        return _written(log, place, 0, None, [], told={})
    with engine.act("audit.export", {"kind": "folder", "id": str(out), "digest": None}) as told:
        return _written(log, place, since, since or earlier, asked, told)


def _written(log: AuditLog, place: Path, since: int, earlier: int | None, asked: list[note.Head], told: dict[str, Any]) -> dict[str, Any]:
    head = log.checkpoint()
    notes = dict(log.checkpoints())
    size = head.size if head else 0
    folder = place / f"{since + 1:08d}-{size:08d}"
    if any(linked.is_symlink() for linked in (place.parent, place)):
        raise UNWRITABLE(folder=str(folder), reason=N_("a link lies in the place of a folder"))
    if folder.exists():
        raise EXISTS(folder=str(folder))
    part = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / "views").mkdir(parents=True)
        digests = _records(part, log, since, head, notes)
        _rest(part, log, since, head, notes, earlier, asked, digests)
        lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
        (part / "MANIFEST.sha256").write_text("".join(lines), encoding="ascii")
        _flush(part)
        part.rename(folder)
        _flush_folders(folder)
    except OSError as problem:
        shutil.rmtree(part, ignore_errors=True)
        raise UNWRITABLE(folder=str(folder), reason=why(problem)) from None
    root = head.root.hex() if head else None
    told.update(records=size - since, size=size, root=root, previous=earlier)
    return {
        "folder": str(folder),
        "records": size - since,
        "first": since + 1,
        "last": size,
        "previous": earlier,
        "origin": log.origin,
        "verifier_key": log.verifier_line(),
        "root": root,
        "short_code": head.short_code if head else None,
        "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
    }


def _exported(log: AuditLog) -> int | None:
    """How many records the last export covered; None when there was none."""
    for record in log.list(limit=200, event="audit.export"):
        if record["outcome"] == "success" and record["detail"].get("stage") == "end":
            size = record["detail"].get("size", record["detail"].get("records"))
            return size if isinstance(size, int) and size else None
    return None


def _head_of(log: AuditLog, path: Path) -> note.Head:
    try:
        raw = path.read_bytes()[: 1 << 20]
        head = note.read(raw)
    except (OSError, ValueError) as problem:
        raise BAD_HEAD(path=str(path), reason=getattr(problem, "strerror", None) or N_("it is no signed head")) from None
    if head.origin != log.origin or not any(note.signed_by(raw, log.origin, key.public) for key in log.verifier_keys()):
        raise BAD_HEAD(path=str(path), reason=N_("it is not signed by a key of this log"))
    if head.size > log.size:
        raise BAD_HEAD(path=str(path), reason=Said(N_("it covers {signed} records and the log has {count}"), signed=head.size, count=log.size))
    return head


class _Hashed:
    """A file being written, and the digest of what went into it."""

    def __init__(self, folder: Path, name: str):
        self.name, self._digest = name, hashlib.sha256()
        self._file: IO[bytes] = open(folder / name, "wb")  # noqa: SIM115 - closed by its user's exit stack

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def close(self) -> str:
        self._file.close()
        return self._digest.hexdigest()


def _records(folder: Path, log: AuditLog, since: int, head: note.Head | None, notes: dict[int, bytes]) -> dict[str, str]:
    """Write the records and their views in one pass; the digest of each file by its name."""
    size, signed, code_ = (head.size, notes[head.size], head.short_code) if head else (0, b"", "")
    with contextlib.ExitStack() as stack:
        files = {name: _Hashed(folder, name) for name in ("records.jsonl", *views.LINES)}
        for file in files.values():
            stack.callback(file.close)
        files["views/events.csv"].write(views.csv_header().encode())
        files["views/report.html"].write(views.html_head(log.origin, signed, code_).encode())
        printed: list[str] = []
        for seq, rec, leaf in log.records(since + 1, size):
            files["records.jsonl"].write(bytes(rec) + b"\n")
            with contextlib.suppress(SealiftError, KeyError, TypeError):  # a damaged record has no view; it counts as it is
                record = decode(bytes(rec), max_bytes=64 << 10)
                for name, line in views.LINES.items():
                    files[name].write(line(record, bytes(leaf)).encode("utf-8"))
                if seq > size - PDF_RECORDS:
                    cells = views.row(record, bytes(leaf))
                    printed.append("  ".join(cells[c] for c in views.REPORT_CELLS if cells[c]))
        files["views/report.html"].write(b"</table>")
        report = _Hashed(folder, "views/report.pdf")
        stack.callback(report.close)
        report.write(pdf.document(f"Audit record of {log.origin}", _front(log, since, size, signed, code_) + printed))
        return {file.name: file.close() for file in (*files.values(), report)}


def _front(log: AuditLog, since: int, size: int, signed: bytes, short_code: str) -> list[str]:
    """What the printed report begins with."""
    shown = max(since + 1, size - PDF_RECORDS + 1)
    return [f"Records {since + 1} to {size}; printed here: {shown} to {size}. A view made from records.jsonl, which alone counts.",
            f"Short code of the signed head: {short_code}", f"Verifier key: {log.verifier_line()}", "",
            *signed.decode("utf-8", "replace").splitlines(), ""]


def _rest(folder: Path, log: AuditLog, since: int, head: note.Head | None, notes: dict[int, bytes], earlier: int | None,
          asked: list[note.Head], digests: dict[str, str]) -> None:
    size = head.size if head else 0
    leaves = log.leaves(size)
    edge = merkle.Edge()
    for leaf in leaves[:since]:
        edge.add(leaf)
    sizes = sorted({*(one.size for one in asked), *([earlier] if earlier else [])} - {0}, reverse=True)
    proofs = [{"from": old, "to": size, "proof": [base64.b64encode(p).decode() for p in merkle.consistency_proof(leaves, old)]}
              for old in sizes if old <= size]
    first = proofs[0] if proofs else {"from": 0, "to": size, "proof": []}
    made: dict[str, bytes] = {
        "checkpoint": notes.get(size, b""),
        "start.json": _json({"size": since, "edge": [h.hex() for h in edge.hashes]}),
        "keys.json": _json({"keys": [key.as_dict() for key in log.verifier_keys()]}),
        "consistency.json": _json(first | ({"more": proofs[1:]} if proofs[1:] else {})),
        "verify_audit.py": asset("audit/verify_audit.py").read_bytes(),
    }
    if earlier in notes:
        made["previous.note"] = notes[earlier]
    for name, data in made.items():
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as handle:
                os.fsync(handle.fileno())


def _flush_folders(folder: Path) -> None:
    for place in (folder, folder / "views", *folder.parents[:3]):
        with contextlib.suppress(OSError):  # not every file system lets a folder be opened and flushed
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


# Checking ------------------------------------------------------------------------------------------------------------


@cache
def _verifier() -> Any:
    """The very file that travels with every export."""
    spec = importlib.util.spec_from_file_location("sealift_verify_audit", asset("audit/verify_audit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exports_in(folder: Path) -> list[Path]:
    """The exports at or below a folder: itself, or those of a drive, of its AUDIT or of one installation; in order."""
    if (folder / "records.jsonl").is_file() or (folder / "MANIFEST.sha256").is_file():
        return [folder]
    marks = ("MANIFEST.sha256", "records.jsonl")
    found = {path.parent for below in ("AUDIT/*/*", "*/*", "*") for mark in marks for path in folder.glob(f"{below}/{mark}")}
    return sorted(path for path in found if path.suffix != ".part")


def own_key(workspace: Path) -> tuple[str, str] | None:
    """Origin and first verifier key of this workspace's own log, from two small files; None where there is no log."""
    try:
        origin = (workspace / "audit.origin").read_text(encoding="ascii").strip()
        line = json.loads((workspace / "audit.keys.json").read_bytes())["keys"][0]["verifier_key"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return (origin, line) if isinstance(line, str) else None


def verify_export(folder: Path, verifier_key: str | None, known_heads: Iterable[Path] = (),
                  own: tuple[str, str] | None = None) -> dict[str, Any]:
    """The contract's verdict document over an export, or over all exports of a drive.

    Args:
        verifier_key: the log's key as noted apart from the export; without it the best verdict is unverified.
        own: origin and key of the log that this console keeps itself; counts for exports of that log alone.

    Returns:
        The document; ``key_source`` is given, workspace or None.

    Raises:
        InputError: ``audit.no-export``.
    """
    found = exports_in(folder)
    if not found:
        raise NO_EXPORT(folder=str(folder))
    documents = [_verified(one, *_key_for(one, verifier_key, own), known_heads) for one in found]
    if len(documents) == 1:
        return documents[0]
    worst = next(word for word in ("failed", "unverified", "verified") if any(d["verdict"] == word for d in documents))
    findings = [{**finding, "export": str(one)} for one, d in zip(found, documents, strict=True) for finding in d["findings"]]
    return documents[-1] | {"verdict": worst, "findings": findings, "files": sum(d["files"] for d in documents),
                            "bytes": sum(d["bytes"] for d in documents), "records": sum(d["records"] for d in documents),
                            "warnings": [f"{one.name}: {line}" for one, d in zip(found, documents, strict=True) for line in d["warnings"]],
                            "exports": [{"folder": str(one), "origin": d.get("origin"), "verdict": d["verdict"], "first": d.get("first"),
                                         "last": d.get("last")} for one, d in zip(found, documents, strict=True)]}


def _key_for(folder: Path, given: str | None, own: tuple[str, str] | None) -> tuple[str | None, str | None]:
    """The key to check an export with, and where it is from."""
    if given is not None:
        return given, "given"
    with contextlib.suppress(OSError, ValueError):
        if own is not None and note.read((folder / "checkpoint").read_bytes()).origin == own[0]:
            return own[1], "workspace"
    return None, None


def _verified(folder: Path, verifier_key: str | None, source: str | None, known_heads: Iterable[Path]) -> dict[str, Any]:
    found = _verifier().verify(str(folder), verifier_key, [str(p) for p in known_heads])
    signers = []
    if found["signer"]:
        from console.audit.keys import public_key

        with contextlib.suppress(ValueError):  # a signature of another kind than ours is named by the verifier alone
            origin, key = public_key(found["signer"])
            signers = [{"key_id": key.keyid, "name": origin, "fingerprint": key.fingerprint}]
    files = [f for f in folder.rglob("*") if f.is_file()]
    return (
        {"verdict": found["verdict"], "signers": signers, "findings": found["findings"], "files": len(files),
         "bytes": sum(f.stat().st_size for f in files), "folder": str(folder), "key_source": source}
        | {k: v for k, v in found.items() if k not in ("verdict", "findings", "signer")}
        | {"records": found.get("records", 0), "head": found.get("size")}
    )
