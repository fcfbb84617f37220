"""The console's side of the process that asks servers for a console that has a window."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from typing import Any

from console import processes
from console.errors import SealiftError, WorldError, code, remade, why
from console.i18n import N_, Said
from console.servers.book import Route
from console.servers.gather import Known
from console.transport.target import told

ENDED = code(
    "inventory.process-ended",
    WorldError,
    N_("The process that asks servers did not come to an end with {server}: {reason}."),
    N_("Ask again. If it stays, see whether memory is free, and whether a program for protection ends those of Sealift."),
    retryable=True,
)

MOST_STARTS = 4
"""How often a process that ended by itself is started anew, before what is left is given up."""

READY_S, GONE_S = 60.0, 10.0
"""How long a process may take to start before servers are asked of it all the same, and one that was ended to go."""


class Asker:
    """Asks servers through a process, which :meth:`close` ends. Safe from several threads."""

    def __init__(self) -> None:
        self._lock, self._numbers, self._starts = threading.Lock(), count(1), 0
        self._process: _Process | None = None
        self._closed = False

    def begin(self) -> None:
        """Start the process, and wait until it is ready, so that its start does not pass for a server's silence. Where it does
        not start, the servers tell of it."""
        with suppress(SealiftError):
            self._running("").ready.wait(READY_S)

    def ask(self, way: Route, known: Known, *, root: str, store: str, timeout_s: float, heard: Callable[[], object], logged_in: Callable[[], object],
            sudo_wrong: Callable[[], object]) -> dict[str, dict]:  # fmt: skip
        """The evidence of one server, as ``gather`` gives it. The callables are called in the thread that asks.

        Raises:
            WorldError, InputError: as ``gather`` and ``ssh.connect`` do, and ``inventory.process-ended``.
        """
        number, server = next(self._numbers), way.target.name
        process = self._running(server)
        said = process.ask({"number": number, "way": told([*way.jumps, (way.target, way.login)], sudo=True), "timeout_s": timeout_s, "root": root, "store": store,
                            "start": known.boot, "known": list(known.evidence)})  # fmt: skip
        evidence: dict[str, dict] = {}
        try:
            while (one := said.get()) is not None:
                if "heard" in one:
                    heard()
                elif "logged_in" in one:
                    logged_in()
                elif "sudo_wrong" in one:
                    sudo_wrong()
                elif "error" in one:
                    raise remade(one["error"]) or RuntimeError(f"an error that is not known here: {one['error']['code']}")
                elif "bug" in one:
                    raise RuntimeError(f"in the process that asks servers:\n{one['bug']}")
                else:
                    evidence |= {fact: found or known.evidence[fact] for fact, found in one["evidence"].items()}
                    if "done" in one:
                        return evidence
        finally:
            process.forget(number)
        raise ENDED(server=server, reason=process.how_it_ended())

    def close(self) -> None:
        """End the process, and with it every connection; whoever still waits for an answer gets ``inventory.process-ended``. Does
        not wait."""
        with self._lock:
            self._closed, process = True, self._process
        if process is not None:
            process.kill()

    def wait(self) -> None:
        """Until the process is gone, which after :meth:`close` it is at once."""
        if self._process is not None:
            self._process.listener.join(GONE_S)

    def _running(self, server: str) -> _Process:
        with self._lock:
            if self._process is None or not self._process.alive:
                if self._closed or self._starts == MOST_STARTS:
                    raise ENDED(server=server, reason=N_("it is not started any more"))
                self._starts += 1
                try:
                    self._process = _Process(processes.worker(processes.INVENTORY, behind=True))
                except OSError as problem:
                    raise ENDED(server=server, reason=why(problem)) from None
            return self._process


class _Process:
    """One such process. ``ready`` once it takes orders, or has ended; ``alive`` until its output has ended."""

    def __init__(self, process: subprocess.Popen):
        self._process, self.alive, self.ready = process, True, threading.Event()
        self._writing, self._lock, self._waiting = threading.Lock(), threading.Lock(), dict[int, SimpleQueue]()
        self.listener = threading.Thread(target=self._listen, daemon=True, name="inventory-listen")
        self.listener.start()

    def ask(self, order: Mapping[str, Any]) -> SimpleQueue:
        """Where comes what it says of this order; None when there is no more of it."""
        said: SimpleQueue = SimpleQueue()
        with self._lock:
            self._waiting[order["number"]] = said
            if not self.alive:
                said.put(None)
        self._write(order)
        return said

    def forget(self, number: int) -> None:
        """Nobody waits for this one any more."""
        with self._lock:
            del self._waiting[number]

    def kill(self) -> None:
        """End it at once."""
        with suppress(OSError):
            self._process.kill()

    def how_it_ended(self) -> str:
        """As a reason in an error."""
        return Said(N_("it ended with {exit_code}"), exit_code=self._process.returncode)

    def _write(self, order: Mapping[str, Any]) -> None:
        line = json.dumps(order).encode() + b"\n"
        with self._writing, suppress(OSError, ValueError):  # one that is gone is noticed by whoever listens
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _listen(self) -> None:
        try:
            for line in self._process.stdout:
                if not line.endswith(b"\n"):
                    break  # it ended within a line
                one = json.loads(line)
                self.ready.set()
                with self._lock:
                    said = self._waiting.get(one["number"])  # none of its first line, which says that it is ready
                if said is not None:
                    said.put(one)
        finally:
            self.kill()
            self._process.wait()
            with self._writing:
                for pipe in (self._process.stdin, self._process.stdout):
                    with suppress(OSError):
                        pipe.close()
            with self._lock:
                self.alive, waiting = False, tuple(self._waiting.values())
            self.ready.set()
            for said in waiting:
                said.put(None)
