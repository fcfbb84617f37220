"""The export package: the exact records, the signed head, and a verifier that needs nothing of ours.

Only ``records.jsonl`` counts; the views are derived from it and say so. An export goes on from the one before: its
edge must give that head's root, so each export proves the earlier one to be its prefix.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import importlib.util
import io
import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import console
from console.assets import asset
from console.audit import note
from console.errors import InputError, WorldError, code
from console.i18n import N_
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
NO_EXPORT = code(
    "audit.no-export",
    InputError,
    N_("{folder} holds no exported record."),
    N_("Name the folder AUDIT/<installation>/<first>-<last> of the drive."),
)


def write_package(log: AuditLog, engine: Engine, out: Path) -> dict[str, Any]:
    """Write ``AUDIT/<installation>/<first>-<last>/`` under ``out`` and flush it.

    Raises:
        InputError: ``audit.export-exists``. WorldError: ``audit.export-unwritable``.
    """
    engine.require("auditor", "admin", "operator")
    with engine.act("audit.export", {"kind": "folder", "id": str(out), "digest": None}) as told:
        head = log.checkpoint()
        records = [(bytes(rec), bytes(leaf)) for _, rec, leaf in log.records(1, head.size if head else 0)]
        folder = out / "AUDIT" / log.origin.replace("/", "_") / f"{1:08d}-{len(records):08d}"
        if folder.exists():
            raise EXISTS(folder=str(folder))
        part = folder.with_name(folder.name + ".part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            (part / "views").mkdir(parents=True)
            _write_files(part, log, records, dict(log.checkpoints()))
            _flush(part)
            part.rename(folder)
        except OSError as problem:
            shutil.rmtree(part, ignore_errors=True)
            raise UNWRITABLE(folder=str(folder), reason=problem.strerror or str(problem)) from None
        told["records"], told["root"] = len(records), head.root.hex() if head else None
    return {
        "folder": str(folder),
        "records": len(records),
        "origin": log.origin,
        "verifier_key": log.verifier_line(),
        "root": head.root.hex() if head else None,
        "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
    }


def _write_files(folder: Path, log: AuditLog, records: list[tuple[bytes, bytes]], heads: dict[int, bytes]) -> None:
    leaves = [leaf for _, leaf in records]
    earlier = [size for size in heads if size < len(records)]
    old = max(earlier, default=0)
    proof = merkle.consistency_proof(leaves, old) if old else []
    values = [decode(rec, max_bytes=64 << 10) for rec, _ in records]
    files: dict[str, bytes] = {
        "records.jsonl": b"".join(rec + b"\n" for rec, _ in records),
        "checkpoint": heads[len(records)],
        "start.json": _json({"size": 0, "edge": []}),
        "keys.json": _json({"keys": [{"verifier_key": log.verifier_line(), "from_record": 1}]}),
        "consistency.json": _json({"from": old, "to": len(records), "proof": [base64.b64encode(p).decode() for p in proof]}),
        "verify_audit.py": asset("audit/verify_audit.py").read_bytes(),
        "views/events.csv": _csv(values),
        "views/events.cef": _cef(values, leaves),
        "views/events.rfc5424": _syslog(values, leaves),
        "views/events.ocsf.jsonl": _ocsf(values, leaves),
        "views/report.html": _report(values, log.origin, heads[len(records)]),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in sorted(files.items())]
    (folder / "MANIFEST.sha256").write_text("\n".join(lines) + "\n", encoding="ascii")


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as handle:
                os.fsync(handle.fileno())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


# Views ---------------------------------------------------------------------------------------------------------------

_COLUMNS = ("seq", "ts", "event", "outcome", "severity", "actor", "role", "object_kind", "object", "digest", "reason", "corr", "detail")


def _row(record: dict[str, Any]) -> dict[str, str]:
    subject = record["object"]
    return {
        "seq": str(record["seq"]),
        "ts": record["ts"],
        "event": record["event"],
        "outcome": record["outcome"],
        "severity": str(record["severity"]),
        "actor": record["actor"]["id"] or "",
        "role": record["actor"]["role"] or "",
        "object_kind": subject["kind"] or "",
        "object": str(subject["id"] or ""),
        "digest": subject["digest"] or "",
        "reason": record["reason"] or "",
        "corr": record["corr"] or "",
        "detail": json.dumps(record["detail"], ensure_ascii=False) if record["detail"] else "",
    }


def _csv(values: list[dict[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for record in values:
        row = _row(record)
        # A spreadsheet takes a cell that begins so for a formula.
        writer.writerow(["'" + cell if cell[:1] in ("=", "+", "-", "@", "\t") else cell for cell in (row[c] for c in _COLUMNS)])
    return out.getvalue().encode("utf-8")


def _escaped(text: str, marks: str) -> str:
    return "".join("\\" + c if c in marks else " " if c in "\r\n" else c for c in text)


def _cef(values: list[dict[str, Any]], leaves: list[bytes]) -> bytes:
    lines = []
    for record, leaf in zip(values, leaves, strict=True):
        row = _row(record)
        extension = {
            "rt": row["ts"],
            "outcome": row["outcome"],
            "suser": row["actor"],
            "externalId": row["seq"],
            "cs1Label": "leaf",
            "cs1": leaf.hex(),
            "cs2Label": "object",
            "cs2": row["object"],
            "reason": row["reason"],
        }
        text = " ".join(f"{k}={_escaped(v, chr(92) + '=')}" for k, v in extension.items() if v)
        name = _escaped(row["event"], "\\|")
        lines.append(f"CEF:0|Sealift|Sealift|{console.__version__}|{name}|{name}|{row['severity']}|{text}")
    return ("\n".join(lines) + "\n").encode("utf-8")


def _syslog(values: list[dict[str, Any]], leaves: list[bytes]) -> bytes:
    lines = []
    for record, leaf in zip(values, leaves, strict=True):
        row = _row(record)
        level = {"success": 6, "failure": 4, "denied": 4, "error": 3}[row["outcome"]]
        data = {"seq": row["seq"], "leaf": leaf.hex(), "outcome": row["outcome"], "actor": row["actor"], "object": row["object"]}
        quoted = " ".join(f'{k}="{_escaped(v, chr(92) + chr(34) + "]")}"' for k, v in data.items())
        host = "".join(c for c in record["source"]["host"] or "-" if "!" <= c <= "~") or "-"
        lines.append(f"<{13 * 8 + level}>1 {row['ts']} {host} sealift {record['source']['pid']} {row['event'][:32]} [audit@32473 {quoted}]")
    return ("\n".join(lines) + "\n").encode("utf-8")


_OCSF = {"auth": (3002, 3), "account": (3001, 3), "role": (3001, 3)}


def _ocsf(values: list[dict[str, Any]], leaves: list[bytes]) -> bytes:
    lines = []
    for record, leaf in zip(values, leaves, strict=True):
        cls, category = _OCSF.get(record["event"].split(".")[0], (6003, 6))
        activity = {"login": 1, "logout": 2}.get(record["event"].split(".")[-1], 99)
        lines.append(
            json.dumps(
                {
                    "class_uid": cls,
                    "category_uid": category,
                    "activity_id": activity,
                    "type_uid": cls * 100 + activity,
                    "time_dt": record["ts"],
                    "severity_id": min(6, record["severity"]),
                    "status": record["outcome"],
                    "status_id": 1 if record["outcome"] == "success" else 2,
                    "actor": {"user": {"name": record["actor"]["id"]}},
                    "metadata": {
                        "version": "1.3.0",
                        "product": {"name": "Sealift", "version": console.__version__},
                        "uid": str(record["seq"]),
                    },
                    "unmapped": {
                        "seq": record["seq"],
                        "leaf": leaf.hex(),
                        "event": record["event"],
                        "object": record["object"],
                        "detail": record["detail"],
                    },
                },
                ensure_ascii=False,
            )
        )
    return ("\n".join(lines) + "\n").encode("utf-8")


def _report(values: list[dict[str, Any]], origin: str, head: bytes) -> bytes:
    cells = ("seq", "ts", "event", "outcome", "actor", "object", "reason")
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(_row(r)[c])}</td>" for c in cells) + "</tr>\n" for r in values)
    style = (
        "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;"
        "padding:4px 8px;text-align:left}pre{background:#f4f4f4;padding:1em}"
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Audit record of {html.escape(origin)}</title><style>{style}</style>"
        f"<h1>Audit record of {html.escape(origin)}</h1><p>A view made from records.jsonl, which alone counts. Check it with "
        f"<code>python3 verify_audit.py</code>.</p><pre>{html.escape(head.decode())}</pre><table><tr>"
        + "".join(f"<th>{c}</th>" for c in cells)
        + f"</tr>\n{rows}</table>"
    ).encode()


# Checking ------------------------------------------------------------------------------------------------------------


@cache
def _verifier() -> Any:
    """The very file that travels with every export."""
    spec = importlib.util.spec_from_file_location("sealift_verify_audit", asset("audit/verify_audit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verify_export(folder: Path, verifier_key: str | None, known_heads: list[Path] | tuple[Path, ...] = ()) -> dict[str, Any]:
    """The contract's verdict document over an export.

    Args:
        verifier_key: the log's key as noted apart from the export; without it the best verdict is unverified.

    Raises:
        InputError: ``audit.no-export``.
    """
    if not (folder / "records.jsonl").is_file():
        raise NO_EXPORT(folder=str(folder))
    found = _verifier().verify(str(folder), verifier_key, [str(p) for p in known_heads])
    signers = []
    if found["signer"]:
        from console.audit.log import public_key

        origin, key = public_key(found["signer"])
        signers = [{"key_id": key.keyid, "name": origin, "fingerprint": key.fingerprint}]
    files = [f for f in folder.rglob("*") if f.is_file()]
    return (
        {
            "verdict": found["verdict"],
            "signers": signers,
            "findings": found["findings"],
            "files": len(files),
            "bytes": sum(f.stat().st_size for f in files),
        }
        | {k: v for k, v in found.items() if k not in ("verdict", "findings", "signer")}
        | {
            "records": found.get("records", 0),
            "head": note.read((folder / "checkpoint").read_bytes()).size
            if (folder / "checkpoint").is_file() and not found["findings"]
            else None,
        }
    )
