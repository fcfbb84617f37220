"""``sealift audit``: the log, its verification, its export and the export's verification."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE
from console.i18n import N_


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``audit``."""
    parser = sub.add_parser("audit", parents=common, help="the log")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", parents=common, help="records, newest first")
    one.add_argument("--event", help="only events that begin with this")
    one.add_argument("--limit", type=int, default=50)
    one.set_defaults(run=_list)
    one = actions.add_parser("verify", parents=common, help="check every record and every signed head")
    one.set_defaults(run=_verify)
    one = actions.add_parser("export", parents=common, help="write the signed record onto a drive or into a folder")
    one.add_argument("--out", required=True, metavar="DIR")
    one.set_defaults(run=_export)
    one = actions.add_parser("verify-export", parents=common, help="check an export; needs no workspace")
    one.add_argument("folder")
    one.add_argument("--key", metavar="LINE|FILE", help="the verifier key that was noted apart from the export")
    one.add_argument("--known-head", action="append", default=[], metavar="FILE", help="a signed head kept from before")
    one.set_defaults(run=_verify_export)


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


def _verdict_text(app: Any, document: dict[str, Any]) -> str:
    lines = [f"{document['verdict'].upper()}  " + app.t(N_("{records} records"), records=document["records"])]
    lines += [f"  {f['code']}  {f.get('record', f.get('path', ''))}  {f['message']}" for f in document["findings"]]
    return "\n".join(lines)


def _verify(args: argparse.Namespace, app: Any) -> int:
    document = app.engine().audit.verify()
    app.out(document, lambda: _verdict_text(app, document))
    return EXIT_DONE if document["verdict"] == "verified" else EXIT_BAD_VERDICT


def _export(args: argparse.Namespace, app: Any) -> int:
    document = app.engine().audit.export(Path(args.out))
    app.out(
        document,
        lambda: app.t(
            N_("{records} records exported to {folder}. Verifier key, to be kept apart: {key}"),
            records=document["records"],
            folder=document["folder"],
            key=document["verifier_key"],
        ),
    )
    return EXIT_DONE


def _verify_export(args: argparse.Namespace, app: Any) -> int:
    from console.audit.package import verify_export

    key = args.key
    if key is not None and Path(key).is_file():
        key = Path(key).read_text(encoding="utf-8").strip()
    document = verify_export(Path(args.folder), key, [Path(p) for p in args.known_head])
    app.out(document, lambda: _verdict_text(app, document))
    return EXIT_DONE if document["verdict"] == "verified" else EXIT_BAD_VERDICT
