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
from functools import lru_cache

from console.facts.fact import QUIET

STDOUT_LIMIT_BYTES = 1 << 20
STDERR_LIMIT_BYTES = 16 << 10
SCRIPT_SLACK_BYTES = 64 << 10

ABSENT, KEPT, HUNG = "absent", "kept", "hung"

IDENTITY_S = 10
"""How long a server may take to say who we are on it."""

# Tools of vendors often lie where a login without a terminal does not look. A PATH that lacks /usr/bin was chosen
# with care by whoever set up the account, and is left alone.
#
# Each process that is started here costs the server more than most of the answers: so the marks of a command's end and of
# the next one's beginning go out together, commands that are not there are told of in passing, and the first use of
# timeout, which shows what kind of it there is, asks who we are: a directory of accounts may hang as well as anything else. Then
# come the shell's own calls: each redirection takes some ten, each look for a program one a folder; so what is asked is looked for
# all at once, in no folder twice, and one redirection keeps the script from whatever reads its input.
_HEAD = r"""
LC_ALL=C; export LC_ALL
unset LANGUAGE
case ":$PATH:" in *:/usr/bin:*)
  for _d in /usr/local/sbin /usr/sbin /sbin /usr/local/bin /opt/rocm/bin /usr/local/Ascend/driver/tools /usr/local/dcmi; do
    case ":$PATH:" in *":$_d:"*) ;; *) [ ! -d "$_d" ] || PATH=$PATH:$_d;; esac
  done
  for _d in /bin /sbin; do
    if [ -L "$_d" ] && [ "$_d" -ef "/usr$_d" ]; then
      _path=:$PATH:
      case $_path in *":$_d:"*) _path=${_path%%":$_d:"*}:${_path#*":$_d:"}; PATH=${_path#:}; PATH=${PATH%:};; esac
    fi
  done 2>/dev/null
  export PATH;;
esac
_mode=none _gone= same_start=
account=$(timeout -k 1 {IDENTITY_S} id </dev/null 2>/dev/null); _code=$?
case $_code:$account in 124:*|137:*|*:uid=*) _mode=coreutils;; *)
account=$(timeout {IDENTITY_S} id </dev/null 2>/dev/null); _code=$?
case $_code:$account in 124:*|137:*|143:*|*:uid=*) _mode=busybox;; esac;; esac
[ -n "$account" ] || [ "$_mode" = none ] || account=late
flush=tell _told='' _line='
'
clock() { _up=; read -r _up _rest 2>/dev/null </proc/uptime || _up=-; }
clock; SEALIFT_UP=${_up#-}; export SEALIFT_UP
tell() { printf %s "$_told"; _told= _ran=1; }
begin() {
  _since=${_up%.*}
  _told="$_told$_line$mark begin $1 $_up$_line"
  [ "$2" = sh ] || printf '\n%s begin %s\n' "$mark" "$1" >&2
}
end() { [ -z "$_ran" ] || clock; _ran=; _told="$_told$_line$mark end $1 $2 $_up$_line"; }
none() { _told="$_told$_line$mark none $1 $2$_line"; }
look() { for _t; do command -v "$_t" || _gone=$_gone:$_t; done; }
can() {
  case ":$hung:" in *":$2:"*) none "$1" hung; return 1;; esac
  case $_gone: in *":$2:"*) none "$1" absent; return 1;; esac
}
stuck() {
  case $3:$_since:$1 in *::*|*:-:*|*:sh) ;; 124:*|137:*|143:*) [ $((${_up%.*} - _since)) -lt $(($2 - 1)) ] || hung=$hung:$1;; esac
}
watched() {
  _for_s=$1; shift
  "$@" & _pid=$!
  ( sleep "$_for_s"; kill -9 "$_pid" ) >/dev/null 2>&1 &
  _dog=$!; { wait "$_pid"; _code=$?; kill -9 "$_dog"; wait "$_dog"; } 2>/dev/null
  return "$_code"
}
limited() {
  case $_mode in coreutils) limit="timeout -k 2 $1";; busybox) limit="timeout $1";; *) limit="watched $1";; esac
}
fact() {
  can "$1" "$2" || return
  _number=$1; _needs=$2; _seconds=$3; shift 3
  begin "$_number" program; tell; limited "$_seconds"
  $limit "$@"; _code=$?
  end "$_number" "$_code"
  stuck "$_needs" "$_seconds" "$_code"
}
inline() {
  can "$1" "$2" || return
  _number=$1; _needs=$2; _seconds=$3
  begin "$_number" "$_needs"; limited "$_seconds"; out=
  [ "$5" = quiet ] || tell
  case $_needs in sh) eval "$4" 2>/dev/null; _code=$?;; *) eval "$4"; _code=$?;; esac
  _told="$_told$out"
  end "$_number" "$_code"
  stuck "$_needs" "$_seconds" "$_code"
}
kept() { [ -n "$same_start" ] && none "$1" kept; }
files() {
  can "$1" grep || return
  _number=$1; _whole=$2; shift 2
  begin "$_number" sh
  for _f; do
    [ "$_whole" -gt 0 ] || break
    _whole=$((_whole - 1))
    if [ ! -e "$_f" ]; then _told="${_told}!absent:$_f$_line"
    elif [ ! -f "$_f" ] || [ ! -r "$_f" ]; then _told="${_told}!closed:$_f$_line"; fi
  done
  tell
  grep -Has '' "$@"
  end "$_number" "$?"
}
""".replace("{IDENTITY_S}", str(IDENTITY_S))


