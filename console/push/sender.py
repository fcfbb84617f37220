"""The console's side of a push to one server: sends what is missing and believes only what the server hashed."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from console.errors import SealiftError
from console.jobs.job import Context
from console.push.connection import Connection, Limit, SourceFile, receiver_command
from console.push.lanes import Lane, Lanes, Slots, Way
from console.push.manifest import PushPlan
from console.push.problems import BROKEN, WRONG_BYTES
from console.push.sh_receiver import SCRIPT
from console.push.shell import ShellPush
from console.push.work import TRIES_A_CHUNK, Work
from console.transport.base import Stream, Transport


@dataclass
class Outcome:
    """What became of one server's push.

    Attributes:
        bytes_sent: all that went over the link, chunks that had to go twice counted twice.
        bytes_reused: found in the server's store, in this file, another or another version.
        bytes_resumed: left by an earlier push that was cut off.
        resumed_by: ``journal`` when what was left was untouched since it was flushed, ``rehash`` when it was hashed.
    """

    bytes_sent: int = 0
    bytes_reused: int = 0
    bytes_resumed: int = 0
    resumed_by: str = "none"
    degree: str = ""
    receiver: str = ""
    connections: int = 1
    done: bool = False
    counted: bool = field(default=False, repr=False)
    push: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def found(self, reused: int, resumed: int, how: str) -> None:
        """What the server had at first; what a reconnect finds of this very push was sent by it, and is neither."""
        if not self.counted:
            self.bytes_reused, self.bytes_resumed, self.resumed_by, self.counted = reused, resumed, how, True


@dataclass(frozen=True)
class Means:
    """How to send: the limit, the ways to make further connections, and how many are wanted (None: as many as pay)."""

    limit: Limit = field(default_factory=lambda: Limit(0))
    slots: Slots = field(default_factory=Slots)
    way: Way | None = None
    connections: int | None = None


def send(ctx: Context, transport: Transport, plan: PushPlan, outcome: Outcome, means: Means, python: str | None) -> None:
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
        with _Session(ctx, transport, receiver_command(python)) as stream:
            _PythonPush(ctx, stream, transport.server, plan, outcome, means).run()
    else:
        outcome.receiver, outcome.degree = "shell", "media" if plan.degree == "media" else "stored"
        words = ("sh", "-c", SCRIPT, "receiver", plan.store, plan.release_id, outcome.degree, outcome.push, str(int(plan.patience_s)))
        with _Session(ctx, transport, words) as stream:
            ShellPush(ctx, stream, transport.server, plan, outcome, means.limit).run()


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


class _PythonPush:
    """Leads a push with the Python receiver: feeds the first connection itself, and the lanes beside it."""

    def __init__(self, ctx: Context, stream: Stream, server: str, plan: PushPlan, outcome: Outcome, means: Means):
        self._ctx, self._server, self._plan, self._outcome, self._means = ctx, server, plan, outcome, means
        self._connection = Connection(stream, server, plan.store)
        self._work = Work(server, plan)
        self._problem: BaseException | None = None
        self._counting = threading.Lock()
        self._ended, self._again, self._rounds = threading.Event(), None, 0
        way = means.way if not means.limit.bytes_per_s else None
        self._lanes = Lanes(
            self._work, plan, way, means.slots, lambda: plan.message(outcome.push, "lane"), self._start_lane, means.connections
        )

    def run(self) -> None:
        """Until the release is in place."""
        try:
            self._look()
            self._connection.listen(self._heard, self._failed)
            with self._ctx.on_cancel(self._lanes.kill):
                while not self._outcome.done:
                    self._feed()
                    self._lanes.finish()
                    self._end()
        except SealiftError:
            # The receiver may have said why before the channel closed under us.
            self._connection.join(10)
            if self._problem is not None:
                raise self._problem from None
            raise
        finally:
            self._outcome.connections = max(self._outcome.connections, 1 + self._lanes.count)
            self._lanes.kill()
            self._connection.close()
            self._connection.join(10)

    def _look(self) -> None:
        """Tell the plan, and learn what the server has."""
        first = self._connection.start(self._plan.message(self._outcome.push, "lead"))
        missing = self._missing(first.get("have"))
        reused, resumed, how = first.get("reused"), first.get("resumed"), first.get("how")
        if not (
            isinstance(reused, int)
            and isinstance(resumed, int)
            and min(reused, resumed) >= 0
            and reused + resumed <= self._plan.bytes_total
            and how in ("none", "journal", "rehash")
        ):
            raise self._not_agreed()
        self._outcome.found(reused, resumed, how)
        self._work.lacking(missing)
        self._progress()

    def _missing(self, have: Any) -> list[tuple[int, int]]:
        """The chunks outside the ranges that the server says it has."""
        chunks, at, missing = self._plan.chunks, 0, []
        if not isinstance(have, list):
            raise self._not_agreed()
        for span in [*have, [len(chunks), len(chunks)]]:
            if not (
                isinstance(span, list) and len(span) == 2 and all(type(n) is int for n in span) and at <= span[0] <= span[1] <= len(chunks)
            ):
                raise self._not_agreed()
            missing += chunks[at : span[0]]
            at = span[1] + 1
        return missing

    def _not_agreed(self) -> SealiftError:
        return BROKEN(server=self._server, reason="it answered something else than was agreed")

    # Sending ---------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        file = SourceFile()
        try:
            while not self._work.done:
                self._check()
                self._lanes.consider(lambda: self._connection.tell(b"L"))
                span = self._work.take(lane=False)
                if span is None:
                    self._work.wait()
                else:
                    self._send_span(file, *span)
        finally:
            file.close()
        self._check()

    def _send_span(self, file: SourceFile, number: int, indices: tuple[int, ...]) -> None:
        source = self._plan.sources[number]
        for index in indices:
            self._check()
            length = self._plan.length(number, index)
            pieces = file.pieces(source.place, source.entry.path, source.offsets[index], length)
            self._connection.chunk(number, index, length, pieces, self._means.limit)
            self._sent(length)

    def _sent(self, length: int) -> None:
        with self._counting:
            self._outcome.bytes_sent += length

    def _start_lane(self, process: subprocess.Popen, on_end: Callable[[], None]) -> Lane:
        lane = Lane(self._work, process, self._sent, self._progress, self._failed, self._plan, on_end)
        lane.start()
        return lane

    def _end(self) -> None:
        """Have the files finished and linked; what the server found wrong while doing so is sent again."""
        self._connection.tell(b"E")
        while not self._ended.wait(1.0):
            self._check()
        self._check()
        self._ended.clear()
        if not self._outcome.done:
            missing, self._rounds = self._missing(self._again), self._rounds + 1
            if missing and self._rounds >= TRIES_A_CHUNK:
                raise WRONG_BYTES(server=self._server, path=self._plan.sources[missing[0][0]].entry.path)
            self._work.lacking(missing)

    def _check(self) -> None:
        self._ctx.checkpoint()
        if self._problem is not None:
            raise self._problem

    # Hearing ---------------------------------------------------------------------------------------------------------

    def _heard(self, answer: dict[str, Any]) -> bool:
        if "ok" in answer or "bad" in answer:
            key = self._key(answer.get("ok") or answer.get("bad"))
            if "bad" in answer:
                self._work.bad(key)
            elif not self._work.good(key):
                raise BROKEN(server=self._server, reason="it spoke of a chunk that it was not sent")
            self._progress()
        elif answer.get("done") is True:
            if not self._work.done or answer.get("degree") != self._plan.degree:
                raise BROKEN(server=self._server, reason="it said that it was done before it was")
            self._outcome.done = True
            self._ended.set()
            return True
        elif "again" in answer:
            self._again = answer["again"]
            self._ended.set()
        return False

    def _key(self, value: Any) -> tuple[int, int]:
        sources = self._plan.sources
        if not (
            isinstance(value, list)
            and len(value) == 2
            and all(type(v) is int for v in value)
            and 0 <= value[0] < len(sources)
            and 0 <= value[1] < len(sources[value[0]].entry.chunks)
        ):
            raise BROKEN(server=self._server, reason="it spoke of a chunk that is not part of the push")
        return value[0], value[1]

    def _failed(self, problem: BaseException) -> None:
        self._problem = self._problem or problem
        self._ended.set()
        self._work.wake()
        if not self._ctx.cancelled:
            self._connection.close()

    def _progress(self) -> None:
        # From threads that nobody could catch a cancel in; the sending thread checks for it by itself.
        if not self._ctx.cancelled:
            self._ctx.progress(min(self._work.verified, self._plan.bytes_total), self._plan.bytes_total, "bytes")
