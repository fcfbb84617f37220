"""The hidden commands by which a frozen program starts its workers."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from console.processes import WORKERS


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add them; no help names them."""
    for name in WORKERS:
        sub.add_parser(name, parents=common).set_defaults(run=_work)


def _work(args: argparse.Namespace, app: Any) -> int:
    return importlib.import_module(WORKERS[args.command]).main()