@dataclass(frozen=True)
class Command:
    """One command of a script. ``needs`` is the program that must be there for it, its first word when empty;
    a program that did not end in its time is not asked again in the same script.

    An ``inline`` one is a script for the shell, ``("sh", "-c", script)``, that is run by the shell that is there, which spares the
    server a process or two. It must leave that shell as it was, and all names in it that begin with an underscore; its
    complaints are heard only when it ``needs`` another program. What could hang in it stands behind ``$limit``, which ends it
    in time, and expands to nothing where the script is run alone. What a ``quiet`` one says is told with what is due next;
    ``$flush`` ahead of what takes time has the marks told before it.

    ``files`` are what a command prints that reads files; ``whole`` says that it is the text of one. A ``lasting`` one is not run
    again on a server that has not started anew since it was. ``members`` are the commands that :func:`together` made one of."""

    number: int
    argv: tuple[str, ...]
    timeout_s: float
    limit_bytes: int = STDOUT_LIMIT_BYTES
    needs: str = ""
    files: tuple[str, ...] = ()
    whole: bool = False
    inline: bool = False
    quiet: bool = False
    lasting: bool = False
    members: tuple[Command, ...] = ()


FILES = 100_000
"""The number of the command that reads the files of many."""

FILES_LIMIT_BYTES = 8 << 20
LONGEST_PATH = 400


def together(commands: Sequence[Command]) -> list[Command]:
    """The same, with those that read files made one, first of all: one process reads the files of all of them."""
    readers = tuple(c for c in commands if c.files)
    if len(readers) < 2:
        return apart(commands)
    return [_reading(FILES, readers), *(c for c in commands if not c.files)]


def apart(commands: Sequence[Command]) -> list[Command]:
    """The same, with each that reads files by itself."""
    return [_reading(c.number, (c,)) if c.files else c for c in commands]


def _reading(number: int, members: tuple[Command, ...]) -> Command:
    # The limit is on what is read; each path stands ahead of each line, which is no part of an answer.
    return Command(number, ("grep",), max(c.timeout_s for c in members), FILES_LIMIT_BYTES, members=members)


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
    tools = dict.fromkeys(c.needs or c.argv[0] for c in commands)
    lines += [f"look {shlex.join(tools)} >/dev/null 2>&1"]
    for c in commands:
        lines += _files(c, bool(start)) if c.members else [f"kept {c.number} || {_line(c)}" if start and c.lasting else _line(c)]
    # In a function, so that the shell has read the whole script before a command could touch its input.
    lines[3:] = ["all() {", *lines[3:], ":", "}", "all </dev/null", f"printf '%s\\n%s done\\n' \"$_told\" {boundary}", "exit 0", ""]
    return "\n".join(lines).encode()


