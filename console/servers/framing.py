"""Many commands in one script, and their outputs apart again.

The script travels over standard input to ``sh -s``. Around each command it prints a mark to standard output and to
standard error; the mark holds a random boundary that no command gets to see, so no output can pass for a mark.
Output is cut by ``head -c`` on the server. The reader bounds what it keeps as well and trusts no count from the
server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

STDOUT_LIMIT_BYTES = 1 << 20
STDERR_LIMIT_BYTES = 16 << 10
SCRIPT_SLACK_BYTES = 64 << 10

ABSENT = "absent"

# Tools of vendors often lie where a login without a terminal does not look. A PATH that lacks /usr/bin was chosen
# with care by whoever set up the account, and is left alone.
_HEAD = r"""
LC_ALL=C; export LC_ALL
unset LANGUAGE
case ":$PATH:" in *:/usr/bin:*)
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/opt/rocm/bin:/usr/local/Ascend/driver/tools:/usr/local/dcmi
  export PATH;;
esac
exec 4>&1 5>&2
if timeout -k 1 1 true 2>/dev/null; then mode=coreutils
elif timeout 1 true 2>/dev/null; then mode=busybox
else mode=none; fi
if ! printf x | head -c 1 >/dev/null 2>&1; then
  head() { dd bs=1 count="$2" 2>/dev/null; }
fi
now() { up=; read -r up rest 2>/dev/null </proc/uptime || up=-; }
limited() {
  seconds=$1; shift
  case $mode in
    coreutils) timeout -k 2 "$seconds" "$@" </dev/null;;
    busybox) timeout "$seconds" "$@" </dev/null;;
    *) "$@" </dev/null & pid=$!
       ( sleep "$seconds"; kill -9 "$pid" ) >/dev/null 2>&1 3>&- 4>&- 5>&- 7>&- &
       dog=$!; wait "$pid"; code=$?; kill -9 "$dog" 2>/dev/null; return "$code";;
  esac
}
fact() {
  number=$1; seconds=$2; most=$3; shift 3
  now; printf '\n%s begin %s %s\n' "$mark" "$number" "$up"; printf '\n%s begin %s\n' "$mark" "$number" >&2
  if command -v "$1" >/dev/null 2>&1; then
    code=$( { { { limited "$seconds" "$@" 3>&- 4>&- 5>&-; echo "$?" >&3; } 2>&1 >&7 7>&- |
      head -c @ERR@ >&5; } 7>&1 | head -c "$most" >&4; } 3>&1 )
  else code=absent; fi
  now; printf '\n%s end %s %s %s\n' "$mark" "$number" "${code:--}" "$up"; printf '\n%s end %s\n' "$mark" "$number" >&2
}
""".replace("@ERR@", str(STDERR_LIMIT_BYTES + 1))


@dataclass(frozen=True)
class Command:
    """One command of a script."""

    number: int
    argv: tuple[str, ...]
    timeout_s: float
    limit_bytes: int = STDOUT_LIMIT_BYTES


def script(commands: Sequence[Command], boundary: str) -> bytes:
    """The text for ``sh -s``. ``boundary`` must be random and new for every run."""
    lines = [f"mark={boundary}", _HEAD]
    for c in commands:
        seconds = max(1, round(c.timeout_s))
        lines.append(f"fact {c.number} {seconds} {c.limit_bytes + 1} {shlex.join(c.argv)}")
    # In a function, so that the shell has read the whole script before a command could touch its input.
    lines[2:] = ["all() {", *lines[2:], ":", "}", "all", f"printf '\\n%s done\\n' {boundary}", "exit 0", ""]
    return "\n".join(lines).encode()


@dataclass
class Frame:
    """What one command gave. ``exit_code`` is None when the server did not say; ``ended`` False when cut off."""

    number: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytes = b""
    exit_code: int | None = None
    absent: bool = False
    ended: bool = False
    truncated: bool = False
    duration_s: float | None = None
    started_up_s: float | None = None


class Reader:
    """Takes standard output as it arrives and sets the frames apart.

    Frames are accepted in the order of ``commands`` only. ``current`` is the frame that is open, None between.
    """

    def __init__(self, commands: Sequence[Command], boundary: str):
        self._commands = {c.number: c for c in commands}
        self._expected = [c.number for c in commands]
        self._mark = re.compile(rb"\n" + re.escape(boundary.encode()) + rb" ([^\n]{0,120})\n")
        self._keep = len(boundary) + 130
        self._buffer = bytearray()
        self.frames: dict[int, Frame] = {}
        self.current: Frame | None = None
        self.finished = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data
        start = 0
        while match := self._mark.search(self._buffer, start):
            self._output(self._buffer[start : match.start()])
            self._note(match[1].split(b" "))
            start = match.end()
        # What could be the beginning of a mark waits for the rest of it.
        ready = max(start, len(self._buffer) - self._keep)
        self._output(self._buffer[start:ready])
        del self._buffer[:ready]

    def close(self) -> None:
        """No more bytes will come."""
        self._output(self._buffer)
        self._buffer.clear()

    def _output(self, data: bytes | bytearray) -> None:
        if self.current is not None and data:
            room = self._commands[self.current.number].limit_bytes - len(self.current.stdout)
            self.current.stdout += data[:room]
            self.current.truncated |= len(data) > room

    def _note(self, words: list[bytes]) -> None:
        kind = words[0]
        if kind == b"done" and len(words) == 1:
            self.finished, self.current = True, None
        elif kind == b"begin" and len(words) == 3 and self._expected and words[1] == b"%d" % self._expected[0]:
            number = self._expected.pop(0)
            self.current = self.frames[number] = Frame(number, started_up_s=_seconds(words[2]))
        elif kind == b"end" and len(words) == 4 and self.current and words[1] == b"%d" % self.current.number:
            self._end(self.current, words[2], words[3])
            self.current = None

    def _end(self, frame: Frame, code: bytes, uptime: bytes) -> None:
        frame.ended, frame.absent = True, code == ABSENT.encode()
        frame.exit_code = int(code) if re.fullmatch(rb"[0-9]{1,3}", code) else None
        up = _seconds(uptime)
        if up is not None and frame.started_up_s is not None:
            frame.duration_s = max(0.0, round(up - frame.started_up_s, 2))


def _seconds(text: bytes) -> float | None:
    return float(text) if re.fullmatch(rb"[0-9]{1,12}(\.[0-9]{1,3})?", text) else None


def split_errors(raw: bytes, boundary: str) -> dict[int, bytes]:
    """Standard error by command number; each cut at :data:`STDERR_LIMIT_BYTES`."""
    mark = re.escape(boundary.encode())
    found: dict[int, bytes] = {}
    pattern = re.compile(rb"\n" + mark + rb" begin ([0-9]{1,6})\n(.*?)(?=\n" + mark + rb" (?:end|begin) |\Z)",
                         re.DOTALL)
    for match in pattern.finditer(raw):
        found.setdefault(int(match[1]), match[2][:STDERR_LIMIT_BYTES])
    return found
