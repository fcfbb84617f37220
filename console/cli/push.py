"""``sealift push``: a release onto servers, verified there."""

from __future__ import annotations

import argparse
from typing import Any

from console import units
from console.cli.credentials import add_credential_options, fill_credentials
from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, EXIT_FAILED, InputError, code, words_of
from console.i18n import N_
from console.jobs.job import JobSpec

BAD_RATE = code("push.bad-limit", InputError, N_("{rate} is not a rate."), N_("Write it as 20MiB or 25MB, for each second."))
BAD_VERDICTS = ("push.wrong-bytes",)
"""Errors that mean that the server was heard and judged, not that it could not be done."""

OUTCOMES = {
    "verified": N_("verified"),
    "failed": N_("failed"),
    "cancelled": N_("cancelled"),
    "unreachable": N_("unreachable"),
    "refused": N_("refused"),
    "unverified": N_("unverified"),
}
DEGREES = {"received": N_("received"), "stored": N_("stored"), "media": N_("on the medium"), "": "–"}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``push``."""
    parser = sub.add_parser("push", parents=common, help="weights and packages onto servers, verified there")
    parser.add_argument("bundle", help="release id, bundle id or title")
    parser.add_argument("--to", nargs="+", required=True, metavar="NAME", help="servers, or @group")
    parser.add_argument("--relay", choices=("auto", "off"), default="auto")
    parser.add_argument("--degree", choices=("received", "stored", "media"), help="how the server verifies; never less than the policy")
    parser.add_argument("--limit", metavar="RATE", help="most bytes a second, all servers together, such as 50MiB")
    parser.add_argument("--window", metavar="HH:MM-HH:MM", help="send only at these hours, such as 20:00-06:00; wait else")
    parser.add_argument("--priority", choices=("low", "normal", "high"), default="normal", help="lower ones wait for higher ones")
    parser.add_argument("--connections", type=int, metavar="N", help="1 to 4 to each server; measured when not given")
    parser.add_argument("--component", action="append", metavar="ID", help="only this component; may be given several times")
    parser.add_argument("--verify-only", action="store_true", help="send nothing: hash what lies on the servers again")
    add_credential_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, app: Any) -> int:
    try:
        limit = units.parse_size(args.limit) if args.limit else None
    except ValueError:
        raise BAD_RATE(rate=args.limit) from None
    fill_credentials(args, app)
    engine = app.engine()
    release = engine.library.get(args.bundle)
    names = [record.name for record in engine.servers.select(args.to)]
    if args.verify_only:
        return _verify(app, engine, release, names, args.component)
    options = {"relay": args.relay, "degree": args.degree, "components": args.component, "limit_bytes_per_s": limit}
    options |= {"priority": args.priority, "window": args.window}
    title = app.t(N_("Push {title}"), title=release.title)
    data = app.ctx_job(engine.push.job(release, names, title, connections=args.connections, **options))
    app.out(data, lambda: _told(app, data))
    return _exit_code(data["servers"])


def _exit_code(servers: list[dict[str, Any]]) -> int:
    if all(s["outcome"] == "verified" for s in servers):
        return EXIT_DONE
    judged = any(s["outcome"] == "refused" or (s["error"] or {}).get("code") in BAD_VERDICTS for s in servers)
    return EXIT_BAD_VERDICT if judged else EXIT_FAILED


def _told(app: Any, data: dict[str, Any]) -> str:
    heads = (N_("Server"), N_("Outcome"), N_("Degree"), N_("Sent"), N_("Was there"), N_("Fed by"), N_("Time"))
    rows = [
        (
            s["name"],
            app.t(OUTCOMES[s["outcome"]]),
            app.t(DEGREES[s["degree"]]),
            units.size(s["bytes_sent"]),
            units.size(s["bytes_reused"] + s["bytes_resumed"]),
            app.t(N_("the console")) if s["via"] == "console" else s["via"].removeprefix("relay:"),
            units.duration(s["seconds"]),
        )
        for s in data["servers"]
    ]
    return "\n".join([table(rows, tuple(app.t(head) for head in heads)), *_errors(app, data)])


def _errors(app: Any, data: dict[str, Any]) -> list[str]:
    """What went wrong on each server, in the reader's language."""
    lines = []
    for server in data["servers"]:
        if error := server["error"]:
            lines.append(f"{server['name']}: {' '.join(words_of(error, app.lang))} [{error['code']}]")
    return lines


def _verify(app: Any, engine: Any, release: Any, names: list[str], components: list[str] | None) -> int:
    title = app.t(N_("Verify {title} on the servers"), title=release.title)
    spec = JobSpec("push.verify", title, lambda ctx: engine.push.verify(ctx, release, names, components), tuple(names))
    data = app.ctx_job(spec)
    app.out(data, lambda: _told_verdicts(app, data))
    verdicts = {server["verdict"] for server in data["servers"]}
    if verdicts == {"verified"}:
        return EXIT_DONE
    return EXIT_BAD_VERDICT if "failed" in verdicts else EXIT_FAILED


def _told_verdicts(app: Any, data: dict[str, Any]) -> str:
    heads = (N_("Server"), N_("Verdict"), N_("Degree"))
    rows = [(s["name"], app.t(OUTCOMES[s["verdict"]]), app.t(DEGREES[s["degree"]])) for s in data["servers"]]
    found = [f"{s['name']}: {f['code']} {f['path']} {app.t(f['message'])}" for s in data["servers"] for f in s["findings"]]
    return "\n".join([table(rows, tuple(app.t(head) for head in heads)), *found, *_errors(app, data)])
