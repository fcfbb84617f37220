"""``sealift push``: a release onto servers, verified there."""

from __future__ import annotations

import argparse
from typing import Any

from console import units
from console.cli.credentials import add_credential_options, fill_credentials
from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, EXIT_FAILED, InputError, code
from console.i18n import N_

BAD_RATE = code("push.bad-limit", InputError, N_("{rate} is not a rate."), N_("Write it as 20MiB or 25MB, for each second."))


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``push``."""
    parser = sub.add_parser("push", parents=common, help="weights and packages onto servers, verified there")
    parser.add_argument("bundle", help="release id, bundle id or title")
    parser.add_argument("--to", nargs="+", required=True, metavar="NAME", help="servers, or @group")
    parser.add_argument("--relay", choices=("auto", "off"), default="auto")
    parser.add_argument("--degree", choices=("received", "stored", "media"), help="how the server verifies; never less than the policy")
    parser.add_argument("--limit", metavar="RATE", help="most bytes a second, all servers together, such as 50MiB")
    parser.add_argument("--component", action="append", metavar="ID", help="only this component; may be given several times")
    parser.add_argument("--verify-only", action="store_true", help="send nothing: hash what lies on the servers again")
    add_credential_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, app: Any) -> int:
    fill_credentials(args, app)
    engine = app.engine()
    release = engine.library.get(args.bundle)
    names = [record.name for record in engine.servers.select(args.to)]
    if args.verify_only:
        return _verify(app, engine, release, names)
    try:
        limit = units.parse_size(args.limit) if args.limit else None
    except ValueError:
        raise BAD_RATE(rate=args.limit) from None
    data = app.ctx_job(engine.push.job(release, names, app.t(N_("Push {title}"), title=release.title), relay=args.relay, degree=args.degree,
                                       components=args.component, limit_bytes_per_s=limit))
    app.out(data, lambda: _told(app, data))
    outcomes = {server["outcome"] for server in data["servers"]}
    if outcomes == {"verified"}:
        return EXIT_DONE
    return EXIT_BAD_VERDICT if "refused" in outcomes else EXIT_FAILED


def _told(app: Any, data: dict[str, Any]) -> str:
    rows = [(s["name"], s["outcome"], s["degree"], units.size(s["bytes_sent"]), units.size(s["bytes_reused"] + s["bytes_resumed"]),
             units.duration(s["seconds"])) for s in data["servers"]]
    lines = [table(rows, (app.t(N_("Server")), app.t(N_("Outcome")), app.t(N_("Degree")), app.t(N_("Sent")), app.t(N_("Was there")),
                          app.t(N_("Time"))))]
    lines += [f"{s['name']}: {s['error']['message']} {s['error']['remedy']} [{s['error']['code']}]" for s in data["servers"] if s["error"]]
    return "\n".join(lines)


def _verify(app: Any, engine: Any, release: Any, names: list[str]) -> int:
    from console.jobs.job import JobSpec

    data = app.ctx_job(JobSpec("push.verify", app.t(N_("Verify {title} on the servers"), title=release.title),
                               lambda ctx: engine.push.verify(ctx, release, names), tuple(names)))
    app.out(data, lambda: "\n".join([table([(s["name"], s["verdict"]) for s in data["servers"]], (app.t(N_("Server")), app.t(N_("Verdict")))),
                                     *(f"{s['name']}: {f['code']} {f['path']} {f['message']}" for s in data["servers"] for f in s["findings"])]))
    return EXIT_DONE if all(s["verdict"] == "verified" for s in data["servers"]) else EXIT_BAD_VERDICT
