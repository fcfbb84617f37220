"""Views of the record for other programs and for people. They are derived; only ``records.jsonl`` counts.

Sources of the forms: CEF (ArcSight Common Event Format, revision 25), syslog (RFC 5424), OCSF 1.3.0.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import console

Line = Callable[[dict[str, Any], bytes], str]
"""A record as read and its leaf, to its line in a view."""

COLUMNS = ("seq", "ts", "event", "outcome", "severity", "actor", "role", "object_kind", "object", "digest", "reason", "corr", "leaf", "detail")


def row(record: dict[str, Any], leaf: bytes) -> dict[str, str]:
    """The record as columns of text."""
    subject, who = record["object"], record["actor"]
    return {
        "seq": str(record["seq"]),
        "ts": record["ts"],
        "event": record["event"],
        "outcome": record["outcome"],
        "severity": str(record["severity"]),
        "actor": who["id"] or "",
        "role": who["role"] or "",
        "object_kind": subject["kind"] or "",
        "object": str(subject["id"] or ""),
        "digest": subject["digest"] or "",
        "reason": record["reason"] or "",
        "corr": record["corr"] or "",
        "leaf": leaf.hex(),
        "detail": json.dumps(record["detail"], ensure_ascii=False) if record["detail"] else "",
    }


def csv_header() -> str:
    """The first line of ``events.csv``."""
    return ",".join(COLUMNS) + "\r\n"


def csv_line(record: dict[str, Any], leaf: bytes) -> str:
    """A line of ``events.csv``. A spreadsheet takes a cell that begins with = + - @ or a tab for a formula."""
    out, cells = io.StringIO(newline=""), row(record, leaf)
    csv.writer(out).writerow(["'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell for cell in (cells[c] for c in COLUMNS)])
    return out.getvalue()


def _escaped(text: str, marks: str) -> str:
    return "".join("\\" + c if c in marks else " " if c in "\r\n\u2028\u2029" else c for c in text)


def cef_line(record: dict[str, Any], leaf: bytes) -> str:
    """A line of ``events.cef``."""
    cells = row(record, leaf)
    extension = {
        "rt": str(_epoch_ms(record["ts"])),
        "outcome": cells["outcome"],
        "suser": cells["actor"],
        "spriv": cells["role"],
        "shost": record["source"]["host"] or "",
        "externalId": cells["seq"],
        "cn1Label": "seq",
        "cn1": cells["seq"],
        "cs1Label": "leaf",
        "cs1": cells["leaf"],
        "cs2Label": "object",
        "cs2": cells["object"],
        "reason": cells["reason"],
    }
    text = " ".join(f"{k}={_escaped(v, chr(92) + '=')}" for k, v in extension.items() if v)
    name = _escaped(cells["event"], "\\|")
    return f"CEF:0|Sealift|Sealift|{console.__version__}|{name}|{name}|{min(10, record['severity'])}|{text}\n"


def syslog_line(record: dict[str, Any], leaf: bytes) -> str:
    """A line of ``events.rfc5424``; facility 13 (log audit)."""
    cells = row(record, leaf)
    level = {"success": 6, "failure": 4, "denied": 4, "error": 3}[record["outcome"]]
    data = {"seq": cells["seq"], "leaf": cells["leaf"], "outcome": cells["outcome"], "actor": cells["actor"], "object": cells["object"]}
    quoted = " ".join(f'{k}="{_escaped(v, chr(92) + chr(34) + "]")}"' for k, v in data.items())
    host = "".join(c for c in record["source"]["host"] or "-" if "!" <= c <= "~")[:255] or "-"
    return f"<{13 * 8 + level}>1 {cells['ts']} {host} sealift {record['source']['pid']} {cells['event'][:32]} [audit@32473 {quoted}]\n"


_ACTIVITIES = {
    "auth.login": (3002, 1), "auth.fail": (3002, 1), "auth.logout": (3002, 2),
    "account.add": (3001, 1), "account.passwd": (3001, 4), "account.disable": (3001, 5), "auth.lock": (3001, 9), "auth.unlock": (3001, 12),
}
_CREATES = ("add", "import", "build", "grant", "request", "start", "init")
_DELETES = ("remove", "retire", "rollback", "revoke")
_READS = ("verify", "export", "open", "list")


def _activity(event: str) -> tuple[int, int]:
    """Class and activity of OCSF: Authentication 3002, Account Change 3001, API Activity 6003 for the rest."""
    if event in _ACTIVITIES:
        return _ACTIVITIES[event]
    family, _, verb = event.partition(".")
    if family in ("auth", "account", "role"):
        return (3002 if family == "auth" else 3001), 99
    number = 1 if verb in _CREATES else 2 if verb in _READS else 4 if verb in _DELETES else 99
    return 6003, number


def ocsf_line(record: dict[str, Any], leaf: bytes) -> str:
    """A line of ``events.ocsf.jsonl``."""
    cls, activity = _activity(record["event"])
    who, subject = record["actor"], record["object"]
    document = {
        "class_uid": cls,
        "category_uid": cls // 1000,
        "activity_id": activity,
        "type_uid": cls * 100 + activity,
        "time": _epoch_ms(record["ts"]),
        "severity_id": _severity(record["severity"]),
        "status": record["outcome"],
        "status_id": 1 if record["outcome"] == "success" else 2,
        "status_code": record["reason"],
        "message": record["event"],
        "actor": {"user": {"name": who["id"]}, "session": {"uid": who["session"]}},
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "Sealift", "vendor_name": "Sealift", "version": record["source"]["version"]},
            "uid": str(record["seq"]),
            "sequence": record["seq"],
            "correlation_uid": record["corr"],
        },
        "unmapped": {"seq": record["seq"], "leaf": leaf.hex(), "event": record["event"], "approvers": record["approvers"],
                     "object": subject, "detail": record["detail"]},
    }
    if cls == 6003:
        document |= {"api": {"operation": record["event"]}, "src_endpoint": {"hostname": record["source"]["host"]}}
    else:
        document["user"] = {"name": subject["id"] if subject["kind"] == "account" else who["id"]}
    return json.dumps(document, ensure_ascii=False) + "\n"


def _epoch_ms(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _severity(level: int) -> int:
    """0 to 10 on the scale of OCSF: 1 informational, 2 low, 3 medium, 4 high, 5 critical."""
    return 1 if level <= 1 else 2 if level <= 3 else 3 if level <= 5 else 4 if level <= 7 else 5


REPORT_CELLS = ("seq", "ts", "event", "outcome", "actor", "object", "reason")


def html_head(origin: str, note: bytes, short_code: str) -> str:
    """The beginning of ``report.html``."""
    style = (
        "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;"
        "padding:4px 8px;text-align:left}pre{background:#f4f4f4;padding:1em}"
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Audit record of {html.escape(origin)}</title><style>{style}</style>"
        f"<h1>Audit record of {html.escape(origin)}</h1><p>A view made from records.jsonl, which alone counts. Check it with "
        f"<code>python3 verify_audit.py</code>.</p><p>Short code of the signed head: <strong>{short_code}</strong></p>"
        f"<pre>{html.escape(note.decode())}</pre><table><tr>" + "".join(f"<th>{c}</th>" for c in REPORT_CELLS) + "</tr>\n"
    )


def html_line(record: dict[str, Any], leaf: bytes) -> str:
    """A row of ``report.html``."""
    cells = row(record, leaf)
    return "<tr>" + "".join(f"<td>{html.escape(cells[c])}</td>" for c in REPORT_CELLS) + "</tr>\n"


LINES: dict[str, Line] = {
    "views/events.csv": csv_line,
    "views/events.cef": cef_line,
    "views/events.rfc5424": syslog_line,
    "views/events.ocsf.jsonl": ocsf_line,
    "views/report.html": html_line,
}
