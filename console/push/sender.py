"""The console's side of a push to one server: sends what is missing and believes only what the server hashed.

Both kinds of receiver are driven here behind one function, :func:`send`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from console.errors import SealiftError, WorldError, code
from console.i18n import N_
from console.jobs.job import Context
from console.push.manifest import PushPlan, Source
from console.push.sh_receiver import SCRIPT
from console.transport.base import Stream, Transport
from console.units import size as shown_size

DISK_FULL = code("push.disk-full", WorldError, N_("The disk of {server} is full: {free} free where {store} lies{short}."),
                 N_("Free space there and push again; it goes on from the last verified chunk."), retryable=True)
NO_RIGHTS = code("push.no-rights", WorldError, N_("On {server} the account may not write to {path}."),
                 N_("Give the account rights to the store, or set another store for the server."))
BUSY = code("push.store-busy", WorldError, N_("Another push is writing to the store of {server}."), N_("Wait until it has ended, then push again."),
            retryable=True)
WRONG_BYTES = code("push.wrong-bytes", WorldError, N_("{server} keeps storing wrong bytes of {path}: what it reads back is not what was sent."),
                   N_("Its disk, memory or network card is faulty. Nothing of it went live. Check the hardware before trying again."))
SOURCE_DAMAGED = code("push.source-damaged", WorldError, N_("The library's own copy of {path} is damaged, so it was not sent."),
                      N_("Import the bundle again from its drive; only what is damaged is copied."))
BROKEN = code("push.receiver-failed", WorldError, N_("The receiver on {server} failed: {reason}."),
              N_("Push again; it goes on from the last verified chunk. If it fails again, look at the server."), retryable=True)
UNSAFE = code("push.unsafe-store", WorldError, N_("On {server}, {path} in the store is a link, which a push does not follow."),
              N_("Remove the link, or set the server's store to where it leads."))
NO_DIGEST = code("push.no-digest-tool", WorldError, N_("{server} has neither python3 nor openssl nor sha256sum, so nothing could be verified there."),
                 N_("Install one of them on the server."))

MAX_LINE_BYTES = 16 << 20
SEND_BYTES = 1 << 20
TRIES_A_CHUNK = 3
SILENCE_S = 120.0
"""A server that acknowledges nothing for so long, with data waiting, is given up."""

BOOTSTRAP = ("import os,sys\nn=int(sys.argv[1]);d=b''\nwhile len(d)<n:\n b=os.read(0,n-len(d))\n if not b:sys.exit(1)\n d+=b\n"
             "exec(compile(d,'receiver','exec'),{'__name__':'__main__'})")


@dataclass
class Outcome:
    """What became of one server's push; bytes are of distinct chunks."""

    bytes_sent: int = 0
    bytes_reused: int = 0
    bytes_resumed: int = 0
    degree: str = ""
    receiver: str = ""
    done: bool = False
    counted: bool = field(default=False, repr=False)


