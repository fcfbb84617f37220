"""One more connection of a push, in a process of its own: threads of one process share the interpreter, and two
connections in one were measured at 1.01 times the rate of one, in two processes at 1.18 times on two processors.

The job comes over standard input, secrets with it; nothing is on the command line. Lines out are JSON objects.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from console import processes
from console.errors import SealiftError
from console.push.connection import STUCK_S, Connection, SourceFile, receiver_command
from console.transport.ssh import connect
from console.transport.target import Login, Target, heard, told


def start(
    target: Target,
    login: Login,
    python: str,
    store: str,
    message: bytes,
    jumps: Sequence[tuple[Target, Login]] = (),
) -> subprocess.Popen:
    """Start a worker and hand it its job.

    Args:
        message: the plan for a receiver in the role of a lane.
    """
    process = processes.worker(processes.PUSH)
    job = {
        "way": told([*jumps, (target, login)]),
        "python": python,
        "store": store,
    }
    with suppress(OSError):  # it ended already, which its reader notices
        for part in (json.dumps(job).encode(), message):
            process.stdin.write(struct.pack(">I", len(part)) + part)
        process.stdin.flush()
    return process


def main(source: BinaryIO | None = None, sink: BinaryIO | None = None) -> int:
    """Do the job that standard input holds."""
    source, sink = source or sys.stdin.buffer, sink or sys.stdout.buffer
    job, message = json.loads(_part(source)), _part(source)
    return _Worker(job, message, source, sink).run()


def _part(source: BinaryIO) -> bytes:
    (size,) = struct.unpack(">I", source.read(4))
    return source.read(size)


class _Worker:
    def __init__(self, job: dict[str, Any], message: bytes, source: BinaryIO, sink: BinaryIO):
        self._job, self._message, self._source, self._sink = job, message, source, sink
        self._saying, self._problem = threading.Lock(), None

    def run(self) -> int:
        job = self._job
        try:
            *jumps, (target, login) = heard(job["way"])
            transport = connect(target, login, jumps=jumps, purpose="data")
            try:
                stream = transport.open(receiver_command(job["python"]))
                stream.patience_s = STUCK_S
                self._serve(Connection(stream, target.name, job["store"]))
            finally:
                transport.close()
            return 0
        except SealiftError as problem:
            self._say(error=(self._problem or problem).code if isinstance(self._problem or problem, SealiftError) else "internal.bug")
            return 1

    def _serve(self, connection: Connection) -> None:
        connection.start((self._message,))
        self._message = b""  # with a digest for each chunk of the release it may be large
        self._say(joined=True)
        connection.listen(self._answered, self._failed)
        file = SourceFile()
        try:
            # The end of our input means that the parent is gone, or wants us gone: then just let go.
            for line in self._source:
                order = json.loads(line)
                if order.get("end"):
                    connection.tell(b"E")
                    connection.join()
                    break
                self._send(connection, file, order)
            if self._problem is not None:
                raise self._problem
        finally:
            file.close()
            connection.close()

    def _send(self, connection: Connection, file: SourceFile, order: dict[str, Any]) -> None:
        number = order["file"]
        for index, offset, length in order["chunks"]:
            count = connection.chunk(number, index, length, file.pieces(order["place"], order["path"], offset, length))
            self._say(sent=[number, index], bytes=count)

    def _answered(self, answer: dict[str, Any]) -> bool:
        self._say(**{k: v for k, v in answer.items() if k in ("ok", "bad", "synced")})
        return bool(answer.get("synced"))

    def _failed(self, problem: BaseException) -> None:
        self._problem = problem
        self._say(error=problem.code if isinstance(problem, SealiftError) else "internal.bug")

    def _say(self, **told: Any) -> None:
        with self._saying, suppress(OSError):  # nobody listens any more; our input ends as well
            self._sink.write(json.dumps(told).encode() + b"\n")
            self._sink.flush()


if __name__ == "__main__":
    sys.exit(main())
