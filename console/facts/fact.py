"""What a fact is: one read-only command and the pure parser of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@dataclass(frozen=True, eq=False)
class Fact:
    """A command and its parser. Equal only to itself: answers are kept by it, thousands for a fleet.

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
        files: the files that are read, or patterns of the shell for them; the output is their lines as ``path:line``, for
            :func:`files_fact`.
        whole: the output is the text of the one file, for :func:`file_fact`.
        inline: ``argv`` is a script for the shell that is run by the one that is there already, and leaves it as it was: it
            does not end it, nor change its folder or options. What could hang in it stands behind ``$limit``, which ends
            it in time and is nothing where the script is run alone.
        quiet: an inline script that gathers what it says in ``out``, which is told with whatever else is to be told then, so
            that it takes no packet of its own. Ahead of what could hang or print stands ``$flush``, which tells what is due.
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
    files: tuple[str, ...] = ()
    whole: bool = False
    inline: bool = False
    quiet: bool = False
    lasting: bool = False
    of: str = ""

    @property
    def asked(self) -> str:
        """What is asked, for messages."""
        return self.tool or self.needs or self.argv[0]


QUIET = "out=\n", '\ncode=$?; printf %s "$out"; (exit "$code")'
"""What is put around a quiet script, so that it can be run alone too."""


ENDS = 'ends() { return "$1"; }\n'
"""A function for the shell that ends a script with a code, where ``exit`` must not be and a subshell would cost a process."""


def shell_fact(id: str, script: str, timeout_s: float, parse: Callable[[str], Any], **more: Any) -> Fact:
    """A fact that a script for the shell tells; see ``inline``."""
    return Fact(id, ("sh", "-c", script), timeout_s, parse, inline=True, **more)


def quiet_fact(id: str, script: str, timeout_s: float, parse: Callable[[str], Any], **more: Any) -> Fact:
    """A fact that a script for the shell tells in ``out``; see ``quiet``."""
    return shell_fact(id, script.join(QUIET), timeout_s, parse, quiet=True, **more)


def file_fact(id: str, path: str, parse: Callable[[str], Any]) -> Fact:
    """A fact read from a file: a file that is not there is absent, one that may not be read is unreadable."""
    return Fact(id, ("cat", path), 5, parse, tool=path, files=(path,), whole=True)


def files_fact(id: str, patterns: tuple[str, ...], parse: Callable[[str], Any], **more: Any) -> Fact:
    """A fact read from many small files, such as those below ``/sys``; ``parse`` gets their lines as ``path:line``, for
    :func:`lines_of`. Files that are not there or cannot be read are passed over, as some cannot at any time.

    One process reads the files of all such facts: one for each takes seconds where there are hundreds. Neither awk nor the
    shell's ``read`` would do: the one ends at the first file that cannot be read, the other asks for single bytes, which
    some of these files do not support.
    """
    return Fact(id, ("sh", "-c", f"grep -Has '' {' '.join(patterns)}"), 5, parse, files=patterns, **more)


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """The path and the line, of lines ``path:line``."""
    for line in text.splitlines():
        path, mark, rest = line.partition(":")
        if mark and path.startswith("/"):
            yield path, rest
