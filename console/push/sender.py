"""The console's side of a push to one server: sends what is missing and believes only what the server hashed."""

from __future__ import annotations

import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from console.errors import SealiftError
from console.i18n import N_
from console.jobs.job import Context
from console.push.connection import GATHER_BYTES, STUCK_S, Connection, SourceFile, hashing_s, receiver_command
from console.push.control import FINISH, LOOK, PUSH, Control, Pace
from console.push.lanes import Lane, Lanes, Slots, Way
from console.push.manifest import PushPlan
from console.push.problems import BROKEN, WRONG_BYTES, not_agreed
from console.push.relay import Chain, Member
from console.push.sh_receiver import SCRIPT
from console.push.shell import ShellPush
from console.push.work import TRIES_A_CHUNK, Run, Work
from console.servers.record import ServerRecord
from console.transport.base import Stream, Transport

RELAY_WORDS = ("reach", "listening", "fed", "feed", "next")


@dataclass
class Outcome:
    """What became of one server's push.

    Attributes:
        bytes_sent: all that was sent to it, whether packed or not; chunks that had to go twice are counted twice.
        bytes_on_link: what the console's own link carried for it: fewer when packed, none when another server sent them.
        bytes_reused: found in the server's store, in this file, another or another version.
        bytes_resumed: left by an earlier push that was cut off.
        reused_by, resumed_by: ``journal`` when what was left was untouched since it was flushed, ``rehash`` when it was hashed.
    """

    bytes_sent: int = 0
    bytes_on_link: int = 0
    bytes_reused: int = 0
    bytes_resumed: int = 0
    resumed_by: str = "none"
    reused_by: str = "none"
    degree: str = ""
    receiver: str = ""
    connections: int = 1
    fed_by: dict[str, int] = field(default_factory=dict, repr=False)
    done: bool = False
    done_at: float = field(default=0.0, repr=False)
    counted: bool = field(default=False, repr=False)
    push: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def found(self, reused: int, resumed: int, how: str, by: str) -> None:
        """What the server had at first; what a reconnect finds of this very push was sent by it, and is neither."""
        if not self.counted:
            self.bytes_reused, self.bytes_resumed, self.counted = reused, resumed, True
            self.resumed_by, self.reused_by = how, by

    @property
    def via(self) -> str:
        """Who brought most of the bytes: ``console`` or ``relay:NAME``."""
        name, count = max(self.fed_by.items(), key=lambda item: item[1], default=("", 0))
        return f"relay:{name}" if count > self.bytes_sent / 2 else "console"


@dataclass(frozen=True)
class Means:
    """How to send: the operator's reins, the ways to make further connections, and how many are wanted (None: as many as pay)."""

    control: Control = field(default_factory=Control)
    slots: Slots = field(default_factory=Slots)
    way: Way | None = None
    connections: int | None = None
    chain: Chain | None = None
    record: ServerRecord | None = None


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
            ShellPush(ctx, stream, transport.server, plan, outcome, means.control).run()