@lru_cache(maxsize=512)
def _line(c: Command) -> str:
    needs, seconds = shlex.quote(c.needs or c.argv[0]), max(1, round(c.timeout_s))
    if c.inline:
        text = c.argv[2].removeprefix(QUIET[0]).removesuffix(QUIET[1]) if c.quiet else c.argv[2]
        return f"inline {c.number} {needs} {seconds} {shlex.quote(text)}{' quiet' if c.quiet else ''}"
    return f"fact {c.number} {needs} {seconds} {shlex.join(c.argv)}"


def _files(c: Command, again: bool) -> list[str]:
    """The lines that read the files of a command's members; whole ones come first, and are counted."""
    members = sorted(c.members, key=lambda member: not member.whole)
    lines = ["set --; _whole=0"]
    for member in members:
        lasts = f"kept {member.number} || " if again and member.lasting else ""
        count = "_whole=$((_whole + 1))" if member.whole else ":"
        lines.append(f"{lasts}{{ set -- \"$@\" {' '.join(member.files)}; {count}; }}")
    return [*lines, f'files {c.number} "$_whole" "$@"']


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


_NUMBER, _CODE, _SECONDS = re.compile(rb"[0-9]{1,6}"), re.compile(rb"[0-9]{1,3}"), re.compile(rb"[0-9]{1,12}(\.[0-9]{1,3})?")

MARK_BYTES = 120
"""The longest text of a mark behind its boundary."""


class _Marks:
    """Sets the marks of one stream apart from what is between them, as it arrives."""

    def __init__(self, boundary: str):
        self._mark = b"\n" + boundary.encode() + b" "
        self._buffer = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[bytes, list[bytes] | None]]:
        """Bytes that belong to the open frame, each followed by the words of the mark behind it, None for no mark."""
        self._buffer += data
        buffer, mark, start, look = self._buffer, self._mark, 0, 0
        while (at := buffer.find(mark, look)) >= 0:
            end = buffer.find(b"\n", at + len(mark), at + len(mark) + MARK_BYTES + 1)
            if end < 0:
                if len(buffer) - at > len(mark) + MARK_BYTES:
                    look = at + 1  # too long for a mark of ours
                    continue
                break
            yield bytes(buffer[start:at]), bytes(buffer[at + len(mark) : end]).split(b" ")
            start = look = end + 1
        # What could be the beginning of a mark waits for the rest of it.
        ready = max(start, at if at >= 0 else len(buffer) - len(mark) - MARK_BYTES)
        yield bytes(buffer[start:ready]), None
        del buffer[:ready]

    def rest(self) -> bytes:
        """What waits, when nothing follows."""
        left = bytes(self._buffer)
        self._buffer.clear()
        return left