class Limit:
    """At most so many bytes a second over all pushes that share it; 0 for no limit."""

    def __init__(self, bytes_per_s: int):
        self._rate, self._lock, self._free_at = bytes_per_s, threading.Lock(), 0.0

    def wait(self, count: int, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until ``count`` bytes may go."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        if start > now:
            sleep(start - now)


@cache
def receiver_source() -> bytes:
    """The receiver as it is sent; read from its file, which the frozen program carries as data."""
    return (Path(__file__).with_name("receiver.py")).read_bytes()


def send(ctx: Context, transport: Transport, plan: PushPlan, outcome: Outcome, limit: Limit, python: str | None) -> None:
    """Bring every missing chunk onto the server and its release into place.

    Args:
        ctx: bound to the server; its cancel closes the channel and leaves verified chunks for the next push.
        outcome: counted up while it goes; ``done`` at the end.
        python: the server's interpreter, or None to use its shell.

    Raises:
        WorldError: named, with what the server said. Cancelled.
    """
    outcome.degree = plan.degree
    if python:
        outcome.receiver = "python"
        with _Session(ctx, transport, (python, "-S", "-E", "-c", BOOTSTRAP, str(len(receiver_source())))) as stream:
            _python(ctx, stream, transport.server, plan, outcome, limit)
    else:
        outcome.receiver, outcome.degree = "shell", "media" if plan.degree == "media" else "stored"
        with _Session(ctx, transport, ("sh", "-c", SCRIPT, "receiver", plan.store, plan.release_id, outcome.degree)) as stream:
            _Shell(ctx, stream, transport.server, plan, outcome, limit).run()


class _Session:
    """An open channel that a cancel closes."""

    def __init__(self, ctx: Context, transport: Transport, argv: tuple[str, ...]):
        self._ctx, self._transport, self._argv = ctx, transport, argv

    def __enter__(self) -> Stream:
        self._ctx.checkpoint()
        self._stream = self._transport.open(self._argv)
        self._waking = self._ctx.on_cancel(self._stream.close)
        self._waking.__enter__()
        return self._stream

    def __exit__(self, kind: Any, problem: BaseException | None, trace: Any) -> None:
        self._waking.__exit__(kind, problem, trace)
        self._stream.close()
        if problem is not None and self._ctx.cancelled:
            self._ctx.checkpoint()


class _Lines:
    """Lines from a server that may be hostile: bounded, and a deadline for silence."""

    def __init__(self, stream: Stream, server: str):
        self._stream, self._server, self._buffer = stream, server, bytearray()

    def next(self, timeout_s: float = SILENCE_S) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise BROKEN(server=self._server, reason="it sent an endless line")
            data = self._stream.read(64 << 10, timeout_s)
            if not data:
                raise BROKEN(server=self._server, reason=_last_words(self._stream) or "it ended without a word")
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line


def _last_words(stream: Stream) -> str:
    lines = stream.stderr_tail().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else ""


def _named(server: str, plan: PushPlan, kind: str, told: dict[str, Any]) -> SealiftError:
    if kind == "disk-full":
        free, need = told.get("free"), told.get("need")
        short = f", {shown_size(need - free)} short" if isinstance(need, int) and isinstance(free, int) and need > free else ""
        return DISK_FULL(server=server, store=plan.store, free=shown_size(free) if isinstance(free, int) else "?", short=short)
    if kind == "store-busy":
        return BUSY(server=server)
    if kind == "no-rights":
        return NO_RIGHTS(server=server, path=str(told.get("path") or plan.store))
    if kind == "unsafe-store":
        return UNSAFE(server=server, path=str(told.get("path", "")))
    if kind == "no-digest-tool":
        return NO_DIGEST(server=server)
    return BROKEN(server=server, reason=f"{kind} {told.get('reason', '')}".strip()[:500])


# Python receiver -----------------------------------------------------------------------------------------------------


def _python(ctx: Context, stream: Stream, server: str, plan: PushPlan, outcome: Outcome, limit: Limit) -> None:
    stream.write(receiver_source())
    told = zlib.compress(json.dumps({"store": plan.store, "release": plan.release_id, "degree": plan.degree,
                                     "files": plan.listing()}).encode(), 6)
    stream.write(struct.pack(">I", len(told)) + told)
    _Conversation(ctx, stream, server, plan, outcome, limit).run()


class _Conversation:
    """Sends chunks while another thread reads the answers."""

    def __init__(self, ctx: Context, stream: Stream, server: str, plan: PushPlan, outcome: Outcome, limit: Limit):
        self._ctx, self._stream, self._server, self._plan, self._outcome, self._limit = ctx, stream, server, plan, outcome, limit
        self._lines = _Lines(stream, server)
        self._lock = threading.Condition()
        self._waiting: set[tuple[int, int]] = set()
        self._again: list[tuple[int, int]] = []
        self._tries: dict[tuple[int, int], int] = {}
        self._problem: BaseException | None = None
        self._done = False

    def run(self) -> None:
        # The first answer comes after what is there was looked through, which takes as long as hashing it does.
        first = self._answer(self._lines.next(timeout_s=6 * 3600))
        have = {(n, i) for n, spans in _checked_have(first) for low, high in spans for i in range(low, high + 1)}
        if not self._outcome.counted:
            # What a reconnect finds of this very push was sent by it, and is neither reused nor resumed.
            self._outcome.bytes_reused, self._outcome.bytes_resumed = int(first["reused"]), int(first["resumed"])
            self._outcome.counted = True
        todo = [(n, i) for n, s in enumerate(self._plan.sources) for i in range(len(s.entry.chunks)) if (n, i) not in have]
        self._total = self._plan.bytes_total
        self._verified = self._total - sum(self._plan.sources[n].entry.chunks[i][1] for n, i in todo)
        self._ctx.progress(self._verified, self._total, "bytes")
        reader = threading.Thread(target=self._read, name=f"push-answers-{self._server}", daemon=True)
        reader.start()
        try:
            self._send_all(todo)
        except SealiftError:
            # The receiver may have said why before the channel closed under us.
            reader.join(10)
            if self._problem is not None:
                raise self._problem from None
            raise
        except BaseException:
            self._stream.close()
            reader.join(10)
            raise
        reader.join()
        if self._problem is not None:
            raise self._problem
        self._outcome.done = True

    def _send_all(self, todo: list[tuple[int, int]]) -> None:
        opened: tuple[int, Any, mmap.mmap | None] | None = None
        try:
            while True:
                for number, index in todo:
                    self._raise_problem()
                    if opened is None or opened[0] != number:
                        _close(opened)
                        opened = (number, *_map(self._plan.sources[number]))
                    self._send_chunk(number, index, opened[2])
                todo = self._settled()
                if not todo:
                    break
            self._stream.write(b"E")
        finally:
            _close(opened)

    def _send_chunk(self, number: int, index: int, data: mmap.mmap | None) -> None:
        source = self._plan.sources[number]
        offset, length = _offsets(source)[index], source.entry.chunks[index][1]
        with self._lock:
            self._waiting.add((number, index))
        self._stream.write(b"C" + struct.pack(">III", number, index, length))
        view = memoryview(data)
        for at in range(offset, offset + length, SEND_BYTES):
            part = view[at : min(at + SEND_BYTES, offset + length)]
            self._limit.wait(len(part))
            self._stream.write(part)
        self._outcome.bytes_sent += length

    def _settled(self) -> list[tuple[int, int]]:
        """Wait until every chunk was answered; those that must be sent again."""
        with self._lock:
            while self._waiting and self._problem is None:
                self._lock.wait(1.0)
            again, self._again = self._again, []
        self._raise_problem()
        return again

    def _raise_problem(self) -> None:
        self._ctx.checkpoint()
        if self._problem is not None:
            raise self._problem

    def _read(self) -> None:
        try:
            while not self._done:
                self._take(self._answer(self._lines.next(SILENCE_S)))
        except BaseException as problem:  # handed to the sending thread, which raises it
            with self._lock:
                self._problem = problem
                self._lock.notify_all()
            if not self._ctx.cancelled:
                self._stream.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError
        except ValueError:
            raise BROKEN(server=self._server, reason="it answered something else than was agreed") from None
        if "error" in answer:
            raise _named(self._server, self._plan, str(answer["error"]), answer)
        return answer

    def _take(self, answer: dict[str, Any]) -> None:
        if answer.get("done"):
            self._done = True
        elif "ok" in answer or "bad" in answer:
            key = self._known(answer.get("ok") or answer.get("bad"))
            with self._lock:
                self._waiting.discard(key)
                if "bad" in answer:
                    self._retry(key)
                self._lock.notify_all()
            if "ok" in answer:
                self._verified += self._plan.sources[key[0]].entry.chunks[key[1]][1]
                self._ctx.progress(min(self._verified, self._total), self._total, "bytes")
        elif "incomplete" in answer:
            raise BROKEN(server=self._server, reason="files were not complete at the end")

    def _known(self, value: Any) -> tuple[int, int]:
        if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, int) for v in value)
                and 0 <= value[0] < len(self._plan.sources) and 0 <= value[1] < len(self._plan.sources[value[0]].entry.chunks)):
            raise BROKEN(server=self._server, reason="it spoke of a chunk that is not part of the push")
        return value[0], value[1]

    def _retry(self, key: tuple[int, int]) -> None:
        source = self._plan.sources[key[0]]
        self._tries[key] = self._tries.get(key, 0) + 1
        if not _chunk_is_right(source, key[1]):
            raise SOURCE_DAMAGED(path=source.entry.path)
        if self._tries[key] >= TRIES_A_CHUNK:
            raise WRONG_BYTES(server=self._server, path=source.entry.path)
        self._again.append(key)


