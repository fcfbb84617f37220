"""The interface to one server: run a command, stream to one, reach a port. Nothing more.

Commands are tuples of arguments, quoted here and nowhere else. ``console.transport.ssh`` is the
implementation; the practice servers are reached by the same one.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """What a command gave. ``exit_code`` is None when the channel broke or the time ran out."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    duration_s: float
    truncated: bool = False
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.exit_code == 0


class Stream(Protocol):
    """A running command with its three streams. Blocking calls honour the transport's deadline.

    Attributes:
        patience_s: how long a write may wait for a command that does not read; None to wait as long as the link stands.
    """

    patience_s: float | None

    def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data`` to the command's standard input."""

    def close_stdin(self) -> None:
        """End of input."""

    def read(self, limit: int, timeout_s: float | None = None) -> bytes:
        """Up to ``limit`` bytes of standard output; empty at its end. Raises a retryable WorldError on a broken
        link or when ``timeout_s`` passes without a byte."""

    def stderr_tail(self) -> bytes:
        """The last 64 KiB of standard error seen so far."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code, or None when the channel closed without one."""

    def close(self) -> None:
        """Close the channel, from any thread; wakes blocked calls."""


class Transport(Protocol):
    """One authenticated connection to one server."""

    server: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60, max_output_bytes: int = 8 << 20,
            sudo: bool = False) -> Completed:
        """Run ``argv``; what either stream gives past ``max_output_bytes`` is dropped and ``truncated`` set.

        With ``sudo`` the command runs as root; the sudo password goes over standard input, before ``stdin``.

        Raises:
            WorldError: the link broke (``ssh.connection-lost``), sudo refused (``ssh.sudo-refused``).
        """

    def open(self, argv: Sequence[str], *, sudo: bool = False) -> Stream:
        """Start ``argv`` and hand out its streams."""

    def connect_port(self, host: str, port: int, timeout_s: float = 10) -> socket.socket:
        """A stream to ``host:port`` as seen from the server, through the connection (direct-tcpip)."""

    def close(self) -> None:
        """Close the connection; wakes everything blocked on it. Safe to call twice, from any thread."""


def command_line(argv: Sequence[str]) -> str:
    """``argv`` as one line for a POSIX shell."""
    return shlex.join(argv)
