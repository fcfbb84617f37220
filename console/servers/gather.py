"""Asking one server over a connection that stands: all commands as one script, the evidence of each apart again.

What hangs, floods or is missing costs its own answer. Nothing here knows of a workspace, so a process of its own can do it too.
"""

from __future__ import annotations

import secrets as random_tokens
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from console import accelerators, facts
from console.errors import SealiftError, WorldError, code
from console.facts.fact import Fact
from console.i18n import N_, Said
from console.servers import framing
from console.servers.record import ServerRecord
from console.transport.ssh import SshStream, SshTransport

GRACE_S = 4.0
"""How long after its own limit a command may still hold the script up before the script is started anew behind it."""

CUT_BYTES = 64 << 10
"""What is kept of an output that is too long to be read."""

INVENTORY_BYTES = 16 << 20
"""What the outputs of one server may come to; beyond it, the longest commands are cut as if each had said too much."""

BEGIN_S = 30.0
"""How long a shell may take to start, and to go from one command to the next."""

SERVER_LIMIT_S = 300.0
MAX_RESTARTS = 16
SETTLE_S = 0.02
"""The answers come in many small pieces; to be woken for each costs more than to read them."""

END_S = 1.0
"""How long the end of both streams may take once the script has said that it is done."""

NO_SHELL = code("inventory.no-shell", WorldError,
                N_("{server} did not run the inventory script: {reason}."),
                N_("The account needs a POSIX shell, and no forced command, restricted shell or message at log-in that "
                   "ends the session."))


@lru_cache(maxsize=1)
def known_facts() -> tuple[Fact, ...]:
    """Every fact that is asked of a server: the general ones and those of each vendor; ids are unique."""
    found: dict[str, Fact] = {}
    for fact in (*facts.all_facts(), *(f for vendor in accelerators.vendors() for f in vendor.facts)):
        found.setdefault(fact.id, fact)
    return tuple(found.values())


@dataclass(frozen=True)
class Known:
    """Evidence by fact id that holds for one start of a server, which is named by its boot id."""

    boot: str = ""
    evidence: dict[str, dict] = field(default_factory=dict)


def gather(link: SshTransport, wanted: Iterable[Fact], *, root: str = "none", limit_s: float = SERVER_LIMIT_S,
           known: Known = Known(), store: str = ServerRecord.store) -> dict[str, dict]:  # noqa: B008
    """Run the facts' commands on a server; gives the evidence by fact id. What is ``known`` for the start that the
    server is in is taken over.

    All travel as one script over one channel; those that need root as a second one, under sudo. A command that hangs
    past its time, even unkillably, costs its own answer: the script is started anew behind it. What goes wrong with sudo
    costs what needs root.

    Args:
        root: how commands that need root are run: ``direct``, ``sudo``, or not: ``none``, ``no-password``.
        store: the folder for models, of which some facts tell.

    Raises:
        WorldError: the connection broke, or the account cannot run the script.
    """
    deadline, numbered = time.monotonic() + limit_s, [(n, f) for n, f in enumerate(wanted) if not f.of]
    plain = [(n, f) for n, f in numbered if not f.needs_root or root == "direct"]
    as_root = [(n, f) for n, f in numbered if f.needs_root and root != "direct"]
    commands = [replace(_command(n, f), lasting=f.id in known.evidence) if f.lasting else _command(n, f) for n, f in plain]
    frames = _run_all(link, commands, False, deadline, known.boot, store)
    refused = None
    if as_root and root == "sudo":
        try:
            frames |= _run_all(link, [_command(n, f) for n, f in as_root], True, deadline)
        except SealiftError as problem:
            if not link.alive:
                raise
            refused = problem
    _cut_to_size(frames)
    missing = "no-sudo-password" if root == "no-password" else "needs-root"
    return {fact.id: known.evidence[fact.id] if number in frames and frames[number].kept and fact.id in known.evidence
            else _evidence(fact, frames.get(number), refused, missing) for number, fact in numbered}


def _cut_to_size(frames: dict[int, framing.Frame]) -> None:
    """Keep little of what is too long for any reader, and of all together no more than a server can be worth."""
    total = 0
    for frame in sorted(frames.values(), key=lambda frame: len(frame.stdout)):
        total += len(frame.stdout)
        frame.truncated |= total > INVENTORY_BYTES
        if frame.truncated:
            del frame.stdout[CUT_BYTES:]


@lru_cache(maxsize=512)
def _command(number: int, fact: Fact) -> framing.Command:
    return framing.Command(number, tuple(fact.argv), fact.timeout_s, needs=fact.needs, files=fact.files, whole=fact.whole,
                           inline=fact.inline, quiet=fact.quiet, lasting=fact.lasting)


def full_script(boundary: str) -> bytes:
    """The whole inventory as one shell script, as root runs it."""
    return framing.script(framing.together([_command(n, f) for n, f in enumerate(known_facts()) if not f.of]), boundary)


