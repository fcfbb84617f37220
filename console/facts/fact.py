"""What a fact is: one read-only command and the pure parser of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.errors import InputError, code
from console.i18n import N_

MAX_OUTPUT_BYTES = 64 << 20
"""The longest output that is read at all; a parser never sees more."""

UNREADABLE = code(
    "inventory.unreadable-output", InputError,
    N_("The output of {tool} was not understood at line {line} ({reason}): {text}"),
    N_("Nothing was guessed from it. Keep the raw output; if the tool is newer than this program, look for an update."))

TOO_LONG = code(
    "inventory.output-too-long", InputError,
    N_("The output of {tool} is longer than {limit} MiB and was not read."),
    N_("Record the output of the one command only."))

UNKNOWN_TOOL = code(
    "inventory.unknown-tool", InputError,
    N_("No reader is known for the command line {tool}."),
    N_("Give the command line as it was run, such as: npu-smi info, or nvidia-smi -q -x."))


@dataclass(frozen=True)
class Fact:
    """A command and its parser.

    Attributes:
        id: dotted name, unique over the program, such as ``os.release``.
        argv: the command, read-only, run with ``LC_ALL=C``; its first word decides whether the tool is there.
        timeout_s: how long the command may take.
        parse: recorded standard output to a typed value; None or something empty means there is nothing.
            Raises ``inventory.unreadable-output`` for what it cannot read.
        needs_root: the command tells nothing, or not enough, to an ordinary user.
        tool: what is asked, for messages; the first word of ``argv`` when empty. A command that starts with ``sh``
            names here what it really asks, and ends with 127 and no output where that is not there.
    """

    id: str
    argv: tuple[str, ...]
    timeout_s: float
    parse: Callable[[str], Any]
    needs_root: bool = False
    tool: str = ""

    @property
    def asked(self) -> str:
        """What is asked, for messages."""
        return self.tool or self.argv[0]


def file_fact(id: str, path: str, parse: Callable[[str], Any]) -> Fact:
    """A fact read from a file: a file that is not there is absent, one that may not be read is unreadable."""
    script = f"cat {path} || {{ [ -e {path} ] && exit 1; exit 127; }}"
    return Fact(id, ("sh", "-c", script), 5, parse, tool=path)
