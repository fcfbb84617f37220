"""The packet layer under an SSH connection: bounded against a hostile peer, and quick with bulk data.

paramiko builds a packet by joining and cutting byte strings, and gives each to the system by itself. Where AES-GCM was agreed
on, bulk data is instead put into packets side by side in one buffer and sent at once, which halves what the console spends on
a push. That needs attributes which are paramiko's own affair, so it is done only where they are all there and of the expected
kind; everything else, re-keying included, stays paramiko's.
"""

from __future__ import annotations

import os
import struct
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import paramiko
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.packet import Packetizer

MAX_BANNER_BYTES = 64 << 10
GREETING_BYTES = 256
MAX_PACKET_BYTES = 1 << 20
"""OpenSSH refuses packets over 256 KiB; a little room is left for servers with larger ones."""

BATCH_BYTES = 512 << 10
"""So much data goes to the system at once; more gained nothing on loopback."""

CHANNEL_DATA, CHANNEL_CLOSE = 94, 97
TAG_BYTES = 16
BLOCK_BYTES = 16
HEAD = struct.Struct(">BBII")
LENGTH = struct.Struct(">I")
PADDING_AT_MOST = BLOCK_BYTES + 3
SPARE_BYTES = LENGTH.size + HEAD.size + PADDING_AT_MOST + TAG_BYTES
NEEDED = ("write_lock", "iv_out", "block_engine_out", "aead_out", "compress_engine_out", "dump_packets", "sequence_number_out",
          "sent_bytes", "sent_packets", "need_rekey", "received_bytes_overflow", "received_packets_overflow")  # fmt: skip


class Bulk:
    """Data for one channel, in packets of at most ``packet_bytes`` of it; stands in a message's place."""

    def __init__(self, channel: int, data: memoryview, packet_bytes: int):
        self.channel, self.data, self.packet_bytes = channel, data, packet_bytes


class Addressed:
    """A message, or :class:`Bulk`, for a channel, so that it is known when it comes too late; see :class:`Gate`."""

    def __init__(self, channel: paramiko.Channel, message: paramiko.Message | Bulk):
        self.channel, self.message = channel, message

    @property
    def late(self) -> bool:
        """Whether the channel is closed, and this is not what tells the peer so."""
        return self.channel.closed and (isinstance(self.message, Bulk) or self.message.packet.getbuffer()[0] != CHANNEL_CLOSE)


