"""A running command with its three streams, over a channel of paramiko."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import paramiko

from console.transport.packets import BATCH_BYTES, Bulk

if TYPE_CHECKING:
    from console.transport.ssh import SshTransport

BULK_BYTES = 64 << 10
"""From here on data goes in many packets at once."""

PACKET_SPARE_BYTES = 64
"""What paramiko leaves of a packet for its head and tail."""

STDERR_TAIL_BYTES = 64 << 10


class _Wake(threading.Event):
    """Set by either of a channel's two buffers. paramiko clears it too, which would lose a wake-up, so only
    :meth:`rearm` really does."""

    def clear(self) -> None:
        pass

    def rearm(self) -> None:
        super().clear()


class SshStream:
    """A running command; ``console.transport.base.Stream``. ``channel`` is open to the push's data path.

    One thread may read while another writes. Standard error is collected whenever standard output is read
    or the end awaited.

    Attributes:
        wake: set when something has come, or the command has ended.
        settle_s: how long :meth:`read` lets more come behind what came first, where many short pieces are expected and
            nobody is in a hurry for the first.
    """

    def __init__(self, transport: SshTransport, channel: paramiko.Channel):
        self.channel, self._transport = channel, transport
        self.wake, self._tail, self._tail_bytes = _Wake(), deque[bytes](), 0
        self._lock = threading.Lock()
        self.on_stderr: Callable[[bytes], None] = self.keep_tail
        self.patience_s: float | None = None
        self.settle_s = 0.0
        for pipe in (channel.in_buffer, channel.in_stderr_buffer):
            pipe.set_event(self.wake)

    def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``; blocks while the command does not read."""
        view = memoryview(data).cast("B")
        self.channel.settimeout(self.patience_s)
        try:
            while view:
                sent = self.channel.send(view) if len(view) < BULK_BYTES else self._send_bulk(view[:BATCH_BYTES])
                if not sent:
                    raise EOFError
                view = view[sent:]
        except TimeoutError:
            raise self._transport.late(self.patience_s or 0, "sending") from None
        except (OSError, EOFError, paramiko.SSHException):
            raise self._transport.lost("sending") from None

    def _send_bulk(self, view: memoryview) -> int:
        """Send as much of ``view`` as the command takes now, in many packets at once; waits until it takes some."""
        channel = self.channel
        with channel.lock:
            if channel.closed:
                raise EOFError
            size = channel._wait_for_send_window(len(view))
            while 0 < size < len(view) and channel.out_window_size > 0:
                size += channel._wait_for_send_window(len(view) - size)
        if size:
            # Not under the channel's lock: while keys are being changed the channel must still hear.
            channel.transport._send_user_message(Bulk(channel.remote_chanid, view[:size], channel.out_max_packet_size - PACKET_SPARE_BYTES))
        return size

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.channel.shutdown_write()

    def read(self, limit: int, timeout_s: float | None = None) -> bytes:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            data = self._read_now(limit)
            if data is not None:
                return data
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise self._transport.late(timeout_s or 0, "waiting for output")
            if self.wake.wait(left) and self.settle_s and not self.channel.eof_received:
                time.sleep(self.settle_s)

    def _read_now(self, limit: int) -> bytes | None:
        """What is there; ``b""`` at the end; None when nothing is there yet."""
        self.wake.rearm()
        # Taken before looking, so that bytes that arrive in between are still found below.
        ended = self.channel.closed or self.channel.eof_received
        self.drain_stderr()
        if self.channel.recv_ready():
            try:
                return self.channel.recv(limit)
            except (OSError, EOFError, paramiko.SSHException):
                raise self._transport.lost("receiving") from None
        if not ended:
            return None
        if not self.channel.eof_received and not self._transport.alive:
            raise self._transport.lost("receiving")
        return b""

    def drain_stderr(self) -> None:
        """Hand on what has come of standard error."""
        with self._lock, contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while self.channel.recv_stderr_ready():
                self.on_stderr(self.channel.recv_stderr(64 << 10))

    def keep_tail(self, data: bytes) -> None:
        """What is done with standard error unless somebody else takes it: the end of it is kept."""
        self._tail.append(data)
        self._tail_bytes += len(data)
        while len(self._tail) > 1 and self._tail_bytes - len(self._tail[0]) >= STDERR_TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def stderr_tail(self) -> bytes:
        self.drain_stderr()
        return b"".join(self._tail)[-STDERR_TAIL_BYTES:]

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code. Raises ``ssh.timeout`` when ``timeout_s`` passes, ``ssh.connection-lost`` on a broken link."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.channel.status_event.is_set():
            self.drain_stderr()
            left = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
            if left <= 0:
                raise self._transport.late(timeout_s or 0, "waiting for a command to end")
            self.channel.status_event.wait(left)
        self.drain_stderr()
        if self.channel.exit_status < 0 and not self._transport.alive:
            raise self._transport.lost("waiting for a command to end")
        return self.channel.exit_status if self.channel.exit_status >= 0 else None

    def signal(self, name: str) -> None:
        """Ask the server to signal the command (RFC 4254, section 6.9); servers may ignore it."""
        message = paramiko.Message()
        message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST
        message.add_int(self.channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string(name)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.channel.transport._send_user_message(message)

    def close(self) -> None:
        close_channel(self.channel)


class Capture:
    """Collects both streams of a command, each up to ``limit`` bytes, so that a noisy one takes nothing from the other."""

    def __init__(self, limit: int):
        self._limit, self.truncated, self.dropped = limit, False, 0
        self.stdout, self.stderr = bytearray(), bytearray()

    def add(self, where: bytearray, data: bytes) -> None:
        kept = data[: self._limit - len(where)]
        where += kept
        if len(kept) < len(data):
            self.truncated = True
            self.dropped += len(data) - len(kept)


def close_channel(channel: paramiko.Channel) -> None:
    """Close a channel, whatever state its connection is in."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()
