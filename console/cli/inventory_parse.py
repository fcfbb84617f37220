"""``sealift inventory parse TOOL FILE``: read one recorded output of a tool."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from console.errors import EXIT_BAD_VERDICT, EXIT_DONE, InputError, code
from console.facts.fact import MAX_OUTPUT_BYTES, TOO_LONG
from console.i18n import N_

NO_FILE = code("inventory.recording-unreadable", InputError, N_("The recording {path} cannot be read: {reason}."),
               N_("Check the path and the rights of the file."))


def add_parser(inventory_sub: Any, common: list[argparse.ArgumentParser] | None = None) -> argparse.ArgumentParser:
    """Add ``parse`` below ``inventory``."""
    parser = inventory_sub.add_parser("parse", parents=common or [])
    parser.add_argument("tool", metavar="TOOL", help="the command line that was recorded, such as 'npu-smi info'")
    parser.add_argument("file", metavar="FILE", help="what it printed; - for standard input")
    parser.set_defaults(run=run_parse)
    return parser


def run_parse(args: argparse.Namespace, app: Any) -> int:
    """Print what the recording says; exit 1 when it is an error of the tool, 3 when it is not understood."""
    from console.facts.recorded import parse_recorded  # all vendors' parsers, which other commands need not wait for

    found = parse_recorded(args.tool, _read(args.file, args.tool))
    app.out(found, lambda: json.dumps(found, ensure_ascii=False, indent=2))
    return EXIT_BAD_VERDICT if "error_kind" in found else EXIT_DONE


def _read(name: str, tool: str) -> bytes:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(MAX_OUTPUT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_OUTPUT_BYTES + 1)
    except OSError as problem:
        raise NO_FILE(path=name, reason=problem.strerror or "unreadable") from None
    if len(raw) > MAX_OUTPUT_BYTES:
        raise TOO_LONG(tool=tool, limit=MAX_OUTPUT_BYTES >> 20)
    return raw
