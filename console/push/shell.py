"""Drives the shell receiver: a question, an answer; many at once where nothing depends on the answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.errors import SealiftError
from console.i18n import N_, Said
from console.jobs.job import Context
from console.push.connection import LIFE_S, Lines, SourceFile, hashing_s
from console.push.control import FINISH, LOOK, PUSH, Control, Pace
from console.push.manifest import PushPlan, Source
from console.push.problems import BROKEN, SOURCE_DAMAGED, WRONG_BYTES, named
from console.push.work import TRIES_A_CHUNK, chunk_is_right
from console.transport.base import Stream

if TYPE_CHECKING:
    from console.push.sender import Outcome

AT_ONCE = 32
"""Questions under way: their lines and answers fit every pipe between, so neither side can wait for the other."""


class ShellPush:
    """One push through the shell receiver."""

    def __init__(self, ctx: Context, stream: Stream, server: str, plan: PushPlan, outcome: Outcome, control: Control):
        self._ctx, self._stream, self._server, self._plan, self._outcome, self._control = ctx, stream, server, plan, outcome, control
        self._lines, self._file = Lines(stream, server), SourceFile()
        self._verified, self._total, self._pace = 0, plan.bytes_total, Pace()

    def run(self) -> None:
        """Until the release is in place."""
        self._expect("ready")
        self._ctx.phase(LOOK)
        try:
            lacking, reused = self._look()
            kept = self._look_at_parts(lacking)
            self._outcome.found(reused, sum(self._plan.length(*key) for key in kept), "rehash" if kept else "none", "rehash" if reused else "none")
            self._ctx.phase(PUSH)
            for number in lacking:
                self._bring(number, kept)
            self._ctx.phase(FINISH)
            self._link()
        finally:
            self._file.close()
        self._outcome.done = True

    def _look(self) -> tuple[list[int], int]:
        """Numbers of the files that are not there whole, and the bytes of those that are."""
        sources = self._plan.sources
        questions = [f"object {s.entry.sha256} {s.entry.size} {self._mode(s)}" for s in sources]
        whole = self._ask_all(questions, max((s.entry.size for s in sources), default=0))
        lacking = [n for n, answer in enumerate(whole) if answer != "yes"]
        self._verified = sum(s.entry.size for s in sources) - sum(sources[n].entry.size for n in lacking)
        self._progress()
        return lacking, self._verified

    def _look_at_parts(self, lacking: Sequence[int]) -> set[tuple[int, int]]:
        """The chunks that an earlier push left; raises where there is no room for the rest."""
        sources = self._plan.sources
        sizes = self._numbers([f"size {sources[n].entry.sha256}" for n in lacking])
        kept: set[tuple[int, int]] = set()
        for number, there in zip(lacking, sizes, strict=True):
            entry, offsets = sources[number].entry, sources[number].offsets
            inside = [i for i, (_, length) in enumerate(entry.chunks) if offsets[i] + length <= there]
            digests = self._ask_all([f"check {entry.sha256} {offsets[i]} {entry.chunks[i][1]}" for i in inside], entry.size)
            kept.update((number, i) for i, digest in zip(inside, digests, strict=True) if digest == entry.chunks[i][0])
        need = sum(sources[n].entry.size for n in lacking) - sum(self._plan.length(*key) for key in kept)
        if need > (free := self._numbers(["free"])[0]):
            raise named(self._server, self._plan.store, "disk-full", {"free": free, "need": need})
        return kept

    def _bring(self, number: int, kept: set[tuple[int, int]]) -> None:
        entry = self._plan.sources[number].entry
        for index in range(len(entry.chunks)):
            self._ctx.checkpoint()
            self._wait_while_held()
            if (number, index) not in kept:
                self._put(self._plan.sources[number], index)
            self._verified += entry.chunks[index][1]
            self._progress()
        if self._ask_all([f"finish {entry.sha256} {entry.size} {self._mode(self._plan.sources[number])}"], entry.size) != ["yes"]:
            raise WRONG_BYTES(server=self._server, path=entry.path)

    def _mode(self, source: Source) -> str:
        return "555" if source.entry.sha256 in self._plan.executable else "444"

    def _wait_while_held(self) -> None:
        beats = time.monotonic()
        while self._control.holds(self._ctx):
            self._pace.forget()
            self._ctx.checkpoint()
            if time.monotonic() - beats > LIFE_S:
                self._write(b"alive\n")
                beats = time.monotonic()
            time.sleep(0.25)

    def _put(self, source: Source, index: int) -> None:
        digest, length = source.entry.chunks[index]
        offset = source.offsets[index]
        for _ in range(TRIES_A_CHUNK):
            self._write(f"put {source.entry.sha256} {offset} {length}\n".encode())
            for piece in self._file.pieces(source.place, source.entry.path, offset, length):
                for part in self._control.limit.parts(piece):
                    self._write(part)
            self._outcome.bytes_sent += length
            self._outcome.bytes_on_link += length
            if self._line(length) == digest:
                return
            if not chunk_is_right(source, index):
                raise SOURCE_DAMAGED(path=source.entry.path)
        raise WRONG_BYTES(server=self._server, path=source.entry.path)

    def _link(self) -> None:
        self._ask_all(["begin"])
        if set(self._ask_all([f"link {sha256}\n{path}" for path, sha256 in self._plan.links], self._total)) - {"yes"}:
            raise BROKEN(server=self._server, reason=N_("a link was not made"))
        self._write(b"end\n")
        self._expect("done", self._total)

    def _progress(self) -> None:
        self._pace.move(self._verified)
        self._ctx.progress(self._verified, self._total, "bytes", self._pace.left_s(self._total))

    def _ask_all(self, questions: Sequence[str], size: int = 0) -> list[str]:
        """The answers, a line each; for each the server may have to hash or copy ``size`` bytes."""
        answers: list[str] = []
        for at in range(0, len(questions), AT_ONCE):
            some = questions[at : at + AT_ONCE]
            self._ctx.checkpoint()
            self._write("".join(q + "\n" for q in some).encode())
            answers += [self._line(size) for _ in some]
        return answers

    def _numbers(self, questions: Sequence[str]) -> list[int]:
        answers = self._ask_all(questions)
        if wrong := next((a for a in answers if not (a.isascii() and a.isdigit() and len(a) < 19)), None):
            raise BROKEN(server=self._server, reason=Said(N_("it answered {said} where a number was due"), said=ascii(wrong[:80])))
        return [int(a) for a in answers]

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._stream.write(data)
        except SealiftError:
            self._line()  # the script may have said why before the channel closed
            raise

    def _expect(self, word: str, size: int = 0) -> None:
        if (line := self._line(size)) != word:
            raise BROKEN(server=self._server, reason=line[:200])

    def _line(self, size: int = 0) -> str:
        line = self._lines.next(hashing_s(size)).decode("utf-8", "replace").strip()
        if line.startswith("error "):
            kind, _, told = line.removeprefix("error ").partition(" ")
            missing = self._total - self._verified
            said = {"free": int(told), "need": missing} if told.isdigit() else {"path": told, "reason": told}
            raise named(self._server, self._plan.store, kind, said)
        return line
