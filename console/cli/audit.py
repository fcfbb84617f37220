"""``sealift audit``: the log, its verification, its export and the export's verification."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.cli.credentials import add_credential_options, fill_credentials
from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, EXIT_FAILED, InputError, code
from console.i18n import N_

UNREADABLE = code(
    "audit.head-unreadable", InputError, N_("The signed head {path} cannot be read: {reason}."), N_("Check the path and the rights of the file.")
)

WARNINGS = {
    "damaged": N_("The log is damaged; nothing new is started. `sealift audit verify` says what is wrong."),
    "quota-stop": N_("The log fills {percent} % of its quota: nothing new is started until it has room."),
    "quota-warn": N_("The log fills {percent} % of its quota."),
    "export-due": N_("The record was not exported for {days} days."),
    "head-copy-failed": N_("The copy of the signed head in the other folder could not be written."),
}


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(text)


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``audit``."""
    parser = sub.add_parser("audit", parents=common, help="the log")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", parents=common, help="records, newest first")
    one.add_argument("--event", help="only events that begin with this")
    one.add_argument("--limit", type=_count, default=50)
    one.set_defaults(run=_list)
    one = actions.add_parser("status", parents=common, help="how full the log is, when it was exported, its keys")
    one.set_defaults(run=_status)
    one = actions.add_parser("verify", parents=common, help="check every record and every signed head")
    one.add_argument("--known-head", action="append", default=[], metavar="FILE", help="a signed head kept from before")
    one.add_argument("--servers", nargs="*", metavar="NAME", help="compare with the heads that servers keep; all when none is named")
    add_credential_options(one)
    one.set_defaults(run=_verify)
    one = actions.add_parser("export", parents=common, help="write the signed record onto a drive or into a folder")
    one.add_argument("--out", required=True, metavar="DIR")
    how = one.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="from the first record on, also where the last export lies in the same place")
    how.add_argument("--since", type=_count, metavar="N", help="from the record after N on; a head was signed over N records")
    one.add_argument("--known-head", action="append", default=[], metavar="FILE", help="prove that the record goes on from this head too")
    one.set_defaults(run=_export)
    one = actions.add_parser("verify-export", parents=common, help="check an export; needs no workspace")
    one.add_argument("folder")
    one.add_argument("--key", metavar="LINE|FILE", help="the verifier key that was noted apart from the export; that of this workspace's "
                                                        "own log when left out")
    one.add_argument("--known-head", action="append", default=[], metavar="FILE", help="a signed head kept from before")
    one.set_defaults(run=_verify_export)
    one = actions.add_parser("rotate-key", parents=common, help="hand over to a new key for the log's heads and erase the old one")
    one.add_argument("--reason", default="", help="why, for the record")
    one.set_defaults(run=_rotate)
    one = actions.add_parser("copy-head", parents=common, help="have servers keep a copy of the newest signed head")
    one.add_argument("names", nargs="*", metavar="NAME", help="servers; all of them when left out")
    add_credential_options(one)
    one.set_defaults(run=_copy)


def _list(args: argparse.Namespace, app: Any) -> int:
    records = app.engine().audit.list(limit=args.limit, event=args.event)
    app.out(
        {"records": records},
        lambda: table(
            [
                (str(r["seq"]), r["ts"][:19], r["event"], r["outcome"], r["actor"]["id"] or "", str(r["object"]["id"] or ""))
                for r in records
            ],
            ("#", app.t(N_("Time")), app.t(N_("Event")), app.t(N_("Outcome")), app.t(N_("Who")), app.t(N_("What"))),
        ),
    )
    return EXIT_DONE


def _status(args: argparse.Namespace, app: Any) -> int:
    log = app.engine().audit
    found = log.standing() | {"origin": log.origin, "keys": [key.as_dict() for key in log.verifier_keys()]}

    def text() -> str:
        lines = [app.t(N_("{records} records, {percent} % of the quota; short code of the newest signed head: {code}"),
                       records=found["records"], percent=found["percent"], code=found["short_code"] or "–")]
        lines += [app.t(WARNINGS[word], percent=found["percent"], days=found["days_without_export"]) for word in found["warnings"]]
        lines += [app.t(N_("verifier key from record {number} on: {key}"), number=k["from_record"], key=k["verifier_key"])
                  for k in found["keys"]]
        return "\n".join(lines)

    app.out(found, text)
    return EXIT_BAD_VERDICT if {"damaged", "quota-stop"} & set(found["warnings"]) else EXIT_DONE