@cache
def _offsets(source: Source) -> tuple[int, ...]:
    at, found = 0, []
    for _, length in source.entry.chunks:
        found.append(at)
        at += length
    return tuple(found)


def _checked_have(answer: dict[str, Any]) -> list:
    have = answer.get("have")
    good = isinstance(have, list) and all(
        isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], list)
        and all(isinstance(s, list) and len(s) == 2 and all(isinstance(n, int) and 0 <= n < 1 << 24 for n in s) for s in item[1])
        for item in have)
    if not good or not isinstance(answer.get("reused"), int) or not isinstance(answer.get("resumed"), int):
        raise BROKEN(server="", reason="it answered something else than was agreed")
    return have


def _map(source: Source) -> tuple[Any, mmap.mmap | None]:
    handle = open(source.place, "rb")  # noqa: SIM115 - closed by _close together with its map
    return handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _close(opened: tuple[int, Any, mmap.mmap | None] | None) -> None:
    if opened is not None:
        # An error on its way up still holds slices of the map in its traceback; the map then goes with them.
        with contextlib.suppress(BufferError):
            opened[2].close()
        opened[1].close()


def _chunk_is_right(source: Source, index: int) -> bool:
    digest, length = source.entry.chunks[index]
    with open(source.place, "rb") as data:
        data.seek(_offsets(source)[index])
        return hashlib.sha256(data.read(length)).hexdigest() == digest


