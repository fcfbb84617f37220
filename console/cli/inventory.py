"""``sealift inventory``: ask servers, store, print; ``inventory parse`` reads one recorded output."""

from __future__ import annotations

import argparse
from typing import Any

from console.accelerators.device import HEALTH_WORDS
from console.cli.credentials import add_credential_options, fill_credentials
from console.cli.inventory_parse import add_parser
from console.cli.output import Encoded
from console.errors import EXIT_DONE, EXIT_FAILED, shown, words_of
from console.events import ServerResult
from console.i18n import N_, into
from console.units import size

FORM = N_("{name}: {devices} devices, {unreadable} facts could not be read")


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``inventory``. With ``parse`` as its first word it reads a recording and knows no servers."""
    parser = sub.add_parser("inventory", parents=common, help="ask servers what they are",
                            epilog=N_("inventory parse TOOL FILE reads one recorded output; see `sealift inventory parse --help`."))
    parser.add_argument("names", nargs="*", metavar="NAME", help="servers, or @group; all when left out")
    parser.add_argument("--full", action="store_true", help="ask also what cannot have changed since the server's start")
    parser.add_argument("--cached", action="store_true", help="print the last inventory instead of asking")
    add_credential_options(parser)
    parser.set_defaults(run=run)
    _branch_off(parser, common)


def _branch_off(parser: argparse.ArgumentParser, common: list[argparse.ArgumentParser]) -> None:
    """Hand everything to the parser of ``parse`` when that is the first word. argparse cannot tell a command from
    the first of any number of names, so it is told here, before it looks."""
    branch = type(parser)(prog=parser.prog, add_help=False)
    parser.branch = add_parser(branch.add_subparsers(), common)
    ask = parser.parse_known_args

    def parse_known_args(args=None, namespace=None):
        words = [n for n, word in enumerate(args or ()) if not word.startswith("-")]
        if words and args[words[0]] == "parse":
            rest = [*args[: words[0]], *args[words[0] + 1 :]]
            return branch.parse_known_args(["parse", *rest], namespace)
        return ask(args, namespace)

    parser.parse_known_args = parse_known_args


def run(args: argparse.Namespace, app: Any) -> int:
    """Ask the servers; exit 3 when not one was reached, else 0: some unreachable is a result."""
    from console.jobs.job import JobSpec

    fill_credentials(args, app)
    engine = app.engine()
    names = tuple(r.name for r in engine.servers.select(args.names))
    rows = _Rows(app, engine)
    if args.cached:
        taken = {name: engine.inventory.latest(name) for name in names}
    else:
        spec = JobSpec("inventory", app.t(N_("Inventory")), lambda ctx: engine.inventory.refresh(ctx, names, full=args.full), names)
        stop = engine.events.subscribe(rows)
        try:
            taken = app.ctx_job(spec)
        finally:
            stop()
    app.out({"servers": [rows.of(name, taken[name]) for name in names]} if app.json else {}, lambda: _text(app, engine, names, taken))
    reached = any(record is not None and record.reached for record in taken.values())
    return EXIT_DONE if reached or not names else EXIT_FAILED


class _Rows:
    """The JSON of servers. That of a large fleet is made while it comes in, and not at the end, when everybody waits for it."""

    def __init__(self, app: Any, engine: Any):
        self._app, self._engine = app, engine
        self._early: dict[str, tuple[str, Encoded]] = {}

    def __call__(self, event: Any) -> None:
        if isinstance(event, ServerResult) and self._app.json and not self._app.looked_on:
            record = self._engine.inventory.latest(event.server)
            if record is not None:
                self._early[event.server] = record.taken_at, self._encoded(event.server, record)

    def of(self, name: str, record: Any) -> Any:
        """The row of a server, as it was taken."""
        known = self._early.get(name)
        if known is not None and record is not None and known[0] == record.taken_at:
            return known[1]
        return _as_json(self._engine, name, record) if self._app.looked_on else self._encoded(name, record)

    def _encoded(self, name: str, record: Any) -> Encoded:
        return Encoded(self._app.encoded(_as_json(self._engine, name, record)))


def _as_json(engine: Any, name: str, record: Any) -> dict[str, Any]:
    """What is told of one server; records in it become JSON values on the way out, for a fleet has hundreds of thousands."""
    if record is None:
        return {"name": name, "taken_at": None, "reached": False, "error": None, "devices": [], "facts": {},
                "differences": []}
    changes = engine.inventory.changes(name) if record.reached else []
    return {"name": name, "taken_at": record.taken_at, "reached": record.reached, "error": record.error,
            "devices": record.devices, "differences": [c.as_dict() for c in changes],
            "facts": {f.id: {"state": f.state, "value": f.value, "reason": f.reason, "evidence": f.evidence}
                      for f in record.facts.values()}}


def change_lines(app: Any, changes: list) -> list[str]:
    """What changed, one line each, for people."""
    return [app.t(N_("  changed: {what}"), what=c.words(app.lang)) for c in changes]


def _text(app: Any, engine: Any, names: tuple[str, ...], taken: dict[str, Any]) -> str:
    lines = [_as_text(app, engine, name, taken[name]) for name in names]
    reached = sum(record is not None and record.reached for record in taken.values())
    if len(names) > 1:
        lines.append(app.t(N_("{reached} of {count} servers answered."), reached=reached, count=len(names)))
    return "\n".join(lines)


def _device_line(app: Any, device: Any) -> str:
    rests_on = f" ({shown(device.health_raw)})" if device.health_raw and device.health != "ok" else ""
    return (f"  {device.index}  {shown(device.model or device.name or '–')}  {size(device.memory_total_bytes)}  "
            f"{app.t(HEALTH_WORDS[device.health])}{rests_on}")


def _as_text(app: Any, engine: Any, name: str, record: Any) -> str:
    if record is None:
        return app.t(N_("{name}: never asked"), name=name)
    if not record.reached:
        return "\n".join(f"{name}: {text}" if number == 0 else f"  {text}" for number, text in enumerate(words_of(record.error, app.lang)))
    unreadable = [f for f in record.facts.values() if f.state == "unreadable"]
    lines = [app.t(FORM, name=name, devices=len(record.devices), unreadable=len(unreadable))]
    lines += [_device_line(app, d) for d in record.devices]
    lines += [app.t(N_("  not read: {fact}: {reason}"), fact=f.id, reason=shown(into(f.reason, app.lang))) for f in unreadable]
    lines += change_lines(app, engine.inventory.changes(name))
    return "\n".join(lines)
