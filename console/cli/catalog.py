"""``sealift catalog``: sourced facts on models, devices, frameworks and stacks; and bringing in newer ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.cli.output import table
from console.errors import EXIT_DONE, InputError, code
from console.i18n import N_

UNKNOWN_KIND = code("catalog.unknown-kind", InputError, N_("The catalog has no kind {name}."), N_("Its kinds are: {known}."))
UNKNOWN_ENTRY = code("catalog.unknown-entry", InputError, N_("The catalog has no entry {name} of the kind {kind}."),
                     N_("`sealift catalog show {kind}` lists them."))
KINDS = {"devices": "devices", "accelerators": "devices", "chips": "devices", "models": "models", "rules": "rules",
         "thresholds": "thresholds", "checks": "thresholds", "serving": "serving", "frameworks": "serving", "stacks": "stacks", "compat": "stacks"}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``catalog``."""
    parser = sub.add_parser("catalog", parents=common, help="sourced facts on models, chips and stacks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("show", parents=common, help="what is known, with source, date, grade and confidence")
    one.add_argument("kind", nargs="?", metavar="KIND", help="devices, models, serving, stacks, rules or thresholds")
    one.add_argument("name", nargs="?", metavar="NAME", help="one entry, by any of its names")
    one.set_defaults(run=_show)
    one = actions.add_parser("import", parents=common, help="take in newer facts, kept beside those that came with the program")
    one.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a catalog file that an administrator vouches for")
    one.add_argument("--sha256", metavar="HEX", help="the digest of FILE as its sender gave it; wanted with FILE")
    one.add_argument("--release", metavar="RELEASE", help="take the catalog of a verified release of the library instead")
    one.set_defaults(run=_import)
    one = actions.add_parser("list", parents=common, help="the catalog files that were taken in")
    one.set_defaults(run=_list)


def _show(args: argparse.Namespace, app: Any) -> int:
    from console.catalog.catalog import load

    catalog = load(app.workspace / "catalog")
    kind = KINDS.get(args.kind) if args.kind else None
    if args.kind and kind is None:
        raise UNKNOWN_KIND(name=args.kind[:60], known=", ".join(dict.fromkeys(KINDS.values())))
    entries = [e for e in catalog.all(kind) if e.section in ("entries", "support", "minimum", "warnings") or args.name]
    if args.name:
        entries = [_one(catalog, kind, args.name)]
    app.out({"entries": [e.as_dict() for e in entries]}, lambda: _text(entries, app, bool(args.name)))
    return EXIT_DONE


def _one(catalog: Any, kind: str, name: str) -> Any:
    found = None
    if kind == "devices":
        named = catalog.device_or_none(name)
        found = named.entry if named else None
    elif kind == "models":
        named = catalog.model_or_none(name)
        found = named.entry if named else catalog.find("models", name, "architectures")
    found = found or next((e for e in catalog.all(kind) if e.name.lower() == name.lower()), None)
    if found is None:
        raise UNKNOWN_ENTRY(name=name[:100], kind=kind)
    return found


def _text(entries: list[Any], app: Any, full: bool) -> str:
    if full:
        told = entries[0].as_dict()
        lines = [f"{key}: {value}" for key, value in told.items() if key not in ("sources",) and value not in (None, "", [])]
        return "\n".join([*lines, *(f"{app.t(N_('source'))}: {s['title']} ({s['date']})" for s in told["sources"])])
    rows = [(e.kind, e.name, e.grade, e.confidence, e.date, e.note[:80]) for e in entries]
    head = (N_("Kind"), N_("Name"), N_("Grade"), N_("Confidence"), N_("Date"), N_("Note"))
    return table(rows, [app.t(text) for text in head])


def _import(args: argparse.Namespace, app: Any) -> int:
    from console.catalog.imports import import_file, import_release

    engine = app.engine()
    taken = import_release(engine, args.release) if args.release else import_file(engine, args.file, args.sha256)
    app.out({"imported": taken}, lambda: "\n".join(
        app.t(N_("{file}: {count} entries, {replaced} of them replace older ones."), **one) for one in taken))
    return EXIT_DONE


def _list(args: argparse.Namespace, app: Any) -> int:
    from console.catalog.imports import imported

    files = imported(app.workspace)
    app.out({"files": files}, lambda: table([(f["file"], f["sha256"][:16], str(f["entries"])) for f in files],
                                           [app.t(N_("File")), app.t(N_("Digest")), app.t(N_("Entries"))]))
    return EXIT_DONE