def _verdict_text(app: Any, document: dict[str, Any]) -> str:
    lines = [f"{document['verdict'].upper()}  " + app.t(N_("{records} records"), records=document["records"])]
    lines += [f"  {f['code']}  {f.get('record', f.get('path', ''))}  {f['message']}" for f in document["findings"]]
    return "\n".join(lines)


def _head(path: str) -> tuple[str, bytes]:
    try:
        return path, Path(path).read_bytes()[: 1 << 20]
    except OSError as problem:
        raise UNREADABLE(path=path, reason=problem.strerror or "?") from None


def _verify(args: argparse.Namespace, app: Any) -> int:
    known = [_head(path) for path in args.known_head]
    engine = app.engine()
    if args.servers is not None:
        from console.audit.copies import read_heads

        fill_credentials(args, app)
        known += read_heads(engine, [one.name for one in engine.servers.select(args.servers)])
    document = engine.audit.verify(known)
    app.out(document, lambda: _verdict_text(app, document))
    return EXIT_DONE if document["verdict"] == "verified" else EXIT_BAD_VERDICT


def _export(args: argparse.Namespace, app: Any) -> int:
    document = app.engine().audit.export(Path(args.out), full=args.full, since=args.since, known_heads=[Path(p) for p in args.known_head])
    app.out(
        document,
        lambda: app.t(
            N_("{records} records exported to {folder}. Verifier key, to be kept apart: {key}"),
            records=document["records"],
            folder=document["folder"],
            key=document["verifier_key"],
        ) + "\n" + app.t(N_("Short code of the signed head, for the paper record: {code}"), code=document["short_code"]),
    )
    return EXIT_DONE


def _verify_export(args: argparse.Namespace, app: Any) -> int:
    from console.audit.package import own_key, verify_export

    key = args.key
    if key is not None and Path(key).is_file():
        key = Path(key).read_text(encoding="utf-8", errors="replace").strip()
    for path in args.known_head:
        _head(path)
    # This console's own key is kept here and not in the export, so it counts; for exports of this log alone.
    document = verify_export(Path(args.folder), key, [Path(p) for p in args.known_head], own_key(app.workspace))

    def text() -> str:
        lines = [_verdict_text(app, document), *(f"  {line}" for line in document["warnings"])]
        return "\n".join([*lines, app.t(N_("Checked against the key of this workspace's own log."))] if document["key_source"] == "workspace"
                         else lines)

    app.out(document, text)
    return EXIT_DONE if document["verdict"] == "verified" else EXIT_BAD_VERDICT


def _rotate(args: argparse.Namespace, app: Any) -> int:
    engine = app.engine()
    old, new = engine.audit.verifier_line(), engine.audit.rotate_key(args.reason)
    app.out({"old_key": old, "new_key": new.line, "handover_record": new.handover_record},
            lambda: app.t(N_("From now on heads are signed by a new key; record {number} hands over. Verifier key: {key}"),
                          number=new.handover_record, key=new.line))
    return EXIT_DONE


def _copy(args: argparse.Namespace, app: Any) -> int:
    from console.audit.copies import copy_heads
    from console.jobs.job import JobSpec

    engine = app.engine()
    names = tuple(one.name for one in engine.servers.select(args.names))
    fill_credentials(args, app)
    engine.require("operator", "admin", "auditor")
    found = app.ctx_job(JobSpec("audit.copy", app.t(N_("Copies of the signed head")), lambda ctx: copy_heads(engine, ctx, names), names))
    app.out({"servers": found}, lambda: "\n".join(f"{one['name']}: {one['outcome']}" for one in found))
    return EXIT_DONE if all(one["error"] is None for one in found) else EXIT_FAILED