def _evidence(fact: Fact, frame: framing.Frame | None, refused: SealiftError | None, missing: str) -> dict[str, Any]:
    if frame is None:
        told = {"refused": refused.kept()} if refused and fact.needs_root else {}
        return {"argv": list(fact.argv), "exit_code": None, "stdout": "", "stderr": refused.message() if told else "", "duration_s": None,
                "truncated": False, "outcome": missing if fact.needs_root else "not-run"} | told
    outcome = "absent" if frame.absent else "hung-before" if frame.hung else "ran" if frame.ended or frame.truncated else "hung"
    return {"argv": list(fact.argv), "exit_code": frame.exit_code, "stdout": _text(frame.stdout),
            "stderr": _text(frame.stderr), "duration_s": frame.duration_s, "truncated": frame.truncated,
            "outcome": outcome}


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _run_all(link: SshTransport, commands: list[framing.Command], sudo: bool, deadline: float,
             start: str = "", store: str = "") -> dict[int, framing.Frame]:
    frames: dict[int, framing.Frame] = {}
    for _start in range(MAX_RESTARTS):
        left = [c for c in commands if c.number not in frames]
        if not left or time.monotonic() > deadline:
            break
        # Where one of the files hangs or is too long, each is read by itself the next time.
        left = framing.apart(left) if framing.FILES in frames else framing.together(left)
        try:
            got, finished = _run_script(link, left, sudo, deadline, start, store, _hung(commands, frames))
        except SealiftError:
            # Commands that nothing can end use up the sessions that a server allows; what was heard before is kept.
            if not frames or not link.alive:
                raise
            break
        frames |= got
        if (finished and framing.FILES not in got) or not got:
            break
    frames.pop(framing.FILES, None)
    return frames


def _hung(commands: list[framing.Command], frames: dict[int, framing.Frame]) -> set[str]:
    """The programs that did not end, not even when told to."""
    stuck = {number for number, frame in frames.items() if not frame.ended and not frame.truncated}
    return {c.needs or c.argv[0] for c in commands if c.number in stuck and not c.files} - {"sh"}


def _run_script(link: SshTransport, commands: list[framing.Command], sudo: bool, deadline: float,
                start: str, store: str, hung: set[str]) -> tuple[dict[int, framing.Frame], bool]:
    boundary = random_tokens.token_hex(16)
    reader, stream = framing.Reader(commands, boundary), link.open(("sh", "-s"), sudo=sudo)

    def errors(data: bytes) -> None:
        reader.feed_errors(data)
        if reader.dropped_bytes > framing.SCRIPT_SLACK_BYTES:
            stream.close()  # the read of standard output ends with it

    stream.on_stderr, stream.settle_s = errors, SETTLE_S
    try:
        settings = {"SEALIFT_NOW": f"{time.time():.3f}", "SEALIFT_STORE": store}
        stream.write(framing.script(commands, boundary, start, settings, sorted(hung)))
        stream.close_stdin()
        late = _read_frames(stream, reader, {c.number: c for c in commands}, deadline)
        if reader.finished:
            _read_rest(stream)
    finally:
        stream.close()
    reader.close()
    if not reader.frames and not reader.finished:
        raise NO_SHELL(server=link.server, reason=_last_words(reader, boundary, late))
    return reader.frames, reader.finished


def _last_words(reader: framing.Reader, boundary: str, late: bool) -> str:
    if boundary.encode() in reader.printed:
        return Said(N_("it gave the script back instead of running it"))
    for said in (reader.spoken, reader.printed):
        if lines := _text(said).strip().splitlines():
            return lines[-1][:300]
    return Said(N_("it did not begin within {timeout_s} s"), timeout_s=f"{BEGIN_S:g}") if late else Said(N_("it ended without output"))


def _read_frames(stream: SshStream, reader: framing.Reader, commands: dict[int, framing.Command], deadline: float) -> bool:
    """Read until the script is done, a command overstays or says too much, or the server says more than they may.

    Returns:
        Whether the time was up.
    """
    allowed = sum(c.limit_bytes for c in commands.values()) + framing.SCRIPT_SLACK_BYTES
    opened, number, limit = time.monotonic(), None, BEGIN_S
    while not reader.finished and allowed > 0 and reader.dropped_bytes < framing.SCRIPT_SLACK_BYTES:
        if reader.current is None or reader.current.number != number:
            opened, number = time.monotonic(), reader.current.number if reader.current else None
            limit = commands[number].timeout_s + GRACE_S if number is not None else BEGIN_S
        left = min(opened + limit, deadline) - time.monotonic()
        data = _read(stream, left)
        if not data:
            return time.monotonic() >= min(opened + limit, deadline)
        allowed -= len(data)
        reader.feed(data)
    return False


def _read_rest(stream: SshStream) -> None:
    """The two streams come apart from each other: what is left of standard error arrives by the end of both."""
    end = time.monotonic() + END_S
    while _read(stream, end - time.monotonic()):
        pass


def _read(stream: SshStream, timeout_s: float) -> bytes:
    """Some output; empty at its end and when the time is up."""
    if timeout_s <= 0:
        return b""
    try:
        return stream.read(256 << 10, timeout_s)
    except SealiftError as problem:
        if problem.code != "ssh.timeout":
            raise
        return b""