class _Session:
    """An open channel that a cancel closes."""

    def __init__(self, ctx: Context, transport: Transport, argv: tuple[str, ...]):
        self._ctx, self._transport, self._argv = ctx, transport, argv

    def __enter__(self) -> Stream:
        self._ctx.checkpoint()
        self._stream = self._transport.open(self._argv)
        self._stream.patience_s = STUCK_S
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
        self._stream, self._connection = stream, Connection(stream, server, plan.store, plan.first[-1])
        self._connection.stuck_s = STUCK_S
        self._work = Work(server, plan)
        self._problem: BaseException | None = None
        self._counting = threading.Lock()
        self._ended, self._again, self._rounds = threading.Event(), None, 0
        self._member: Member | None = None
        self._ending = False
        way = means.way if not means.control.limit.bytes_per_s else None
        self._pace = Pace()
        self._lanes = Lanes(
            self._work, plan, way, means.slots, lambda: plan.message(outcome.push, "lane"), self._start_lane, means.connections
        )

    def run(self) -> None:
        """Until the release is in place."""
        try:
            self._look()
            self._connection.listen(self._heard, self._failed)
            self._join()
            with self._ctx.on_cancel(self._lanes.kill):
                while not self._outcome.done:
                    self._feed()
                    self._lanes.finish()
                    self._end()
            self._serve_others()
        except SealiftError:
            # The receiver may have said why before the channel closed under us.
            self._connection.join(10)
            if self._problem is not None:
                raise self._problem from None
            raise
        finally:
            if self._member is not None:
                self._means.chain.post("leave", self._member)
            self._outcome.connections = max(self._outcome.connections, 1 + self._lanes.count)
            self._lanes.kill()
            self._connection.close()
            self._connection.join(10)

    def _join(self) -> None:
        """Take part in the chain, if there is one: until it says who feeds this server, nothing is sent."""
        if self._plan.relay:
            self._work.shared = True
            self._member = Member(self._ctx, self._means.record, self._connection, self._work)
            self._means.chain.post("join", self._member)

    def _serve_others(self) -> None:
        """This server has all; it may still have to feed others."""
        if self._member is None:
            return
        # Whatever happens from here on, this server has its release.
        with suppress(SealiftError):
            while not self._member.may_end.wait(0.5):
                self._check()
            self._ending = True
            self._connection.order(b"Q", {})
            self._connection.join(10)
            if self._stream.wait(10) == 0:
                self._means.chain.let_go.add(self._server)

    def _look(self) -> None:
        """Tell the plan, and learn what the server has."""
        self._ctx.phase(LOOK)
        first = self._connection.start(self._plan.pieces(self._outcome.push, "lead"), self._plan.bytes_total)
        missing = self._missing(first.get("have"))
        reused, resumed, how, by = (first.get(word) for word in ("reused", "resumed", "how", "by"))
        if not (
            isinstance(reused, int)
            and isinstance(resumed, int)
            and min(reused, resumed) >= 0
            and reused + resumed <= self._plan.bytes_total
            and all(word in ("none", "journal", "rehash") for word in (how, by))
        ):
            raise not_agreed(self._server)
        self._outcome.found(reused, resumed, how, by)
        self._work.lacking(missing)
        self._progress()

    def _missing(self, have: Any) -> list[Run]:
        """The chunks outside the ranges that the server says it has."""
        count, at, missing = self._plan.first[-1], 0, []
        if not isinstance(have, list):
            raise not_agreed(self._server)
        for span in [*have, [count, count]]:
            if not (isinstance(span, list) and len(span) == 2 and all(type(n) is int for n in span) and at <= span[0] <= span[1] <= count):
                raise not_agreed(self._server)
            if at < span[0]:
                missing.append((at, span[0] - 1))
            at = span[1] + 1
        return missing

    # Sending ---------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        self._ctx.phase(PUSH)
        file = SourceFile()
        try:
            while not self._work.done:
                self._check()
                if self._held():
                    self._connection.flush()
                    self._work.wait_for_change(0.5)
                    continue
                if self._means.control.limit.bytes_per_s and self._lanes.count:
                    self._lanes.kill()  # other processes know nothing of a limit that was set meanwhile
                feeds = self._member is None or self._member.state == "console"
                if feeds and (self._means.chain is None or self._means.chain.idle):
                    self._lanes.consider(lambda: self._connection.tell(b"L"))
                span = self._work.take(lane=False) if feeds else None
                if not feeds:
                    self._connection.flush()
                    self._work.wait_for_change()
                elif span is None:
                    self._connection.flush()
                    self._work.wait()
                else:
                    self._send_span(file, *span)
        finally:
            file.close()
        self._check()

    def _held(self) -> bool:
        """Whether nothing may be sent for now; what the lanes have under way still goes."""
        held, before = self._means.control.holds(self._ctx), self._work.held
        self._work.held = held
        if held != before:
            self._pace.forget()
            if self._member is not None:
                self._member.tell(b"W", on=held)
            if not held:
                self._lanes.wake()
        return held

    def _send_span(self, file: SourceFile, number: int, indices: tuple[int, ...]) -> None:
        source = self._plan.sources[number]
        for index in indices:
            while index != indices[0] and self._held():
                self._connection.flush()
                self._check()
                self._work.wait_for_change(0.5)
            self._check()
            length = self._plan.length(number, index)
            pieces = file.pieces(source.place, source.entry.path, source.offsets[index], length)
            limit = self._means.control.limit
            if length <= GATHER_BYTES and not limit.bytes_per_s:
                self._connection.gather(number, index, length, pieces, self._sent)
            else:
                self._sent(length, self._connection.chunk(number, index, length, pieces, limit))

    def _sent(self, length: int, on_link: int) -> None:
        self._connection.moved()
        with self._counting:
            self._outcome.bytes_sent += length
            self._outcome.bytes_on_link += on_link

    def _start_lane(self, process: subprocess.Popen, on_end: Callable[[], None]) -> Lane:
        lane = Lane(self._work, process, self._sent, self._progress, self._failed, self._plan, on_end)
        lane.start()
        return lane

    def _end(self) -> None:
        """Have the files finished and linked; what the server found wrong while doing so is sent again."""
        self._ctx.phase(FINISH)
        self._connection.moved()
        self._connection.stuck_s = hashing_s(self._plan.bytes_total)
        self._connection.tell(b"E")
        while not self._ended.wait(1.0):
            self._check()
        self._connection.moved()
        self._connection.stuck_s = STUCK_S
        self._check()
        self._ended.clear()
        if not self._outcome.done:
            missing, self._rounds = self._missing(self._again), self._rounds + 1
            if missing and self._rounds >= TRIES_A_CHUNK:
                raise WRONG_BYTES(server=self._server, path=self._plan.sources[self._plan.key(missing[0][0])[0]].entry.path)
            self._work.lacking(missing)
            if self._member is not None:
                self._means.chain.post("again", self._member)

    def _check(self) -> None:
        self._ctx.checkpoint()
        if self._problem is not None:
            raise self._problem

    # Hearing ---------------------------------------------------------------------------------------------------------

    def _heard(self, answer: dict[str, Any]) -> bool:
        verified = self._work.verified
        last = self._understood(answer)
        # Who is fed by another server is watched by the chain.
        if self._work.verified != verified or self._work.held or self._outcome.done or (self._member and self._member.state != "console"):
            self._connection.moved()
        return last

    def _understood(self, answer: dict[str, Any]) -> bool:
        """Take in what the server says; whether it was its last word."""
        if "ok" in answer or "bad" in answer:
            key = self._key(answer.get("ok") or answer.get("bad"))
            fed = self._member is not None and self._work.fed(key)
            if "bad" in answer:
                if fed:
                    self._means.chain.post("bad", self._member, key)
                else:
                    self._work.bad(key)
            elif not self._work.good(key):
                raise BROKEN(server=self._server, reason=N_("it spoke of a chunk that it was not sent"))
            elif fed:
                self._sent(self._plan.length(*key), 0)
                if (hop := self._member.before) is not None:
                    self._outcome.fed_by[hop.first.name] = self._outcome.fed_by.get(hop.first.name, 0) + self._plan.length(*key)
            self._progress()
        elif answer.get("done") is True:
            if not self._work.done or answer.get("degree") != self._plan.degree:
                raise BROKEN(server=self._server, reason=N_("it said that it was done before it was"))
            self._outcome.done, self._outcome.done_at = True, time.monotonic()
            self._ended.set()
            return self._member is None
        elif self._member is not None and not answer.keys().isdisjoint(RELAY_WORDS):
            self._means.chain.post("heard", self._member, answer)
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
            raise BROKEN(server=self._server, reason=N_("it spoke of a chunk that is not part of the push"))
        return value[0], value[1]

    def _failed(self, problem: BaseException) -> None:
        if self._ending:
            return  # told to end, it did
        self._problem = self._problem or problem
        self._ended.set()
        self._work.wake()
        if not self._ctx.cancelled:
            self._connection.close()

    def _progress(self) -> None:
        # From threads that nobody could catch a cancel in; the sending thread checks for it by itself.
        if not self._ctx.cancelled:
            done, total = min(self._work.verified, self._plan.bytes_total), self._plan.bytes_total
            self._pace.move(done)
            self._ctx.progress(done, total, "bytes", self._pace.left_s(total))
