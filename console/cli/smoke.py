"""``sealift smoke``: the three levels of smoke inference."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.cli.credentials import add_credential_options, fill_credentials
from console.errors import EXIT_BAD_VERDICT, EXIT_DONE
from console.i18n import N_, tr

WORDS = {"pass": N_("good"), "fail": N_("failed"), "unknown": N_("not known")}


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``smoke`` with its levels."""
    parser = sub.add_parser("smoke", parents=common, help="the three levels of smoke inference")
    levels = parser.add_subparsers(dest="level", required=True, metavar="LEVEL")
    one = levels.add_parser("local", parents=common, help="in this console, with onnxruntime; no server needed")
    one.add_argument("model", nargs="?", type=Path, metavar="DIR", help="the model that ships with the program when "
                                                                        "left out")
    one.set_defaults(run=_local)
    one = levels.add_parser("device", parents=common, help="a small computation on the servers' devices")
    one.add_argument("names", nargs="+", metavar="NAME")
    add_credential_options(one)
    one.set_defaults(run=_device)
    one = levels.add_parser("service", parents=common, help="ask a deployed model, through the connection to its "
                                                            "server")
    one.add_argument("deployment")
    one.add_argument("--on", nargs="+", default=[], metavar="NAME", help="only these servers")
    add_credential_options(one)
    one.set_defaults(run=_service)


def _local(args: argparse.Namespace, app: Any) -> int:
    from console.smoke import local

    found = local(args.model)
    app.out(found.as_dict(), lambda: _text(app, [found]))
    return EXIT_DONE if found.verdict == "pass" else EXIT_BAD_VERDICT


def _device(args: argparse.Namespace, app: Any) -> int:
    from console.jobs.job import JobSpec

    fill_credentials(args, app)
    engine = app.engine()
    names = tuple(record.name for record in engine.servers.select(args.names))
    spec = JobSpec("smoke.device", app.t(N_("Smoke test on devices")), lambda ctx: engine.smoke.device(ctx, names),
                   names)
    return _told(app, app.ctx_job(spec))


def _service(args: argparse.Namespace, app: Any) -> int:
    from console.jobs.job import JobSpec

    fill_credentials(args, app)
    engine = app.engine()
    names = tuple(row["server"] for row in engine.deployments.served(args.deployment))
    spec = JobSpec("smoke.service", app.t(N_("Smoke test of {deployment}"), deployment=args.deployment),
                   lambda ctx: engine.smoke.service(ctx, args.deployment, args.on), names)
    return _told(app, app.ctx_job(spec), deployment=args.deployment)


def _told(app: Any, found: list[Any], **more: Any) -> int:
    verdicts = {one.verdict for one in found}
    verdict = "fail" if "fail" in verdicts else "unknown" if "unknown" in verdicts else "pass"
    app.out({**more, "verdict": verdict, "servers": [one.as_dict() for one in found]}, lambda: _text(app, found))
    return EXIT_DONE if verdict == "pass" else EXIT_BAD_VERDICT


def _text(app: Any, found: list[Any]) -> str:
    lines = []
    for one in found:
        lines.append(f"{one.place}: {tr(WORDS[one.verdict], app.lang)}")
        for probe in one.probes:
            line = f"  {tr(WORDS[probe.verdict], app.lang)}: {probe.name}"
            line += f" - {probe.asked} → {probe.got}" if probe.asked or probe.got else ""
            lines.append(line + (f" ({app.t(probe.reason, **(probe.params or {}))})" if probe.reason else ""))
    return "\n".join(lines)
