"""``sealift ready``: readiness checks with evidence."""

from __future__ import annotations

import argparse
from typing import Any

from console.cli.output import table
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE
from console.i18n import N_


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``ready``."""
    parser = sub.add_parser("ready", parents=common, help="readiness checks with evidence, on the latest inventory",
                            epilog=N_("A server's verdict is that of its worst check. Exit code 1 when a check fails, or when one that "
                                      "blocks is unknown: what could not be measured is never a pass."))
    parser.add_argument("servers", nargs="*", metavar="NAME", help="servers or @group; all when left out")
    parser.add_argument("--model", metavar="NAME", help="a release of the library that is to run, or a model of the catalog")
    parser.add_argument("--playbook", metavar="ID", help="the recipe that is to run it")
    parser.add_argument("--context", metavar="TOKENS", type=int, help="longest request, prompt and answer together")
    parser.add_argument("--concurrency", metavar="N", type=int, help="requests of that length at the same time")
    parser.add_argument("--nodes", metavar="N", type=int, default=1, help="servers that work on one model (1)")
    parser.add_argument("--allow-unknown", action="store_true", help="exit 0 also when something could not be measured")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, app: Any) -> int:
    from console.checks.service import verdict

    engine = app.engine()
    names = [record.name for record in engine.servers.select(args.servers)]
    results = engine.readiness.run(names, args.model, args.playbook, args.context, args.concurrency, args.nodes)
    servers = [
        {
            "name": name,
            "verdict": verdict([r for r in results if r.server == name]),
            "checks": [r.as_json(app.lang) for r in results if r.server == name],
        }
        for name in names
    ]
    # Unknown is never a pass: what could not be measured keeps the exit code from saying that all is well.
    overall = verdict(results)
    app.out({"verdict": overall, "servers": servers}, lambda: "\n\n".join(_told(app, server) for server in servers))
    bad = ("fail",) if args.allow_unknown else ("fail", "unknown")
    return EXIT_BAD_VERDICT if overall in bad else EXIT_DONE


def _told(app: Any, server: dict[str, Any]) -> str:
    order = {"fail": 0, "unknown": 1, "warn": 2, "info": 3, "pass": 4}
    rows = [(c["verdict"].upper(), c["title"], c["reason"]) for c in sorted(server["checks"], key=lambda c: order[c["verdict"]])]
    lines = [f"{server['name']}: {server['verdict'].upper()}", table(rows, (app.t(N_("Verdict")), app.t(N_("Check")), app.t(N_("Reason"))))]
    lines += [f"  → {c['title']}: {c['remedy']}" for c in server["checks"] if c["remedy"] and c["verdict"] in ("fail", "unknown", "warn")]
    return "\n".join(lines)
