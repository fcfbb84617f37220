"""``sealift approval``: requests for a second person's yes, and the answers."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from console.cli.output import table
from console.errors import EXIT_DONE, shown
from console.i18n import N_, tr
from console.site.approvals import Approval

STATES = {"open": N_("open"), "granted": N_("granted"), "denied": N_("denied"), "used": N_("used"), "expired": N_("expired")}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``approval``."""
    parser = sub.add_parser("approval", parents=common, help="what waits for a second person's yes, and the answer to it")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", parents=common, help="requests, newest first")
    one.add_argument("--all", action="store_true", help="also those that were answered, used or have expired")
    one.set_defaults(run=_list)
    for name, text in (("grant", "say yes under your own name, as approver"), ("deny", "say no; the request is closed")):
        one = actions.add_parser(name, parents=common, help=text)
        one.add_argument("id", help="of the request, or the beginning of it")
        one.set_defaults(run=_answer, answer=name)


def _list(args: argparse.Namespace, app: Any) -> int:
    found = [one for one in app.engine().approvals.list() if args.all or one.state in ("open", "granted")]
    app.out({"requests": [asdict(one) for one in found]},
            lambda: table([_row(app, one) for one in found],
                          ("ID", app.t(N_("State")), app.t(N_("Asked by")), app.t(N_("Asks for")), app.t(N_("What"))))
            if found else app.t(N_("Nothing waits for an approval.")))
    return EXIT_DONE


def _row(app: Any, one: Approval) -> tuple[str, ...]:
    return one.id, tr(STATES[one.state], app.lang), one.requested_by, one.action, str(shown(str(one.document.get("object", ""))))


def _answer(args: argparse.Namespace, app: Any) -> int:
    engine = app.engine()
    asked = engine.approvals.get(args.id)
    about = str(asked.document.get("object", ""))
    if args.answer == "grant" and asked.action == "deploy" and asked.state == "open":
        engine.deployments.approve(about)
        found = engine.approvals.get(asked.id)
    else:
        found = (engine.approvals.grant if args.answer == "grant" else engine.approvals.deny)(asked.action, about, asked.digest)
    app.out({"request": asdict(found)}, lambda: app.t(N_("{id}: {state}"), id=found.id, state=tr(STATES[found.state], app.lang)))
    return EXIT_DONE