# Shell receiver ------------------------------------------------------------------------------------------------------


class _Shell:
    """Drives the shell script, a question at a time."""

    def __init__(self, ctx: Context, stream: Stream, server: str, plan: PushPlan, outcome: Outcome, limit: Limit):
        self._ctx, self._stream, self._server, self._plan, self._outcome, self._limit = ctx, stream, server, plan, outcome, limit
        self._lines = _Lines(stream, server)
        self._verified, self._total = 0, plan.bytes_total

    def run(self) -> None:
        self._expect("ready")
        states = [(source, self._ask(f"object {source.entry.sha256} {source.entry.size}") == "yes") for source in self._plan.sources]
        self._check_space(states)
        reused = resumed = 0
        for source, whole in states:
            if whole:
                reused += source.entry.size
                self._count(source.entry.size)
            else:
                resumed += self._file(source)
        if not self._outcome.counted:
            self._outcome.bytes_reused, self._outcome.bytes_resumed, self._outcome.counted = reused, resumed, True
        self._ask("begin")
        for path, sha256 in self._plan.links:
            self._ask(f"link {sha256}\n{path}")
        self._tell("end")
        self._expect("done")
        self._outcome.done = True

    def _check_space(self, states: list[tuple[Source, bool]]) -> None:
        free = self._number("free")
        need = sum(s.entry.size - min(s.entry.size, self._number(f"size {s.entry.sha256}")) for s, whole in states if not whole)
        if need > free:
            raise _named(self._server, self._plan, "disk-full", {"free": free, "need": need})

    def _file(self, source: Source) -> int:
        """Bring one file; the bytes of it that an earlier push had left."""
        entry, kept = source.entry, 0
        there = self._number(f"size {entry.sha256}")
        with open(source.place, "rb") as data:
            for index, (digest, length) in enumerate(entry.chunks):
                offset = _offsets(source)[index]
                self._ctx.checkpoint()
                if offset + length <= there and self._ask(f"check {entry.sha256} {offset} {length}") == digest:
                    kept += length
                else:
                    self._put(source, data, index, offset, length)
                self._count(length)
        mode = "555" if entry.sha256 in self._plan.executable else "444"
        if self._ask(f"finish {entry.sha256} {entry.size} {mode}") != "yes":
            raise WRONG_BYTES(server=self._server, path=entry.path)
        return kept

    def _put(self, source: Source, data: Any, index: int, offset: int, length: int) -> None:
        digest = source.entry.chunks[index][0]
        for _ in range(TRIES_A_CHUNK):
            self._tell(f"put {source.entry.sha256} {offset} {length}")
            data.seek(offset)
            left = length
            while left:
                part = data.read(min(SEND_BYTES, left))
                if not part:
                    raise SOURCE_DAMAGED(path=source.entry.path)
                self._limit.wait(len(part))
                self._write(part)
                left -= len(part)
            self._outcome.bytes_sent += length
            if self._line() == digest:
                return
            if not _chunk_is_right(source, index):
                raise SOURCE_DAMAGED(path=source.entry.path)
        raise WRONG_BYTES(server=self._server, path=source.entry.path)

    def _count(self, length: int) -> None:
        self._verified += length
        self._ctx.progress(self._verified, self._total, "bytes")

    def _tell(self, line: str) -> None:
        self._write(line.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except SealiftError:
            self._line()  # the script may have said why before the channel closed
            raise

    def _ask(self, line: str) -> str:
        self._tell(line)
        return self._line()

    def _number(self, line: str) -> int:
        answer = self._ask(line)
        if not (answer.isascii() and answer.isdigit() and len(answer) < 19):
            raise BROKEN(server=self._server, reason=f"it answered {answer[:80]!r} where a number was due")
        return int(answer)

    def _expect(self, word: str) -> None:
        if (line := self._line()) != word:
            raise BROKEN(server=self._server, reason=line[:200])

    def _line(self) -> str:
        line = self._lines.next(6 * 3600).decode("utf-8", "replace").strip()
        if line.startswith("error "):
            kind, _, told = line.removeprefix("error ").partition(" ")
            raise _named(self._server, self._plan, kind, {"free": int(told)} if told.isdigit() else {"path": told, "reason": told})
        return line
