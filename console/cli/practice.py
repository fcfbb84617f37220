"""``sealift practice``: simulated servers on this machine, as ordinary servers of the workspace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from console.errors import EXIT_DONE
from console.i18n import N_
from console.processes import PRACTICE


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``practice`` and the hidden command that the frozen program starts itself with."""
    parser = sub.add_parser("practice", parents=common, help="the practice site as ordinary servers of this workspace")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, function, text in (("up", _up, "start the practice servers and trust their keys"),
                                 ("down", _down, "stop them; their entries and folders stay"),
                                 ("reset", _reset, "empty them and end their faults")):
        one = actions.add_parser(name, parents=common, help=text)
        one.set_defaults(run=function)
    one = actions.add_parser("fault", parents=common, help="bring about a fault, or end all with none")
    one.add_argument("name", metavar="SERVER")
    one.add_argument("fault", help="disk-full[=BYTES], cut-after=BYTES, slow=BYTES, host-key-changed, "
                                   "reboot[=SECONDS], no-python3, none")
    one.set_defaults(run=_fault)
    one = actions.add_parser("bundle", parents=common, help="write the practice bundle: smoke model and runtime")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="the drive or folder to write to")
    one.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key that signs")
    one.add_argument("--passphrase-file", type=Path, metavar="FILE", help="the passphrase of the key")
    one.set_defaults(run=_bundle)
    hidden = sub.add_parser(PRACTICE, parents=common)
    hidden.add_argument("folder", type=Path)
    hidden.set_defaults(run=_host)


def _up(args: argparse.Namespace, app: Any) -> int:
    records = app.engine().practice.up()
    app.out({"servers": [{"name": r.name, "address": r.address, "port": r.port, "user": r.user} for r in records]},
            lambda: app.t(N_("{count} practice servers are up: {names}."), count=len(records),
                          names=", ".join(r.name for r in records)))
    return EXIT_DONE


def _down(args: argparse.Namespace, app: Any) -> int:
    app.engine().practice.down()
    app.out({"running": False}, lambda: app.t(N_("The practice servers are stopped.")))
    return EXIT_DONE


def _reset(args: argparse.Namespace, app: Any) -> int:
    site = app.engine().practice
    site.reset()
    running = site.running()
    app.out({"running": running}, lambda: app.t(N_("The practice servers are as new.")))
    return EXIT_DONE


def _fault(args: argparse.Namespace, app: Any) -> int:
    app.engine().practice.fault(args.name, args.fault)
    app.out({"server": args.name, "fault": args.fault},
            lambda: app.t(N_("{name}: the fault {fault} is set."), name=args.name, fault=args.fault))
    return EXIT_DONE


def _bundle(args: argparse.Namespace, app: Any) -> int:
    from console.jobs.job import JobSpec
    from console.servers.plain import plain
    from console.smoke import practice_bundle
    from console.trust.keys import load_private

    passphrase = app.ask_secret("", args.passphrase_file) if args.passphrase_file else None
    key = load_private(args.key, passphrase)
    built = app.ctx_job(JobSpec("bundle.build", app.t(N_("Practice bundle")),
                                lambda ctx: practice_bundle.build(ctx, args.out, [key])))
    app.out(plain(built), lambda: app.t(N_("The practice bundle is in {folder}."), folder=str(args.out)))
    return EXIT_DONE


def _host(args: argparse.Namespace, app: Any) -> int:
    from console.practice.host import main

    return main(args.folder)