class Reader:
    """Takes both streams as they arrive and sets the frames apart.

    A frame of each number is accepted once. ``current`` is the frame that is open, None between. What was read for many at once
    comes out as the frames of each; where it did not come to its end, it stays one frame, and theirs are missing.
    ``dropped_bytes`` counts what the open command said beyond its limits, and what came before the first beyond any
    greeting. ``spoken`` and ``printed`` are the last bytes of standard error and output outside every frame, such as why a
    shell did not start.
    """

    def __init__(self, commands: Sequence[Command], boundary: str):
        self._commands = {c.number: c for given in commands for c in (*given.members, given)}
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
                opens = words[0] == b"begin" and len(words) == 2 and words[1].isdigit() and len(words[1]) < 7
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
        kind, number = words[0], int(words[1]) if len(words) > 1 and _NUMBER.fullmatch(words[1]) else None
        if kind == b"done" and len(words) == 1:
            self.finished, self.current = True, None
        elif kind == b"none" and len(words) == 3 and self._is_new(number):
            self._take(self._ended(Frame(number), words[2], b"-"))
        elif kind == b"begin" and len(words) == 3 and self._is_new(number):
            self.current = self.frames[number] = Frame(number, started_up_s=_seconds(words[2]))
            self.dropped_bytes = 0
        elif kind == b"end" and len(words) == 4 and self.current and number == self.current.number:
            self._take(self._ended(self.current, words[2], words[3]))
            self.current = None

    def _is_new(self, number: int | None) -> bool:
        return number in self._commands and number not in self.frames

    def _ended(self, frame: Frame, code: bytes, uptime: bytes) -> Frame:
        frame.ended, frame.absent, frame.kept, frame.hung = True, code == ABSENT.encode(), code == KEPT.encode(), code == HUNG.encode()
        frame.exit_code = int(code) if _CODE.fullmatch(code) else None
        up = _seconds(uptime)
        if up is not None and frame.started_up_s is not None:
            frame.duration_s = max(0.0, round(up - frame.started_up_s, 2))
        return frame

    def _take(self, frame: Frame) -> None:
        """Keep what a command gave, apart for each if it was for several."""
        members = self._commands[frame.number].members
        if members and not frame.truncated and not frame.kept:
            self.frames.pop(frame.number, None)
            for member, own in zip(members, spread(frame, members), strict=True):
                self.frames.setdefault(member.number, own)
        else:
            self.frames[frame.number] = frame


def spread(frame: Frame, members: Sequence[Command]) -> list[Frame]:
    """What each of ``members`` would have given alone, of what reading the files of all of them gave.

    The text of a file that is the whole answer is there as it is in the file, its last line ended; of a command with more files,
    the lines ``path:line``. A file that is not there ends with 127, one that may not be read with 1.
    """
    code = 0 if frame.exit_code is not None else None
    each = [Frame(c.number, exit_code=code, absent=frame.absent, hung=frame.hung, ended=frame.ended, duration_s=frame.duration_s,
                   started_up_s=frame.started_up_s) for c in members]
    whole = {c.files[0].encode(): one for c, one in zip(members, each, strict=True) if c.whole}
    many = [one for c, one in zip(members, each, strict=True) if not c.whole]
    patterns = tuple(c.files for c in members if not c.whole)
    last, owners = b"", []
    for line in bytes(frame.stdout).split(b"\n"):
        path, mark, text = line.partition(b":")
        if not mark:
            continue
        if path in (b"!absent", b"!closed") and text in whole:
            one = whole[text]
            one.exit_code, one.stderr = (127, bytearray()) if path == b"!absent" else (1, bytearray(b"it may not be read\n"))
            continue
        if path in whole:
            whole[path].stdout += text + b"\n"
        if path != last:
            last, owners = path, [many[n] for n in _readers(path, patterns)] if len(path) <= LONGEST_PATH else []
        for one in owners:
            one.stdout += line + b"\n"
    for c, one in zip(members, each, strict=True):
        one.truncated = len(one.stdout) > c.limit_bytes
        del one.stdout[c.limit_bytes :]
    return each


@lru_cache(maxsize=4096)
def _readers(path: bytes, patterns: tuple[tuple[str, ...], ...]) -> tuple[int, ...]:
    """Which of the sets of the shell's patterns lead to a path."""
    return tuple(n for n, some in enumerate(patterns) if _path_of(some).fullmatch(path))


@lru_cache(maxsize=256)
def _path_of(patterns: tuple[str, ...]) -> re.Pattern[bytes]:
    """A pattern for the paths that the shell's patterns lead to."""
    names = (re.escape(p).replace(r"\*", "[^/]*").replace(r"\[0\-9\]", "[0-9]") for p in patterns)
    return re.compile("|".join(names).encode())


def _seconds(text: bytes) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None
