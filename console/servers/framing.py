"""Many commands in one script, and their outputs apart again.

The script travels over standard input to ``sh -s``. Around each command it prints a mark to standard output and to
standard error; the mark holds a random boundary that no command gets to see, so no output can pass for a mark.
The reader bounds what it keeps and says when a command has said too much; whoever reads ends the script then, which
ends the command. Nothing on the server counts bytes: two more processes a command would cost more than the commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

STDOUT_LIMIT_BYTES = 1 << 20
STDERR_LIMIT_BYTES = 16 << 10
SCRIPT_SLACK_BYTES = 64 << 10

ABSENT, KEPT, HUNG = "absent", "kept", "hung"

# Tools of vendors often lie where a login without a terminal does not look. A PATH that lacks /usr/bin was chosen
# with care by whoever set up the account, and is left alone.
_HEAD = r"""
LC_ALL=C; export LC_ALL
unset LANGUAGE
case ":$PATH:" in *:/usr/bin:*)
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/opt/rocm/bin:/usr/local/Ascend/driver/tools:/usr/local/dcmi
  export PATH;;
esac
if timeout -k 1 1 true 2>/dev/null; then mode=coreutils
elif timeout 1 true 2>/dev/null; then mode=busybox
else mode=none; fi
SEALIFT_UP=; read -r SEALIFT_UP rest 2>/dev/null </proc/uptime; export SEALIFT_UP
begin() {
  up=; read -r up rest 2>/dev/null </proc/uptime || up=-
  printf '\n%s begin %s %s\n' "$mark" "$1" "$up"; printf '\n%s begin %s %s\n' "$mark" "$1" "$up" >&2
}
end() {
  up=; read -r up rest 2>/dev/null </proc/uptime || up=-
  printf '\n%s end %s %s %s\n' "$mark" "$1" "${code:--}" "$up"; printf '\n%s end %s %s %s\n' "$mark" "$1" "${code:--}" "$up" >&2
}
fact() {
  number=$1; needs=$2; seconds=$3; shift 3
  begin "$number"
  since=${up%.*}
  case ":$hung:" in *":$needs:"*) code=hung; end "$number"; return;; esac
  if command -v "$needs" >/dev/null 2>&1; then
    case $mode in
      coreutils) timeout -k 2 "$seconds" "$@" </dev/null; code=$?;;
      busybox) timeout "$seconds" "$@" </dev/null; code=$?;;
      *) "$@" </dev/null & pid=$!
         ( sleep "$seconds"; kill -9 "$pid" ) >/dev/null 2>&1 &
         dog=$!; { wait "$pid"; code=$?; kill -9 "$dog"; wait "$dog"; } 2>/dev/null;;
    esac
  else code=absent; fi
  end "$number"
  case $code:$since:$needs in *::*|*:-:*|*:sh) ;; 124:*|137:*|143:*)
    [ $((${up%.*} - since)) -lt $((seconds - 1)) ] || hung=$hung:$needs;; esac
}
quick() {
  number=$1; needs=$2; shift 2
  begin "$number"
  if command -v "$needs" >/dev/null 2>&1; then ( "$@" ) </dev/null; code=$?; else code=absent; fi
  end "$number"
}
kept() {
  [ -n "$same_start" ] || return 1
  begin "$1"; code=kept; end "$1"
}
file() {
  begin "$1"
  cat "$2" </dev/null; code=$?
  [ "$code" = 0 ] || [ -e "$2" ] || code=127
  end "$1"
}
"""


@dataclass(frozen=True)
class Command:
    """One command of a script. ``needs`` is the program that must be there for it, its first word when empty;
    a program that did not end in its time is not asked again in the same script. ``file`` is the one file that the command prints,
    and ``quick`` says that it cannot hang: both cost the server one
    process instead of two or three, and have no time limit but the reader's. A ``lasting`` one is not run again on a
    server that has not started anew since it was."""

    number: int
    argv: tuple[str, ...]
    timeout_s: float
    limit_bytes: int = STDOUT_LIMIT_BYTES
    needs: str = ""
    file: str = ""
    quick: bool = False
    lasting: bool = False


def script(commands: Sequence[Command], boundary: str, start: str = "", settings: Mapping[str, str] | None = None,
           hung: Iterable[str] = ()) -> bytes:
    """The text for ``sh -s``. ``boundary`` must be random and new for every run; ``start`` is the boot id of the start
    for which the answers of lasting commands are known; ``settings`` are variables that the commands see, besides
    ``SEALIFT_UP``, the seconds for which the server was up when the script began; ``hung`` are programs that are known to
    hang."""
    lines = [f"mark={boundary}", f"hung={shlex.quote(':'.join(hung))}", _HEAD]
    lines += [f"{name}={shlex.quote(value)}; export {name}" for name, value in (settings or {}).items()]
    if start:
        lines += [f"start=; read -r start 2>/dev/null </proc/sys/kernel/random/boot_id; [ \"$start\" = {shlex.quote(start)} ] && same_start=1"]
    lines += [f"kept {c.number} || {_line(c)}" if start and c.lasting else _line(c) for c in commands]
    # In a function, so that the shell has read the whole script before a command could touch its input.
    lines[3:] = ["all() {", *lines[3:], ":", "}", "all", f"printf '\\n%s done\\n' {boundary}", "exit 0", ""]
    return "\n".join(lines).encode()


def _line(c: Command) -> str:
    if c.file:
        return f"file {c.number} {shlex.quote(c.file)}"
    needs = shlex.quote(c.needs or c.argv[0])
    if c.quick:
        # A script for the shell is run by the shell that is there, in a copy of it.
        argv = ("eval", *c.argv[2:]) if c.argv[:2] == ("sh", "-c") else c.argv
        return f"quick {c.number} {needs} {shlex.join(argv)}"
    return f"fact {c.number} {needs} {max(1, round(c.timeout_s))} {shlex.join(c.argv)}"


@dataclass
class Frame:
    """What one command gave. ``exit_code`` is None when the server did not say; ``ended`` False when cut off."""

    number: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit_code: int | None = None
    absent: bool = False
    kept: bool = False
    hung: bool = False
    ended: bool = False
    truncated: bool = False
    duration_s: float | None = None
    started_up_s: float | None = None


class _Marks:
    """Sets the marks of one stream apart from what is between them, as it arrives."""

    def __init__(self, boundary: str):
        self._mark = re.compile(rb"\n" + re.escape(boundary.encode()) + rb" ([^\n]{0,120})\n")
        self._keep = len(boundary) + 130
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[bytes, list[bytes] | None]]:
        """Bytes that belong to the open frame, each followed by the words of the mark behind it, None for no mark."""
        self._buffer += data
        start = 0
        while match := self._mark.search(self._buffer, start):
            yield bytes(self._buffer[start : match.start()]), match[1].split(b" ")
            start = match.end()
        # What could be the beginning of a mark waits for the rest of it.
        ready = max(start, len(self._buffer) - self._keep)
        yield bytes(self._buffer[start:ready]), None
        del self._buffer[:ready]

    def rest(self) -> bytes:
        """What waits, when nothing follows."""
        left = bytes(self._buffer)
        self._buffer.clear()
        return left


class Reader:
    """Takes both streams as they arrive and sets the frames apart.

    Frames are accepted in the order of ``commands`` only. ``current`` is the frame that is open, None between.
    ``dropped_bytes`` counts what the open command said beyond its limits, and what came before the first beyond any
    greeting. ``spoken`` and ``printed`` are the last bytes of standard error and output outside every frame, such as why a
    shell did not start.
    """

    def __init__(self, commands: Sequence[Command], boundary: str):
        self._commands = {c.number: c for c in commands}
        self._expected = [c.number for c in commands]
        self._out, self._err = _Marks(boundary), _Marks(boundary)
        self._errors: dict[int, bytearray] = {}
        self._overflowed: set[int] = set()
        self._erring: int | None = None
        self.frames: dict[int, Frame] = {}
        self.current: Frame | None = None
        self.finished, self.dropped_bytes, self.spoken, self.printed = False, 0, b"", b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of standard output."""
        for text, words in self._out.take(data):
            self._output(text)
            if words is not None:
                self._note(words)

    def feed_errors(self, data: bytes) -> None:
        """Take the next bytes of standard error."""
        for text, words in self._err.take(data):
            self._error(text)
            if words is not None:
                opens = words[0] == b"begin" and len(words) == 3 and words[1].isdigit() and len(words[1]) < 7
                number = int(words[1]) if opens else None
                self._erring = number if number in self._commands and number not in self._errors else None

    def close(self) -> None:
        """No more bytes will come."""
        self._output(self._out.rest())
        self._error(self._err.rest())
        for number, text in self._errors.items():
            if number in self.frames:
                self.frames[number].stderr = text
        for number in self._overflowed & self.frames.keys():
            # What ended by itself has an answer, however much it complained; what was ended for its noise has none.
            self.frames[number].truncated |= not self.frames[number].ended

    def _output(self, data: bytes) -> None:
        if not data:
            return
        if self.current is None:
            self.printed = (self.printed + data)[-2000:]
            self._outside(data)
        else:
            room = self._commands[self.current.number].limit_bytes - len(self.current.stdout)
            self.current.stdout += data[:room]
            self.current.truncated |= len(data) > room
            self.dropped_bytes += max(0, len(data) - room)

    def _error(self, data: bytes) -> None:
        if self._erring is None:
            self.spoken = (self.spoken + data)[-2000:]
            self._outside(data)
        elif data:
            kept = self._errors.setdefault(self._erring, bytearray())
            room = STDERR_LIMIT_BYTES - len(kept)
            kept += data[:room]
            if len(data) > room:
                self._overflowed.add(self._erring)
            self.dropped_bytes += max(0, len(data) - room)

    def _outside(self, data: bytes) -> None:
        """Greetings of a shell are short; whatever goes on and on is none, and the script would never be reached."""
        if not self.frames:
            self.dropped_bytes += len(data)

    def _note(self, words: list[bytes]) -> None:
        kind = words[0]
        if kind == b"done" and len(words) == 1:
            self.finished, self.current = True, None
        elif kind == b"begin" and len(words) == 3 and self._expected and words[1] == b"%d" % self._expected[0]:
            number = self._expected.pop(0)
            self.current = self.frames[number] = Frame(number, started_up_s=_seconds(words[2]))
            self.dropped_bytes = 0
        elif kind == b"end" and len(words) == 4 and self.current and words[1] == b"%d" % self.current.number:
            self._end(self.current, words[2], words[3])
            self.current = None

    def _end(self, frame: Frame, code: bytes, uptime: bytes) -> None:
        frame.ended, frame.absent, frame.kept, frame.hung = True, code == ABSENT.encode(), code == KEPT.encode(), code == HUNG.encode()
        frame.exit_code = int(code) if re.fullmatch(rb"[0-9]{1,3}", code) else None
        up = _seconds(uptime)
        if up is not None and frame.started_up_s is not None:
            frame.duration_s = max(0.0, round(up - frame.started_up_s, 2))


def _seconds(text: bytes) -> float | None:
    return float(text) if re.fullmatch(rb"[0-9]{1,12}(\.[0-9]{1,3})?", text) else None
