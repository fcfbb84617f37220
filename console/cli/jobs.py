"""``sealift jobs``: what was done, and what was cut off."""

from __future__ import annotations

import argparse
from typing import Any

from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE
from console.i18n import N_

HOW_TO_GO_ON = {
    "push.run": N_("Push it again: it goes on from the last verified chunk."),
    "bundle.import": N_("Import it again: chunks that were copied and checked are not copied again."),
    "deploy.apply": N_("Apply the plan again to go on, or roll the deployment back."),
}
"""What to tell a person about an interrupted job, by kind."""


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``jobs``."""
    parser = sub.add_parser("jobs", parents=common, help="what was done and what was cut off")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", parents=common, help="jobs, newest first")
    one.add_argument("--interrupted", action="store_true", help="only those that were cut off and not dismissed")
    one.set_defaults(run=_list)
    one = actions.add_parser("dismiss", parents=common, help="take a cut-off job off the list")
    one.add_argument("id")
    one.set_defaults(run=_dismiss)


def _list(args: argparse.Namespace, app: Any) -> int:
    jobs = app.engine().jobs
    rows = jobs.interrupted() if args.interrupted else jobs.history()
    for row in rows:
        row["how_to_go_on"] = app.t(HOW_TO_GO_ON.get(row["kind"], N_("Start it again."))) if row["state"] == "interrupted" else None
    app.out(
        {"jobs": rows},
        lambda: table(
            [(r["id"], r["submitted_at"][:19], r["state"], r["title"], r["how_to_go_on"] or "") for r in rows],
            ("ID", app.t(N_("Since")), app.t(N_("State")), app.t(N_("Job")), ""),
        ),
    )
    return EXIT_DONE


def _dismiss(args: argparse.Namespace, app: Any) -> int:
    done = app.engine().jobs.dismiss(args.id)
    app.out({"dismissed": done}, lambda: app.t(N_("Dismissed.") if done else N_("There is no such interrupted job.")))
    return EXIT_DONE if done else EXIT_BAD_VERDICT
