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
        argv: the command, read-only, run with ``LC_ALL=C``.
        timeout_s: how long the command may take.
        parse: recorded standard output to a typed value; None or something empty means there is nothing.
            Raises ``inventory.unreadable-output`` for what it cannot read.
        needs_root: the command tells nothing, or not enough, to an ordinary user.
        tool: what is asked, for messages; ``needs`` or the first word of ``argv`` when empty. A command that ends
            with 127 and no output says that it is not there.
        needs: the program without which the command is not even started, and the fact absent; the first word of
            ``argv`` when empty.
        file: the file whose text is the output, for :func:`file_fact`.
        quick: the command reads what the kernel has at hand and cannot hang, so it needs no watching on the server.
        lasting: the answer stays the same until the server starts anew; asked once for each start.
        of: the fact whose output is parsed here as well; ``argv`` is that fact's, and not run again.
    """

    id: str
    argv: tuple[str, ...]
    timeout_s: float
    parse: Callable[[str], Any]
    needs_root: bool = False
    tool: str = ""
    needs: str = ""
    file: str = ""
    quick: bool = False
    lasting: bool = False
    of: str = ""

    @property
    def asked(self) -> str:
        """What is asked, for messages."""
        return self.tool or self.needs or self.argv[0]


def file_fact(id: str, path: str, parse: Callable[[str], Any]) -> Fact:
    """A fact read from a file: a file that is not there is absent, one that may not be read is unreadable."""
    return Fact(id, ("cat", path), 5, parse, tool=path, file=path)


def over_files(program: str, *patterns: str) -> str:
    """The shell line that runs an awk program over the lines of many small files, such as those below ``/sys``, with
    ``path`` and ``value`` set for each. Files that cannot be read are passed over, as some cannot at any time.

    Two processes read all of them; one for each file takes seconds where there are hundreds. Neither awk itself nor
    the shell's ``read`` would do: the one ends at the first file that cannot be read, the other asks for single bytes,
    which some of these files do not support.
    """
    split = '{ at = index($0, ":"); path = substr($0, 1, at - 1); value = substr($0, at + 1) }'
    return f"grep -Hs '' {' '.join(patterns)} | awk '{split}\n{program}'"
