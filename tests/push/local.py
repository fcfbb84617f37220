"""A transport whose commands run here, over pipes, with the links' failures by number of bytes; and releases to push."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from console.bundles.manifest import FileEntry
from console.push.manifest import PushPlan, Source
from console.transport.base import Completed

PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"


def lost():
    """What the real transport raises for a broken link."""
    from console.transport.problems import LOST

    return LOST(server="here", stage="test")


def late():
    """What the real transport raises for a silent server."""
    from console.transport.problems import TIMEOUT

    return TIMEOUT(server="here", timeout_s=0, stage="test")


class LocalStream:
    """``console.transport.base.Stream`` over a process's pipes."""

    def __init__(self, transport: LocalTransport, process: subprocess.Popen):
        self._transport, self.process, self.cut, self._tail = transport, process, False, b""
        self.patience_s = None
        os.set_blocking(process.stdin.fileno(), False)
        transport.streams.append(self)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        left = self._transport.cut_after
        if left is not None and len(view) >= left:
            self._put(view[:left])
            self._transport.cut_after = None
            self.close()
        elif left is not None:
            self._transport.cut_after = left - len(view)
        self._put(self._transport.spoil(view))

    def _put(self, view: memoryview) -> None:
        try:
            moved_at = time.monotonic()
            while view and not self.cut:
                if select.select([], [self.process.stdin], [], 0.1)[1]:
                    with contextlib.suppress(BlockingIOError):
                        view, moved_at = view[os.write(self.process.stdin.fileno(), view) :], time.monotonic()
                elif self.patience_s is not None and time.monotonic() - moved_at > self.patience_s:
                    raise late()
        except (OSError, ValueError):
            raise lost() from None
        if self.cut:
            raise lost()

    def close_stdin(self) -> None:
        self.process.stdin.close()

    def read(self, limit: int, timeout_s: float | None = None) -> bytes:
        if self.cut:
            raise lost()
        try:
            if timeout_s is not None and not select.select([self.process.stdout], [], [], timeout_s)[0]:
                raise late()
            return os.read(self.process.stdout.fileno(), limit)
        except (OSError, ValueError):
            raise lost() from None

    def stderr_tail(self) -> bytes:
        if select.select([self.process.stderr], [], [], 0)[0]:
            self._tail += os.read(self.process.stderr.fileno(), 65536)
        return self._tail

    def wait(self, timeout_s: float | None = None) -> int | None:
        return self.process.wait(timeout_s)

    def close(self) -> None:
        self.cut = True
        with contextlib.suppress(OSError):
            self.process.stdin.close()


class LocalTransport:
    """``console.transport.base.Transport`` to this machine.

    Attributes:
        cut_after: the link breaks after so many further bytes of input.
        flip_at: the byte so far into the input arrives with a bit flipped.
        prefix: words before every command.
    """

    server = "here"

    def __init__(self, home: Path, environment: dict[str, str] | None = None):
        self.home, self.cut_after, self.flip_at, self.streams = home, None, None, []
        self.environment, self.prefix = environment or {}, ()

    def open(self, argv, *, sudo: bool = False) -> LocalStream:
        environment = os.environ | {"HOME": str(self.home)} | self.environment
        return LocalStream(
            self,
            subprocess.Popen(
                (*self.prefix, *argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=self.home,
                start_new_session=True,
            ),
        )

    def run(self, argv, *, stdin: bytes = b"", timeout_s: float = 60, max_output_bytes: int = 8 << 20, sudo: bool = False):
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout_s, env=os.environ | {"HOME": str(self.home)})
        return Completed(done.returncode, done.stdout, done.stderr, 0.0)

    def spoil(self, view: memoryview) -> memoryview:
        if self.flip_at is None:
            return view
        if self.flip_at >= len(view):
            self.flip_at -= len(view)
            return view
        data = bytearray(view)
        data[self.flip_at] ^= 1
        self.flip_at = None
        return memoryview(data)

    def close(self) -> None:
        """Break every link and wait until the commands have ended, as those of a server do sooner or later."""
        for stream in self.streams:
            stream.close()
        for stream in self.streams:
            try:
                stream.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(stream.process.pid, signal.SIGKILL)
                stream.process.wait()
            stream.process.stdout.close()
            stream.process.stderr.close()
        self.streams.clear()

    def kill(self) -> None:
        """What a crash of the server does to the commands."""
        for stream in self.streams:
            os.killpg(stream.process.pid, signal.SIGKILL)


@dataclass
class Made:
    """A release's files on this desktop."""

    folder: Path
    entries: list[FileEntry]

    def plan(self, store: str, degree: str = "stored", name: str = "a", patience_s: float = 5) -> PushPlan:
        distinct = {e.sha256: e for e in self.entries}
        return PushPlan(
            hashlib.sha256(name.encode()).hexdigest(),
            store,
            degree,
            tuple(Source(e, self.folder / e.sha256) for e in distinct.values()),
            tuple((e.path, e.sha256) for e in self.entries),
            frozenset(e.sha256 for e in self.entries if e.exec),
            patience_s,
        )


def make(folder: Path, files: dict[str, bytes], chunk: int = 64 << 10, executable: tuple[str, ...] = (), head: int = 0) -> Made:
    """Files as a library holds them, cut into small chunks; behind one of ``head`` bytes, where there is such."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for path, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        (folder / digest).write_bytes(data)
        parts = [data[:head]] * bool(head) + [data[at : at + chunk] for at in range(head, len(data), chunk)]
        chunks = tuple((hashlib.sha256(part).hexdigest(), len(part)) for part in parts)
        entries.append(FileEntry(path, len(data), digest, "model", path in executable, chunks))
    return Made(folder, entries)


def noise(seed: int, size: int) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(size)


def until(condition, what: str, timeout_s: float = 10) -> None:
    """Wait for a state."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)