class Gate:
    """Stands between a channel and its connection, and lets nothing of the channel out behind its close.

    paramiko makes up a message under the channel's lock and sends it without, so that another thread's close, or the answer to the
    peer's, may go out between. OpenSSH then ends the whole connection, with all that runs over it; and where it has given the
    channel's number to the next, that one gets the data.
    """

    def __init__(self, link: paramiko.Transport, channel: paramiko.Channel):
        # A channel that nobody holds any more closes itself, so that it must not be held by itself.
        self._link, self._channel = link, weakref.ref(channel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def _send_user_message(self, message: paramiko.Message | Bulk) -> None:
        channel = self._channel()
        self._link._send_user_message(message if channel is None else Addressed(channel, message))


def gated(channel: paramiko.Channel) -> paramiko.Channel:
    """``channel``, just opened, with a :class:`Gate` before it."""
    channel.transport = Gate(channel.transport, channel)
    return channel


class Packets(Packetizer):
    """A packetizer that takes no memory for a peer's absurd promises, and sends :class:`Bulk` in one go.

    Attributes:
        heard_bytes: how much came before the first packet. heard_at: when the last packet came, on the monotonic clock.
        greeting: the beginning of what came before the first packet. heard: called when the first of it has come.
    """

    heard_bytes = 0
    heard_at = 0.0
    greeting = b""
    heard: Callable[[], None] | None = None
    _out: memoryview | None = None

    def __init__(self, sock: Any):
        super().__init__(sock)
        self._in_order = threading.RLock()

    def start_handshake(self, timeout: float) -> None:
        """Nothing: each stage has a deadline of ours. paramiko's takes a thread for each connection, and is called off anew with each
        message."""

    def complete_handshake(self) -> None:
        """Nothing, as :meth:`start_handshake`."""

    def read_message(self) -> tuple[int, paramiko.Message]:
        found = super().read_message()
        self.heard_at = time.monotonic()
        return found

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if not 0 <= n <= MAX_PACKET_BYTES:
            raise paramiko.SSHException(f"a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def _read_timeout(self, timeout: float) -> bytes:
        data = super()._read_timeout(timeout)
        self.heard_bytes += len(data)
        if self.heard is not None and data and not self.greeting:
            self.heard()
        self.greeting = (self.greeting + data)[:GREETING_BYTES]
        if self.heard_bytes > MAX_BANNER_BYTES:
            raise paramiko.SSHException("an endless banner")
        return data

    @property
    def takes_bulk(self) -> bool:
        """Whether :class:`Bulk` may be sent now. Asked before each, for new keys may bring another cipher."""
        own = self.__dict__
        return (
            all(f"_Packetizer__{name}" in own for name in NEEDED)
            and self._own("aead_out") is True
            and isinstance(self._own("block_engine_out"), AESGCM)
            and self._own("compress_engine_out") is None
            and not self._own("dump_packets")
        )

    def send_message(self, data: paramiko.Message | Bulk | Addressed) -> None:
        """Send one message, or :class:`Bulk` as many; what is :class:`Addressed` and late is dropped."""
        if isinstance(data, Addressed):
            # A channel counts as closed before its close is sent: what goes out here while it does not is before that.
            with self._in_order:
                if not data.late:
                    self.send_message(data.message)
        elif not isinstance(data, Bulk):
            super().send_message(data)
        elif self.takes_bulk:
            self._send_bulk(data)
        else:
            for at in range(0, len(data.data), data.packet_bytes):
                message = paramiko.Message()
                message.add_byte(bytes([CHANNEL_DATA]))
                message.add_int(data.channel)
                message.add_string(data.data[at : at + data.packet_bytes])
                super().send_message(message)

    def _send_bulk(self, bulk: Bulk) -> None:
        with self._own("write_lock"):
            if self._out is None:
                self._out = memoryview(bytearray(BATCH_BYTES + (BATCH_BYTES // (16 << 10) + 1) * SPARE_BYTES))
                self._clear = memoryview(bytearray(MAX_PACKET_BYTES + SPARE_BYTES))
            at, packets = 0, 0
            for start in range(0, len(bulk.data), bulk.packet_bytes):
                part = bulk.data[start : start + bulk.packet_bytes]
                if at + len(part) + SPARE_BYTES > len(self._out):
                    self._write(at, packets)
                    at, packets = 0, 0
                at += self._seal(bulk.channel, part, self._out[at:])
                packets += 1
            self._write(at, packets)

    def _seal(self, channel: int, part: memoryview, out: memoryview) -> int:
        """Put one packet into ``out``; RFC 4253, section 6, sealed as in RFC 5647, section 7. Gives its size."""
        head, size, clear = HEAD.size, len(part), self._clear
        # The packet's length lies outside what is sealed, and does not count towards whole blocks.
        padding = BLOCK_BYTES + 3 - (head - 1 + size + LENGTH.size) % BLOCK_BYTES
        length = head + size + padding
        HEAD.pack_into(clear, 0, padding, CHANNEL_DATA, channel, size)
        clear[head : head + size] = part
        clear[head + size : length] = os.urandom(padding)
        LENGTH.pack_into(out, 0, length)
        nonce, end = self._own("iv_out"), LENGTH.size + length + TAG_BYTES
        self._own("block_engine_out").encrypt_into(nonce, clear[:length], out[: LENGTH.size], out[LENGTH.size : end])
        # Never the same twice: the counter moves before anything else can happen.
        self._set("iv_out", self._inc_iv_counter(nonce))
        return end

    def _write(self, size: int, packets: int) -> None:
        """Send what was put together, and keep paramiko's own accounts of it."""
        # Before new keys are first agreed on nothing of this kind is sent, so that the number may start anew.
        self._set("sequence_number_out", (self._own("sequence_number_out") + packets) & 0xFFFFFFFF)
        self.write_all(self._out[:size])
        self._set("sent_bytes", self._own("sent_bytes") + size)
        self._set("sent_packets", self._own("sent_packets") + packets)
        spent = self._own("sent_bytes") >= self.REKEY_BYTES or self._own("sent_packets") >= self.REKEY_PACKETS
        if spent and not self._own("need_rekey"):
            self._set("received_bytes_overflow", 0)
            self._set("received_packets_overflow", 0)
            self._trigger_rekey()

    def _own(self, name: str) -> Any:
        return self.__dict__[f"_Packetizer__{name}"]

    def _set(self, name: str, value: Any) -> None:
        self.__dict__[f"_Packetizer__{name}"] = value
